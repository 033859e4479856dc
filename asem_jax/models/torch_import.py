"""A checkpoint of the original as a model of this package.

The file holds numbers and names of tensors. What else a model's card says comes from the caller as `Facts`, or from
the catalogue where the file is a published one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asem_jax import __version__
from asem_jax.models.catalogue import EQUALISATION, PublishedModel, recognise
from asem_jax.models.model import Model, ModelCard, Params
from asem_jax.models.torch_weights import infer_architecture, params_from_state_dict, read_checkpoint
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Float3, Int3


@dataclass(frozen=True)
class Facts:
    """What has to be known of a checkpoint and does not stand in it.

    Attributes:
      organelles: names of the output channels after background, in order.
      voxel_size_nm: of the raw it was trained on, z y x.
      polarity: what dark and bright voxels of that raw are.
      equalised: whether it was equalised (CLAHE); None = not known.
      pool_factors: max-pooling per level, finest first, each z y x; None = as the tensors tell.
      notes: what else a user should know, a sentence each.
      equalisation: how raw was equalised, if it was; None = not known.
    """

    organelles: tuple[str, ...]
    voxel_size_nm: Float3
    polarity: str
    equalised: bool | None
    pool_factors: tuple[Int3, ...] | None
    notes: tuple[str, ...]
    equalisation: Equalisation | None = None


class Moments(NamedTuple):
    """What Adam carries from step to step.

    Attributes:
      step: updates made.
      first: running mean of the gradients, a tree like the parameters.
      second: running mean of their squares, a tree like the parameters.
    """

    step: int
    first: Params
    second: Params


@dataclass(frozen=True)
class Imported:
    """What a checkpoint of the original becomes.

    Attributes:
      model: parameters and card.
      moments: of the optimiser; None where the file has none.
    """

    model: Model
    moments: Moments | None


def import_checkpoint(path: Path | str, facts: Facts, compute_dtype: str) -> Imported:
    """Returns the model and the optimiser's moments of a checkpoint of the original.

    Args:
      path: a file in either of PyTorch's formats.
      facts: what does not stand in it.
      compute_dtype: type of the network's arithmetic, "float32" or "bfloat16".

    Raises:
      ValueError: the file is no such checkpoint, or the facts do not fit it.
    """
    checkpoint = read_checkpoint(path)
    architecture = infer_architecture(checkpoint.tensors, facts.pool_factors)
    num_channels = architecture.heads[0].num_channels
    if num_channels != 1 + len(facts.organelles):
        raise ValueError(
            f"{path} has {num_channels} output channels, background and {num_channels - 1} organelles; organelles="
            f"{facts.organelles} names {len(facts.organelles)}: name each one."
        )
    card = ModelCard(
        organelles=facts.organelles,
        voxel_size_nm=facts.voxel_size_nm,
        architecture=architecture,
        compute_dtype=compute_dtype,
        polarity=facts.polarity,
        equalised=facts.equalised,
        equalisation=facts.equalisation if facts.equalised else None,
        version=__version__,
        notes=(f"imported from {Path(path).name} (sha256 {_digest(path)})", *facts.notes),
    )
    model = Model(params_from_state_dict(checkpoint.tensors, architecture), card)
    if checkpoint.adam is None:
        return Imported(model, None)
    first, second = (params_from_state_dict(t, architecture) for t in (checkpoint.adam.first, checkpoint.adam.second))
    return Imported(model, Moments(checkpoint.adam.step, first, second))


def _digest(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts_of(published: PublishedModel) -> Facts:
    """Returns what the catalogue knows of a published model."""
    doubt = (f"voxel size: {published.voxel_size_doubt}",) if published.voxel_size_doubt else ()
    return Facts(
        organelles=(published.organelle,),
        voxel_size_nm=published.voxel_size_nm,
        polarity=published.polarity,
        equalised=published.equalised,
        pool_factors=((2, 2, 2),) * 3,
        notes=(f"published ASEM model {published.number} ({published.organelle} {published.preparation})", *doubt),
        equalisation=EQUALISATION,
    )


def load_published(path: Path | str) -> Model:
    """Returns the model of a published checkpoint, recognised by the name of its file.

    Raises:
      ValueError: the name is not in the catalogue, or the file is no checkpoint of the original.
    """
    published = recognise(path)
    if published is None:
        raise ValueError(
            f"{path} is no published model by its name (those are model_checkpoint_<id>_<organelle>_<CF or HPF>.pt), "
            "and such a file states neither voxel size nor organelles; import it with stage import_weights, which "
            "takes both, and load the run folder that it writes."
        )
    return import_checkpoint(path, facts_of(published), compute_dtype="float32").model
