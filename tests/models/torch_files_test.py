"""PyTorch's two file formats: equal contents, and files that lie about themselves."""

import pickle
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asem_jax.models import torch_files
from asem_jax.models.torch_files import is_torch_file, read_torch_file
from tests.models.torch_pickle_test import storage, tensor

STREAM_START = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
DESCRIPTION = tensor(0, (3, 4), (4, 1))
NUMBERS = np.arange(12, dtype="<f4")


def write_archive(path: Path, changes: dict[str, bytes | None] | None = None, **settings: Any) -> Path:
    """Returns a checkpoint of one tensor in zip format, with some entries changed, or left out where None."""
    entries = {"a/data.pkl": DESCRIPTION, "a/byteorder": b"little", "a/data/0": NUMBERS.tobytes()}
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in (entries | (changes or {})).items():
            if data is not None:
                archive.writestr(name, data)
    return path


def write_stream(path: Path, changes: dict[str, Any] | None = None) -> Path:
    """Returns a checkpoint of one tensor in the older format, with some parts changed."""
    parts: dict[str, Any] = {
        "version": 1001,
        "machine": {"little_endian": True},
        "description": DESCRIPTION,
        "keys": ["0"],
        "count": 12,
        "numbers": NUMBERS.tobytes(),
    } | (changes or {})
    pickled = [pickle.dumps(parts[name], 2) for name in ("version", "machine", "keys")]
    data = STREAM_START + pickled[0] + pickled[1] + parts["description"] + pickled[2]
    path.write_bytes(data + parts["count"].to_bytes(8, "little") + parts["numbers"])
    return path


@pytest.mark.parametrize("write", [write_archive, write_stream])
def test_both_formats_are_read(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "checkpoint")
    assert is_torch_file(path)
    np.testing.assert_array_equal(read_torch_file(path), NUMBERS.reshape(3, 4))


def test_both_formats_of_the_original_hold_the_same_tensors(cases_dir: Path) -> None:
    case = cases_dir / "unet_asem_ckpt_formats"
    expected = np.load(case / "tensors.npz")
    for file in ("model_checkpoint_1", "model_checkpoint_1_legacy.pt"):
        content = read_torch_file(case / file)
        moments = content["optimizer_state_dict"]["state"]
        found = {f"model/{name}": array for name, array in content["model_state_dict"].items()}
        found |= {f"adam/{i}/{name}": array for i, entry in moments.items() for name, array in entry.items()}
        assert set(found) == set(expected.files)
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], strict=name.startswith("model"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a/data.pkl": None}, r"with 0 files data\.pkl"),
        ({"b/data.pkl": b"."}, r"with 2 files data\.pkl"),
        ({"a/data/0": None}, "no entry a/data/0; it is incomplete"),
        ({"a/data/0": bytes(44)}, "storage '0' has 44 bytes, 48 are described"),
        ({"a/data/0": bytes(4000)}, "has 4000 bytes, 48 are expected"),
        ({"a/byteorder": b"big"}, "byte order is b'big'; save it again"),
        ({"a/data.pkl": tensor(0, (3,), (1,), size=10**12)}, "need more bytes than it has, with 1000000000000 num"),
        ({"a/data.pkl": b"(" + storage(12) + storage(5) + b"t."}, "storage '0' is used with 5 and 12 numbers"),
        ({"a/data.pkl": b"(" + storage(12) + storage(12, "LongStorage") + b"t."}, "or with two types"),
    ],
)
def test_an_archive_that_does_not_fit_together_is_refused(
    tmp_path: Path, changes: dict[str, bytes | None], message: str
) -> None:
    with pytest.raises(ValueError, match=f"checkpoint cannot be read as a PyTorch file: .*{message}"):
        read_torch_file(write_archive(tmp_path / "checkpoint", changes))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = tensor(0, (10**8,), (1,), size=10**8)
    path = write_archive(
        tmp_path / "bomb", {"a/data.pkl": bomb, "a/data/0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(ValueError, match=r"compressed or encrypted, which PyTorch never does"):
        read_torch_file(path)


def test_a_description_of_absurd_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "MOST_DESCRIPTION_BYTES", 40)
    with pytest.raises(ValueError, match=r"data\.pkl has \d+ bytes, 40 are expected"):
        read_torch_file(write_archive(tmp_path / "zip"))
    with pytest.raises(ValueError, match="breaks off"):
        read_torch_file(write_stream(tmp_path / "stream"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1000}, "version is 1000, 1001 is needed"),
        ({"machine": 3}, "version is 1001"),
        ({"machine": {"little_endian": False}}, "byte order is b'big'"),
        ({"keys": ["0", "1"]}, "describes 1 storages and lists others"),
        ({"keys": {"0": "0"}}, "describes 1 storages and lists others"),
        ({"count": 10**15}, "holds 1000000000000000 numbers, 12 are described"),
        ({"numbers": NUMBERS.tobytes()[:-1]}, "has 47 bytes, 48 are described"),
        ({"description": b"cos\nsystem\n)R."}, r"asks for os\.system"),
        ({"description": tensor(0, (3,), (1,), size=2**60)}, "need more bytes than it has"),
    ],
)
def test_a_stream_that_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"checkpoint cannot be read as a PyTorch file: .*{message}"):
        read_torch_file(write_stream(tmp_path / "checkpoint", changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"no zip", "it begins with b'no zip'"),
        (b"", "it begins with b''"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not is_torch_file(path)
    with pytest.raises(ValueError, match=f"no PyTorch checkpoint .{message}.*download it again"):
        read_torch_file(path)


@pytest.mark.parametrize("write", [write_archive, write_stream])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, write: Any) -> None:
    rng = random.Random(4)
    path = write(tmp_path / "checkpoint")
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(whole), rng.randrange(len(whole))])])
        try:
            with warnings.catch_warnings(action="ignore"):  # zipfile says what it sees
                read_torch_file(path)
        except ValueError:
            refused += 1
    assert 200 < refused < 400
