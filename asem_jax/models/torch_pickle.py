"""The pickles inside PyTorch's files, read as data.

A pickle is a program for a small stack machine; Python's own reader lets it name any function and call it. Here
the few instructions that tensors and plain containers need are run on values of our own, and every other one is
refused. Laws that hold (and are tested):

* nothing that a file names is imported, and nothing is called: a hostile file raises `ValueError`;
* no value is larger than a constant times the bytes that describe it: memory for numbers is asked of the caller,
  and a tensor is a view of them that stays inside;
* nothing here recurses, so nesting of any depth is harmless.

Source: Python's pickletools (the instructions); PyTorch's serialization (what its files name).
"""

import pickletools
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.generic]
GetStorage = Callable[[np.dtype[Any], str, int], Numbers]


class _Name(NamedTuple):
    """What a file calls a function or type; never looked up."""

    module: str
    name: str


class _Storage(NamedTuple):
    """The numbers of one or several tensors, one-dimensional."""

    numbers: Numbers


_ORDERED_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_DTYPES = {
    _Name("torch", f"{kind}Storage"): np.dtype(dtype)
    for kind, dtype in {
        "Float": "<f4",
        "Double": "<f8",
        "Half": "<f2",
        "Long": "<i8",
        "Int": "<i4",
        "Short": "<i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "?",
    }.items()
}
_KNOWN = {_ORDERED_DICT, _TENSOR, _PARAMETER, *_DTYPES}
_MOST_AXES = 8


def read_pickle(stream: BinaryIO, get_storage: GetStorage) -> Any:
    """Returns what a pickle describes: nested dicts, lists, tuples, strings, numbers, and arrays for tensors.

    Args:
      stream: at the first byte of the pickle; left behind its last one.
      get_storage: called with dtype, key and number of elements of each storage that the pickle names; returns a
        one-dimensional array of this size, which may be filled later: the tensors are views of it.

    Raises:
      ValueError: the pickle is broken, or asks for anything but tensors and plain containers.
    """
    machine = _Machine(get_storage)
    for name, argument in _instructions(stream):
        machine.execute(name, argument)
    return machine.result()


