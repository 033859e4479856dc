"""Reading PyTorch's files without PyTorch: what comes out, and what is refused."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from asem_jax.models.torch_weights import params_from_state_dict, read_torch_file


class Hostile:
    """Unpickles to a shell command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo harm",)


def write_archive(path: Path, content: object) -> Path:
    """Returns a zip archive with `content` in the place of the description of the tensors."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
    return path


def test_moments_of_the_optimiser_are_read_too(cases_dir: Path) -> None:
    content = read_torch_file(cases_dir / "unet_asem_small" / "model_checkpoint_1000")
    moments = content["optimizer_state_dict"]["state"][0]
    assert moments["exp_avg"].shape == (4, 1, 3, 3, 3)
    assert float(moments["step"]) == 2


def test_a_hostile_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"asks for .*system.* may be hostile"):
        read_torch_file(write_archive(tmp_path / "hostile", Hostile()))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ValueError, match="no PyTorch checkpoint in zip format"):
        read_torch_file(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ValueError, match=r"with 0 files data\.pkl"):
        read_torch_file(tmp_path / "zip")


def test_missing_tensors_are_named() -> None:
    with pytest.raises(ValueError, match=r"final_conv_pass\.conv_pass\.0\.bias.*not ASEM's network"):
        params_from_state_dict({"unet.l_conv.0.conv_pass.0.weight": np.zeros((1, 1, 3, 3, 3))}, num_poolings=3)
