"""Checkpoints: parameters, optimiser state, step, resolved config and model card, through Orbax.

A run folder holds `checkpoints/<step>/`. The latest checkpoint is always kept, and beside it the one with the best
validation score and, of several organelles, the best of each. A checkpoint appears under its name only when all of it
has been written: a run that is killed while saving leaves the previous one untouched. The structure of the optimiser
state is passed in by the caller, so that nothing here depends on the optimiser.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from asem_jax.models.model import Model, ModelCard
from asem_jax.models.torch_import import load_published

State = TypeVar("State")

_OF = "score of "  # and the name of an organelle: its score among those of a checkpoint
NOT_VALIDATED = -1.0  # score of a checkpoint that was saved without validation: below every real one


class Checkpoints:
    """The checkpoints of one run; close it, or use it as a context manager, so that the last save is finished."""

    def __init__(self, workdir: Path | str, organelles: Sequence[str] = ()) -> None:
        """Opens, or makes, `workdir/checkpoints`; what a killed run left half written there is removed.

        Args:
          workdir: the run folder.
          organelles: of each the best checkpoint is kept too, by the `score_of` that it is saved with.
        """
        managers = ocp.checkpoint_managers
        # Orbax would remove it in a thread that no one waits for, in the way of whoever opens the folder next.
        for torn in _folder(workdir).glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            if jax.process_index() == 0:
                shutil.rmtree(torn)
        scores: list[Callable[[Mapping[str, float]], float]] = [_score, *(partial(_score_of, o) for o in organelles)]
        keep = [managers.LatestN(1), *(managers.BestN(get_metric_fn=score, n=1) for score in scores)]
        self._manager = ocp.CheckpointManager(
            _folder(workdir),
            options=ocp.CheckpointManagerOptions(
                # Both are needed: without best_fn the scores are not written, without the policy the latest goes.
                best_fn=_score,
                best_mode="max",
                preservation_policy=managers.AnyPreservationPolicy(keep),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            with self._explained():
                self._manager.close()
        else:
            self._manager.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what went wrong behind a save, perhaps the one before, into a message that says what is left."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise OSError(
                f"a checkpoint could not be written to {self._manager.directory} ({str(error).splitlines()[0]}); what "
                f"is whole there is {self._whole()}: make room, or give rights to write, then the same command again."
            ) from error

    def _whole(self) -> str:
        steps = sorted(int(path.name) for path in Path(self._manager.directory).iterdir() if path.name.isdigit())
        return f"step {steps[-1]}" if steps else "nothing yet"

    @property
    def latest_step(self) -> int | None:
        """The last saved step; None where nothing has been saved."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        *,
        config: Mapping[str, Any],
        card: ModelCard,
        score: float,
        score_of: Mapping[str, float] | None = None,
    ) -> None:
        """Starts to write a checkpoint and returns; the state may be donated at once.

        Args:
          step: number of updates that `state` has seen.
          state: tree of arrays with an entry `params`, and perhaps `averaged`, their mean over the steps.
          config: the resolved config of the run, plain values.
          card: what the parameters are for.
          score: validation score, larger is better; NaN or `NOT_VALIDATED` where there is none.
          score_of: the same for single organelles.

        Raises:
          OSError: this checkpoint, or the one before, could not be written; those before are as they were.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            config=ocp.args.JsonSave(dict(config)),
            card=ocp.args.JsonSave(card.to_dict()),
        )
        scores = {"score": score, **{_OF + name: value for name, value in (score_of or {}).items()}}
        known = {name: NOT_VALIDATED if math.isnan(value) else float(value) for name, value in scores.items()}
        with self._explained():
            self._manager.save(step, args=items, metrics=known)

    def restore(self, state: State) -> State:
        """Returns the state of the latest checkpoint.

        Args:
          state: a tree of the same structure, shapes and types, placed as the result shall be.

        Raises:
          ValueError: there is no checkpoint, or it holds another structure.
        """
        if self.latest_step is None:
            raise ValueError(f"{self._manager.directory} holds no checkpoint to continue from; train first.")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        restored: State = self._manager.restore(self.latest_step, args=items)["state"]
        return restored

    def read_config(self) -> dict[str, Any]:
        """Returns the config that the latest checkpoint was saved with."""
        items = ocp.args.Composite(config=ocp.args.JsonRestore())
        config: dict[str, Any] = self._manager.restore(self.latest_step, args=items)["config"]
        return config


def load_model(path: Path | str) -> Model:
    """Returns the model of a run folder, of one checkpoint in it, or of a published ASEM model's file.

    Args:
      path: a run folder (its best checkpoint is taken, or its latest where none was validated); `FOLDER:ORGANELLE`
        for the checkpoint that is best for one of several organelles; a folder `checkpoints/<step>` inside one; or
        a PyTorch file whose name is in the catalogue of published models.

    Returns:
      The model, its parameters on the default device.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: it is a file, and not that of a published model.

    Example (given a run folder)::

      model = load_model("runs/mito")
    """
    if Path(path).is_file():
        return load_published(path)
    folder, step = _locate(Path(path))
    handlers = {
        "state": ocp.PyTreeCheckpointHandler(),
        "card": ocp.JsonCheckpointHandler(),
        "config": ocp.JsonCheckpointHandler(),
    }
    with ocp.CheckpointManager(folder, item_handlers=handlers) as manager:
        saved = manager.item_metadata(step)["state"]
        # Where a mean of the parameters over the steps was kept, it is the better model.
        name = "averaged" if jax.tree.leaves(saved.get("averaged")) else "params"
        wanted = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved[name])
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved[name])
        items = ocp.args.Composite(
            # Only the parameters are read, whatever optimiser the state holds.
            state=ocp.args.PyTreeRestore(item={name: wanted}, restore_args={name: arguments}, partial_restore=True),
            card=ocp.args.JsonRestore(),
        )
        restored = manager.restore(step, args=items)
    params = jax.tree.map(jax.numpy.asarray, restored["state"][name])
    return Model(params=params, card=ModelCard.from_dict(restored["card"]))


def load_state(path: Path | str, state: State) -> State:
    """Returns all that a checkpoint keeps of a training, the optimiser's state too.

    Args:
      path: a run folder or a checkpoint in it, as for `load_model`.
      state: a tree of the same structure, shapes and types, placed as the result shall be; entries that it has not,
        such as `averaged`, are left out.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: the checkpoint holds another structure.
    """
    folder, step = _locate(Path(path))
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    handlers = {"state": ocp.PyTreeCheckpointHandler()}
    with ocp.CheckpointManager(folder, item_handlers=handlers) as manager:
        # Compared before reading: Orbax finds out in the midst of it, and leaves the rest of its reads behind.
        wanted, found = _leaves(target), _leaves(manager.item_metadata(step)["state"])
        if differ := wanted.items() - found.items():
            name = min(differ)[0]
            raise ValueError(
                f"{folder / str(step)} does not hold the state of this network and optimiser: {name} is "
                f"{found.get(name, 'not there')}, not {wanted.get(name, 'there')}; take its parameters only, or a "
                "checkpoint of the same network."
            )
        arguments = ocp.checkpoint_utils.construct_restore_args(target)
        items = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(item=target, restore_args=arguments, partial_restore=True)
        )
        restored: State = manager.restore(step, args=items)["state"]
    return restored


def _leaves(tree: Any) -> dict[str, str]:
    """Returns name -> shape and type of the arrays in a tree, or in what Orbax knows of one."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype} {tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _locate(path: Path) -> tuple[Path, int]:
    """Returns the folder of checkpoints and the step that a path names."""
    if path.name.isdigit() and (path / "card").is_dir():
        return path.resolve().parent, int(path.name)
    folder, score = _folder(path), _score
    if not folder.is_dir() and ":" in path.name:
        path, organelle = path.with_name(path.name.rpartition(":")[0]), path.name.rpartition(":")[2]
        folder, score = _folder(path), partial(_score_of, organelle)
        _check_scored(folder, organelle)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{path} is neither a run folder (no {folder.name}/ in it) nor a checkpoint; "
            "give the --workdir of a training, or its checkpoints/<step>."
        )
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(best_fn=score)) as manager:
        best, latest = manager.best_step(), manager.latest_step()
        validated = best is not None and score(manager.metrics(best)) > NOT_VALIDATED
    if latest is None:
        raise FileNotFoundError(f"{folder} holds no finished checkpoint; train first (stage train).")
    return folder, best if best is not None and validated else latest


def _check_scored(folder: Path, organelle: str) -> None:
    """Raises if no checkpoint was judged by an organelle."""
    if not folder.is_dir():
        return
    with ocp.CheckpointManager(folder) as manager:
        found = [manager.metrics(step) or {} for step in manager.all_steps()]
    names = sorted({name.removeprefix(_OF) for metrics in found for name in metrics if name.startswith(_OF)})
    if organelle not in names:
        raise ValueError(
            f"{folder.parent}:{organelle}: its checkpoints have scores of {', '.join(names) or 'no single organelle'}; "
            "name one of these, or give the run folder alone for the best mean."
        )


def _folder(workdir: Path | str) -> Path:
    return Path(workdir).resolve() / "checkpoints"


def _score(metrics: Mapping[str, float]) -> float:
    return metrics["score"]


def _score_of(organelle: str, metrics: Mapping[str, float]) -> float:
    return metrics.get(_OF + organelle, NOT_VALIDATED)
