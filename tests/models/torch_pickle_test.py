"""Pickles read as data: what tensors need is understood, and every other thing is refused before it happens."""

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asem_jax.models.torch_pickle import read_pickle


class Calls:
    """Is pickled as a call of any function with any arguments."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


def read(data: bytes) -> Any:
    """Returns what a pickle says; its storages count up from 0."""
    return read_pickle(io.BytesIO(data), lambda dtype, key, size: np.arange(size).astype(dtype))


def name(module: str, function: str) -> bytes:
    """Returns the instruction that names a function."""
    return b"c" + f"{module}\n{function}\n".encode()


def storage(size: int = 12, kind: str = "FloatStorage") -> bytes:
    """Returns the instructions for a storage of `size` numbers."""
    words = b"X\x07\0\0\0storage" + name("torch", kind) + b"X\x01\0\0\x000X\x03\0\0\0cpu" + number(size)
    return b"(" + words + b"tQ"


def number(value: int) -> bytes:
    """Returns the instruction for a whole number."""
    return b"\x8a\x08" + struct.pack("<q", value)


def counts(*values: int) -> bytes:
    """Returns the instructions for a tuple of whole numbers."""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int = 12) -> bytes:
    """Returns a pickle of one tensor."""
    call = b"(" + storage(size) + number(offset) + counts(*shape) + counts(*strides) + b"\x89)t"
    return b"\x80\x02" + name("torch._utils", "_rebuild_tensor_v2") + call + b"R."


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_come_back_in_every_protocol(protocol: int) -> None:
    content = {"lr": 3e-5, "betas": (0.9, 0.999), "params": [0, 1, -7, 2**40], "on": True, "foreach": None, 3: ((),)}
    assert read(pickle.dumps(content, protocol)) == content
    ordered = OrderedDict(a=1, b=(1, 2, 3, 4))
    ordered._metadata = {"version": 1}  # type: ignore[attr-defined]
    assert read(pickle.dumps(ordered, protocol)) == {"a": 1, "b": (1, 2, 3, 4)}


def test_a_tensor_is_its_part_of_a_storage() -> None:
    np.testing.assert_array_equal(read(tensor(2, (2, 3), (1, 2))), np.array([[2, 4, 6], [3, 5, 7]], np.float32))
    assert read(tensor(11, (), ())) == 11


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (3, 4), (4, 1)),
        (12, (), ()),
        (0, (10**6, 10**6), (0, 0)),
        (0, (2**62, 2**62), (2**62, 2**62)),
    ],
)
def test_a_tensor_that_leaves_its_storage_or_repeats_it_is_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="reaches beyond its 12 numbers or repeats them"):
        read(tensor(offset, shape, strides))


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "message"),
    [
        (-4, (2,), (1,), "are not all counts"),
        (4, (2,), (-1,), "are not all counts"),
        (0, (-2,), (1,), "are not all counts"),
        (0, (2, 2), (1,), "with 2 sides .* and 1 strides"),
        (0, (2, 0), (1, 1), "some empty"),
        (0, (1,) * 9, (1,) * 9, "with 9 sides"),
    ],
)
def test_impossible_tensors_are_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"{message}.*broken or hostile"):
        read(tensor(offset, shape, strides))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [eval, getattr, __import__, bytes.fromhex, Path])
def test_nothing_that_a_file_names_is_looked_up(protocol: int, function: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"asks for (builtins|__builtin__|pathlib).*may be broken or hostile"):
        read(pickle.dumps(Calls(function, "x"), protocol))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(X\x04\0\0\0echotR.", r"asks for os\.system"),
        (b"(X\x04\0\0\0echoios\nsystem\n.", "uses the pickle instruction INST"),
        (b"cos.path\njoin\n)\x81.", r"asks for os\.path\.join"),
        (name("collections", "OrderedDict") + b")\x81.", "uses the pickle instruction NEWOBJ"),
        (b"\x82\x01.", "uses the pickle instruction EXT1"),
        (b"\x8b\xff\xff\xff\x7f1.", "breaks off or is none"),
        (b"}X\x01\0\0\0a\x93.", r"asks for \."),
        (b"})R.", "calls a dict"),
        (name("torch", "FloatStorage") + b")R.", r"calls torch\.FloatStorage with 0 arguments"),
        (name("collections", "OrderedDict") + b"(K\x01tR.", r"calls collections\.OrderedDict with 1 arg"),
        (name("torch._utils", "_rebuild_tensor_v2") + b")R.", "with 0 arguments that do not fit"),
        (name("collections", "OrderedDict") + b"K\x01R.", "with 1 arguments that do not fit"),
        (b"}}X\x05\0\0\0__a__K\x01sb.", "sets the state of a dict"),
        (b"]}b.", "sets the state of a list"),
        (b"}K\x01a.", "appends to a dict"),
        (b"]K\x01K\x02s.", "sets 1 entries of a list"),
        (b"}(K\x01u.", r"sets 0\.5 entries of a dict"),
        (b"})K\x01s.", "has an entry under a tuple"),
        (b"K\x01Q.", "by a int that names no storage"),
        (storage(-3) + b".", "storage with a str as key, of no known type or size"),
        (b"h\x07.", "recalls value 7"),
        (b"\x87.", "takes 3 values from a stack of 0"),
        (b"(0.", "instruction POP"),
        (b"t.", "a mark that is not there"),
        (b"X\x01\0\0\0\xff.", "breaks off or is none"),
        (b".", "takes 1 values from a stack of 0"),
        (b"K\x01", "pickle exhausted.*may be broken"),
        (b"\xee.", "breaks off or is none.*opcode"),
    ],
)
def test_what_is_broken_or_hostile_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data)


def test_a_part_of_another_storage_is_refused() -> None:
    pid = b"(X\x07\0\0\0storageNNNNX\x01\0\0\0vtQ."
    with pytest.raises(ValueError, match="names no storage"):
        read(pid)


def test_nesting_of_any_depth_is_harmless() -> None:
    deep = read(b"\x80\x02)" + b"\x85" * 200_000 + b".")
    assert type(deep) is tuple
    lists = read(b"]" * 100_000 + b"a" * 99_999 + b".")
    assert type(lists) is list


def test_what_grows_when_written_out_stays_small() -> None:
    doubled = b"\x80\x02)" + b"".join(b"\x94h" + bytes([n]) + b"\x86" for n in range(60)) + b"."
    assert type(read(doubled)) is tuple
    with pytest.raises(ValueError, match="under a tuple"):
        read(b"}" + doubled[2:-1] + b"Ns.")
