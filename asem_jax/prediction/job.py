"""One volume and what shall be said of it: everything that decides what a prediction holds.

A job is made and checked before anything runs; what it will cost can be asked of it (`forecast`), and `sweep_volume`
does it.
"""

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh

from asem_jax.devices import make_local_mesh
from asem_jax.models.channels import Channel, exclusive
from asem_jax.models.model import Model
from asem_jax.prediction.ensemble import Ensemble, as_ensemble
from asem_jax.prediction.mask import wanted_blocks
from asem_jax.prediction.memory import fit_plan, memory_at_hand
from asem_jax.prediction.planner import SharedPlan, plan_shared, plan_snapped
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected
from asem_jax.volumes.volume import Volume

Models = Model | Ensemble | Mapping[str, Model | Ensemble]

TILINGS = ("seamless", "incasem")
INCASEM_BLOCK = (110, 110, 110)  # voxels that the original's network returns for its tile of 204
VOXEL_SIZE_TOLERANCE = 0.01  # relative difference of voxel sizes that a model is not refused for


@dataclass(frozen=True)
class Result:
    """Where what is said of one organelle goes.

    Attributes:
      name: of the organelle; of several models, with that of the model before it.
      folder: of its volumes.
      model: number of the model that says it.
      place: of its channel among the model's.
      channel: what the output means.
      threshold: probability from which a voxel is foreground; None = where the organelle is the likeliest.
    """

    name: str
    folder: str
    model: int
    place: int
    channel: Channel
    threshold: float | None