def _instructions(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yields name and argument of each instruction, as `pickletools` calls them."""
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            yield instruction.name, argument
    except ValueError as error:
        raise _refused(f"holds a pickle that breaks off or is none ({error})") from error


class _Machine:
    """The stack machine, after some instructions."""

    def __init__(self, get_storage: GetStorage) -> None:
        self._get_storage = get_storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Returns the value that is left when the pickle ends."""
        return self._pop(1)[0]

    def execute(self, name: str, argument: Any) -> None:
        """Runs one instruction."""
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._top()
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top()
            case "BINGET" | "LONG_BINGET":
                stack.append(self._recall(argument))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case "GLOBAL":
                stack.append(_known_name(*argument.partition(" ")[::2]))
            case "STACK_GLOBAL":
                stack.append(_known_name(*self._pop(2)))
            case "BINPERSID":
                stack.append(self._storage(*self._pop(1)))
            case "REDUCE":
                stack.append(_call(*self._pop(2)))
            case "BUILD":
                _check_state(*self._pop(1), of=self._top())
            case _:
                raise _refused(f"uses the pickle instruction {name}")

    def _top(self) -> Any:
        value = self._pop(1)[0]
        self._stack.append(value)
        return value

    def _pop(self, number: int) -> list[Any]:
        """Takes the last `number` values off the stack."""
        if len(self._stack) < number:
            raise _refused(f"takes {number} values from a stack of {len(self._stack)}")
        values = self._stack[-number:]
        del self._stack[-number:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        """Takes off what was put on the stack since the last mark."""
        if not self._marks or self._marks[-1] > len(self._stack):
            raise _refused(f"goes back to a mark that is not there (stack of {len(self._stack)})")
        first = self._marks.pop()
        values = self._stack[first:]
        del self._stack[first:]
        return values

    def _recall(self, key: int) -> Any:
        if key not in self._memo:
            raise _refused(f"recalls value {key}, which it has not stored")
        return self._memo[key]

    def _extend(self, values: Sequence[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise _refused(f"appends to a {type(target).__name__}")
        target.extend(values)

    def _update(self, pairs: Sequence[Any]) -> None:
        """Sets entries of the dict on the stack; `pairs` are key, value, key, value ..."""
        target, keys = self._top(), pairs[::2]
        if type(target) is not dict or len(pairs) % 2:
            raise _refused(f"sets {len(pairs) / 2:g} entries of a {type(target).__name__}")
        for key in keys:
            if type(key) not in (str, int):  # hashing nested tuples could take for ever
                raise _refused(f"has an entry under a {type(key).__name__}")
        target.update(zip(keys, pairs[1::2], strict=True))

    def _storage(self, pid: Any) -> _Storage:
        """Returns the storage that ("storage", type, key, device, number of elements) names."""
        # A sixth entry, where there is one, would make this storage a part of another one.
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise _refused(f"refers to something outside it by a {type(pid).__name__} that names no storage")
        _, kind, key, _, size = pid[:5]
        if type(kind) is not _Name or kind not in _DTYPES or type(key) is not str or not _are_counts([size]):
            raise _refused(f"names a storage with a {type(key).__name__} as key, of no known type or size")
        return _Storage(self._get_storage(_DTYPES[kind], key, size))


def _known_name(module: Any, name: Any) -> _Name:
    """Returns a name, if it is one of the few that a checkpoint needs."""
    found = _Name(str(module)[:80], str(name)[:80]) if type(module) is type(name) is str else _Name("", "")
    if found not in _KNOWN:
        raise _refused(f"asks for {found.module}.{found.name}")
    return found


def _call(function: Any, arguments: Any) -> Any:
    """Returns what a call of the file stands for; nothing is called."""
    words = list(arguments) if type(arguments) is tuple else [None]
    if type(function) is _Name:
        if function == _ORDERED_DICT and not words:
            return {}
        if function == _TENSOR and len(words) >= 4 and type(words[0]) is _Storage:
            return _view(words[0].numbers, *words[1:4])
        if function == _PARAMETER and words and type(words[0]) is np.ndarray:
            return words[0]
        raise _refused(f"calls {function.module}.{function.name} with {len(words)} arguments that do not fit it")
    raise _refused(f"calls a {type(function).__name__}")


def _check_state(state: Any, *, of: Any) -> None:
    """Passes over the one state that PyTorch gives to anything: the metadata of a state dict."""
    if type(of) is not dict or type(state) is not dict or set(state) != {"_metadata"}:
        raise _refused(f"sets the state of a {type(of).__name__}")


def _view(numbers: Numbers, offset: Any, shape: Any, strides: Any) -> Numbers:
    """Returns a tensor as a view of its storage, after checking that it lies inside and repeats nothing."""
    if type(shape) is not tuple or type(strides) is not tuple or not _are_counts([offset, *shape, *strides]):
        raise _refused(f"has a tensor whose {type(shape).__name__} of sizes, strides or offset are not all counts")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES or 0 in shape:
        raise _refused(f"has a tensor with {len(shape)} sides (some empty) and {len(strides)} strides")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= numbers.size or prod(shape) > numbers.size:
        raise _refused(f"has a tensor of shape {shape} that reaches beyond its {numbers.size} numbers or repeats them")
    size = numbers.itemsize
    return np.ndarray(shape, numbers.dtype, numbers, offset * size, [step * size for step in strides])


def _are_counts(values: Sequence[Any]) -> bool:
    """Says whether all are whole numbers, not negative."""
    return all(type(value) is int and value >= 0 for value in values)


def _refused(what: str) -> ValueError:
    """Returns the error for a file that does `what`."""
    return ValueError(
        f"the file {what}, which a network's parameters do not need; it may be broken or hostile, and was not loaded."
    )
