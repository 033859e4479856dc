"""The seven published ASEM models: what is documented about each, and what is not.

A checkpoint of the original holds numbers only, so voxel size, organelle and the look of raw have to come from
elsewhere: from here for the published ones. Nothing is guessed. What no source states is None, or says so in words;
where two sources disagree both are named.

Source: the README, the shipped configs and pull request 11 of the original's repository (kirchhausenlab/incasem);
Gallusser et al., J Cell Biol 2023.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Float3

FOLDER = "s3://asem-project/models/pretrained_checkpoints"
"""Where the original downloads its models from: the bucket is public and needs no account."""

POLARITY = "membranes dark, as inferred from the original's programs; its authors do not state it"
"""They invert COSEM's raw, whose membranes are bright, before training; and take grey values above 180 for resin."""

EQUALISATION = Equalisation((128, 128, 128), 0.02)
"""Of their raw, where it was equalised: raw_equalized_0.02, with the kernel of the original's program."""

_NAME = re.compile(r"model_checkpoint_(\d+)_[a-z_]+_(CF|HPF)\.pt")


@dataclass(frozen=True)
class PublishedModel:
    """One published model.

    Attributes:
      number: id of the training, as the authors cite it.
      organelle: what it finds.
      preparation: of the cells it was trained on: CF chemical fixation, HPF high-pressure freezing.
      voxel_size_nm: of the raw it was trained on, z y x.
      voxel_size_doubt: what speaks for another size; "" = nothing.
      polarity: what dark and bright voxels are, see `POLARITY`.
      equalised: whether raw has to be equalised (CLAHE), see `EQUALISATION`.
      equalised_source: where that is documented.
      network_source: where it is documented that the network is ASEM's with two output channels.
      file_name: of the checkpoint; None = not documented.
    """

    number: int
    organelle: str
    preparation: str
    voxel_size_nm: Float3
    voxel_size_doubt: str
    polarity: str
    equalised: bool
    equalised_source: str
    network_source: str
    file_name: str | None

    @property
    def address(self) -> str | None:
        """Where the checkpoint can be downloaded; None where its name is not documented."""
        return None if self.file_name is None else f"{FOLDER}/{self.file_name}"


_DOUBT = "README says 5 nm, the training database 4 nm (pull request 11); the database is what the original obeys"
_EXAMPLE = "the shipped example reads raw_equalized_0.02"
_CONFIG = "the shipped training config reads raw_equalized_0.02"
_GENERAL = "only the general instruction to equalise all raw"
_DATABASE = "the training's published settings"
_ASSUMED = "not documented; the tensors of the file decide"

CATALOGUE = (
    PublishedModel(
        *(1847, "mito", "CF", (5.0, 5.0, 5.0), "", POLARITY, True, _EXAMPLE, _DATABASE),
        file_name="model_checkpoint_1847_mito_CF.pt",
    ),
    PublishedModel(
        *(1837, "golgi", "CF", (5.0, 5.0, 5.0), "", POLARITY, True, _GENERAL, _DATABASE),
        file_name="model_checkpoint_1837_golgi_CF.pt",
    ),
    PublishedModel(
        *(1841, "er", "CF", (5.0, 5.0, 5.0), "", POLARITY, True, _EXAMPLE, _DATABASE),
        file_name="model_checkpoint_1841_er_CF.pt",
    ),
    PublishedModel(
        *(1675, "mito", "HPF", (4.0, 4.0, 4.0), "", POLARITY, True, _CONFIG, _ASSUMED),
        file_name=None,
    ),
    PublishedModel(
        *(1669, "er", "HPF", (4.0, 4.0, 4.0), "", POLARITY, True, _CONFIG, _ASSUMED),
        file_name=None,
    ),
    PublishedModel(
        *(1986, "coated_pits", "HPF", (4.0, 4.0, 4.0), _DOUBT, POLARITY, True, _GENERAL, _ASSUMED),
        file_name=None,
    ),
    PublishedModel(
        *(2000, "nuclear_pores", "HPF", (4.0, 4.0, 4.0), _DOUBT, POLARITY, True, _GENERAL, _ASSUMED),
        file_name=None,
    ),
)


def find_model(number: int | str) -> PublishedModel:
    """Returns the published model of an id.

    Args:
      number: the id, 1841 or "1841".

    Raises:
      ValueError: there is none of this id.

    Example:
      >>> find_model(1841).organelle
      'er'
    """
    found = [model for model in CATALOGUE if str(model.number) == str(number)]
    if not found:
        known = ", ".join(f"{model.number} ({model.organelle} {model.preparation})" for model in CATALOGUE)
        raise ValueError(f"{number} is the id of no published model; there are {known}.")
    return found[0]


def recognise(path: Path | str) -> PublishedModel | None:
    """Returns the published model whose file has this name; None where the name is no published one.

    A name is known if it is documented, or made like the documented ones from a known id and its preparation.

    Args:
      path: a path or address; only its last part counts.

    Example:
      >>> recognise("downloads/model_checkpoint_1841_er_CF.pt").number
      1841
      >>> recognise("model_checkpoint_1841") is None
      True
    """
    match = _NAME.fullmatch(str(path).rsplit("/", 1)[-1])
    if match is None:
        return None
    found = [m for m in CATALOGUE if (str(m.number), m.preparation) == (match[1], match[2])]
    return found[0] if found else None