@dataclass(frozen=True)
class Job:
    """A prediction of one volume.

    Attributes:
      models: by name, that share the reading of raw; of one model alone, the name is "".
      raw: grey values.
      address: image group to write to.
      plan: the blocks.
      mask: nonzero = wanted, of any voxel size; None = everything is.
      thresholds: probability from which a voxel is foreground, by the name of a result; of the others the likeliest
        organelle, or, where organelles do not exclude each other, 0.5.
      equalisation: how raw is equalised while it is read; None = it is not.
    """

    models: Mapping[str, Ensemble]
    raw: Volume
    address: str
    plan: SharedPlan
    mask: Volume | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    equalisation: Equalisation | None = None

    @cached_property
    def read(self) -> Callable[[Box], npt.NDArray[np.generic]]:
        """Reads raw for any box, as the models are given it; reflected beyond its edge."""
        return partial(read_reflected, self.raw) if self.equalisation is None else self.equalisation.reader(self.raw)

    @property
    def ensembles(self) -> tuple[Ensemble, ...]:
        """The models without their names."""
        return tuple(self.models.values())

    @property
    def results(self) -> list[Result]:
        """What is written, in the order of models and channels."""
        found = results_of(self.models, self.address)
        return [replace(result, threshold=self.thresholds.get(result.name, result.threshold)) for result in found]

    @cached_property
    def write_boxes(self) -> Sequence[Box]:
        """The blocks that are predicted, in the order of the ledger's numbers: those with a voxel of the mask."""
        if self.mask is None:
            return self.plan.write_boxes
        return wanted_blocks(self.mask, max(self.plan.plans, key=lambda plan: plan.scale), self.raw)

    @property
    def leaves_gaps(self) -> bool:
        """Says whether some of the result's voxels belong to no block that is predicted."""
        return self.mask is not None or any(plan.snapped for plan in self.plan.plans)

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings that a resumed sweep must share with the one that began it."""
        plan, digest, orientations = self.plan, hashlib.blake2b(digest_size=16), []
        for model, part in zip(self.ensembles, plan.plans, strict=True):
            card = model.card
            # Of the softmax nothing is said, so that predictions begun before there were other channels can go on.
            meanings = "" if card.meanings == exclusive(card.organelles) else repr(card.meanings)
            digest.update(f"{card.architecture!r}{meanings}".encode())
            for leaf in jax.tree.leaves([member.params for member in model.models]):
                digest.update(np.asarray(leaf).tobytes())
            orientations.append(len(model.orientations(part.tile_shape)))
        return {
            "model": digest.hexdigest(),
            "raw": self.raw.address,
            "raw_shape": list(self.raw.shape),
            "start": list(plan.box.start),
            "stop": list(plan.box.stop),
            "write_shape": list(plan.write_shape),
            "tile_shape": list(plan.read_shape),
            **({"orientations": max(orientations)} if max(orientations) > 1 else {}),
            **({"models": list(self.models)} if len(self.models) > 1 else {}),
            **({"thresholds": dict(self.thresholds)} if self.thresholds else {}),
            **({"mask": self.mask.address, "masked": self._digest_of_blocks()} if self.mask else {}),
            **({"tiling": "incasem"} if plan.plans[0].snapped else {}),
            **({"equalisation": asdict(self.equalisation)} if self.equalisation else {}),
        }

    def _digest_of_blocks(self) -> str:
        """Returns what changes if the mask asks for other blocks."""
        starts = np.array([box.start for box in self.write_boxes], np.int64)
        return hashlib.blake2b(starts.tobytes(), digest_size=8).hexdigest()


def results_of(models: Mapping[str, Ensemble], address: str) -> list[Result]:
    """Returns what models say, in their order, with the thresholds that are used where none is given.

    Args:
      models: by name, see `Job`.
      address: image group that the results lie in.
    """
    found = []
    for number, (prefix, model) in enumerate(models.items()):
        alone = len(model.card.organelles) == 1
        for place, channel in enumerate(model.card.meanings):
            path = [prefix] * bool(prefix) + [channel.name] * (not alone)
            name, level = "/".join(path) or channel.name, None if channel.kind == "softmax" else 0.5
            found.append(Result(name, "/".join([address, *path]), number, place, channel, level))
    return found


def validated_threshold(models: Mapping[str, Ensemble], name: str) -> float:
    """Returns the threshold that the training's validation chose, of several models the mean of theirs.

    Args:
      models: by name, see `Job`.
      name: of a result.

    Raises:
      ValueError: nothing is predicted of that name, or a model's card has no threshold of it.
    """
    results = {result.name: result for result in results_of(models, "")}
    if name not in results:
        raise ValueError(_no_result(name, "card", list(results)))
    result = results[name]
    cards = [model.card for model in list(models.values())[result.model].models]
    levels = [card.thresholds[result.place] if card.thresholds else None for card in cards]
    known = [level for level in levels if level is not None]
    if len(known) < len(levels):
        raise ValueError(
            f"thresholds.{name}='card': the model's card has no threshold of it, as its training had no validation "
            "region with it, or is older; give a number, or the postprocess.json of a run that chose one."
        )
    return sum(known) / len(known)


def make_job(
    models: Models,
    raw: Volume,
    address: str,
    *,
    box: Box | None = None,
    write_shape: Sequence[int] | None = None,
    mask: Volume | None = None,
    thresholds: Mapping[str, float] | None = None,
    tiling: str = "seamless",
    equalisation: Equalisation | None = None,
    mesh: Mesh | None = None,
) -> Job:
    """Returns a job after checking that it can be done.

    Args:
      models: a model, an ensemble, or several of them by name.
      raw: uint8 grey values of the models' voxel size.
      address: image group to write to.
      box: what to predict, in voxels of raw; None = all of it.
      write_shape: voxels of raw per block, z y x; None = what fits the memory at hand with least waste.
      mask: see `Job`.
      thresholds: see `Job`.
      tiling: "seamless", or "incasem", that of the original program (see `planner.plan_snapped`).
      equalisation: see `Job` and `appearance.missing_equalisation`.
      mesh: of the devices; None = all of this process.

    Raises:
      ValueError: models and raw do not fit, or a setting is impossible.
    """
    named = models if isinstance(models, Mapping) else {"": models}
    ensembles = {name: as_ensemble(model) for name, model in named.items()}
    box = raw.box if box is None else box
    for model in ensembles.values():
        check_raw(model, raw, box)
    if tiling not in TILINGS:
        raise ValueError(f"tiling={tiling!r} is none of {', '.join(TILINGS)}; choose one.")
    architectures = [model.card.architecture for model in ensembles.values()]
    if tiling == "incasem":
        sides = INCASEM_BLOCK if write_shape is None else write_shape
        plan = SharedPlan(tuple(plan_snapped(box, architecture, sides) for architecture in architectures))
        if len({part.rim for part in plan.plans}) > 1:
            rims = ", ".join(str(part.rim) for part in plan.plans)
            raise ValueError(f"tiling='incasem' with models whose contexts are {rims}; predict them one by one.")
    elif write_shape is None:
        plan = fit_plan(tuple(ensembles.values()), box, mesh or make_local_mesh(), memory_at_hand())
    else:
        plan = plan_shared(box, architectures, write_shape)
    job = Job(ensembles, raw, address, plan, mask, dict(thresholds or {}), equalisation)
    _check_thresholds(job)
    return job


def check_raw(model: Model | Ensemble, raw: Volume, box: Box) -> None:
    """Raises unless `model` can predict `box` of `raw`.

    Args:
      model: the network and what it was trained on.
      raw: grey values.
      box: voxels of raw.

    Raises:
      ValueError: raw is not uint8, its voxel size is not the model's, or the box leaves it.
    """
    if raw.dtype != np.uint8:
        raise ValueError(
            f"{raw.address} has dtype {raw.dtype}, the model reads uint8 grey values; "
            "convert it first (stage convert scales 16-bit and float volumes)."
        )
    if not np.allclose(raw.voxel_size_nm, model.card.voxel_size_nm, rtol=VOXEL_SIZE_TOLERANCE):
        raise ValueError(
            f"{raw.address} has voxel size {raw.voxel_size_nm} nm, the model was trained at "
            f"{model.card.voxel_size_nm} nm; resample the volume (stage preprocess)."
        )
    if not raw.box.contains(box) or box.num_voxels == 0:
        raise ValueError(
            f"the box {box.start} to {box.stop} is empty or leaves {raw.address}, whose shape is {raw.shape} "
            "(z y x); give a box inside it."
        )


def _check_thresholds(job: Job) -> None:
    names = [result.name for result in job.results]
    for name, level in job.thresholds.items():
        if name not in names:
            raise ValueError(_no_result(name, level, names))
        if not 0 <= level <= 1:
            raise ValueError(f"thresholds.{name}={level} is not a probability; give a number from 0 to 1.")


def _no_result(name: str, level: float | str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"thresholds.{name}={level}: nothing is predicted of that name; {meant}There is: {names}."
