"""Connected components of volumes larger than memory.

A first sweep labels each block by itself (scipy.ndimage.label) and keeps, per piece, its size and first voxel, and per
block the labels on its six faces. Pieces that touch across faces, edges or corners of blocks are then joined: their
pairs are the edges of a graph, whose components are those of the volume. Later sweeps label a block again, which costs
less than writing provisional labels and reading them, and put what a component is to become in place of its pieces.
Laws that hold (and are tested):

* components are numbered by their first voxel in the order z y x, so the result is the same bit for bit whatever the
  shape and the order of the blocks;
* equal to scipy.ndimage.label of the whole volume, up to that numbering;
* interrupted and started again equals uninterrupted.

Memory: per thread, a block and its labels (9 bytes per voxel and what `read` needs); besides, about 100 bytes for each
piece, that is, for each component of each block. The faces lie on disk. A mask that is noise has many pieces.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Int3, int3

ReadMask = Callable[[Box], npt.NDArray[np.bool_]]
Integers = npt.NDArray[np.integer[Any]]

STEPS = {6: 1, 26: 3}
"""Along how many axes at once a voxel may lie beside a neighbour: 6 share a face, 26 at least a corner."""

# Half of the 26 ways to a neighbouring block; from there the other half leads back.
DIRECTIONS = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))
FACES = {f"face{axis}{side}": (axis, side) for axis in range(3) for side in (-1, 1)}


@dataclass(frozen=True)
class Components:
    """The components of a mask.

    Attributes:
      connectivity: 6 or 26.
      sizes: int64 [component], voxels.
      firsts: int64 [component], flat index (C order, z y x) of the first voxel; ascending.
      at_border: bool [component], whether a voxel lies in the outermost layer of the volume.
      pieces: int64 [piece], the component that a piece belongs to; the pieces of block 0, of block 1, ...
      starts: int64 [block + 1], the first piece of each block.
    """

    connectivity: int
    sizes: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    at_border: npt.NDArray[np.bool_]
    pieces: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Returns the number of components."""
        return len(self.sizes)

    def paint(self, index: int, mask: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns, for each voxel of a block, the value of its component, and 0 outside the mask.

        Args:
          index: of the block.
          mask: the block as it was when the components were found, [z, y, x].
          values: [component], any dtype.

        Raises:
          ValueError: the mask has another number of pieces than it had.
        """
        labels, count = label_block(mask, self.connectivity)
        begin, end = self.starts[index : index + 2]
        if count != end - begin:
            raise ValueError(
                f"block {index} has {count} pieces, and had {end - begin} when its components were found; the mask "
                "was changed meanwhile: remove what this job wrote, and start it again."
            )
        lookup = np.zeros(count + 1, values.dtype)
        lookup[1:] = values[self.pieces[begin:end]]
        return lookup[labels]


def label_block(mask: npt.NDArray[np.bool_], connectivity: int) -> tuple[npt.NDArray[np.int32], int]:
    """Returns the pieces of a block, numbered from 1, and their number.

    Args:
      mask: bool [z, y, x].
      connectivity: 6 = through faces, 26 = through faces, edges and corners.

    Raises:
      ValueError: `connectivity` is neither.

    Example:
      >>> diagonal = np.array([[[True, False], [False, True]]])
      >>> label_block(diagonal, 6)[1], label_block(diagonal, 26)[1]
      (2, 1)
    """
    if connectivity not in STEPS:
        raise ValueError(
            f"connectivity={connectivity} is not known in 3D; give 6 (voxels hang together through faces) or 26 "
            "(also through edges and corners)."
        )
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, STEPS[connectivity]))
    return labels, int(count)


def id_dtype(largest: int) -> np.dtype[Any]:
    """Returns the type that ids up to `largest` are stored in.

    Example:
      >>> id_dtype(2**32 - 1), id_dtype(2**32)
      (dtype('uint32'), dtype('uint64'))
    """
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


def find_components(read: ReadMask, shape: Int3, *, connectivity: int, job: BlockJob, label: str) -> Components:
    """Returns the connected components of a mask that is read block by block.

    Args:
      read: returns the mask in a box, bool [z, y, x]; the same on every call. Threads call it at one time.
      shape: of the mask, voxels z y x.
      connectivity: 6 or 26.
      job: where ledger and table are kept, and in which blocks the mask is read; their shape does not show in the
        result.
      label: what is looked at, for the progress display.

    Raises:
      ValueError: `connectivity` is neither 6 nor 26.
    """
    label_block(np.zeros((1, 1, 1), bool), connectivity)
    job = job.part("components", connectivity=connectivity)

    def describe(index: int, box: Box) -> None:
        labels, count = label_block(read(box), connectivity)
        job.keep(f"block{index}", **_pieces(labels, count, box, shape), **_faces(labels))

    job.sweep(describe, Box.of_shape(shape), name="pieces", label=f"components of {label}")
    if not job.has("table"):
        job.keep("table", **_join(job, shape, connectivity))
    return Components(connectivity=connectivity, **job.kept("table"))


def _pieces(labels: npt.NDArray[np.int32], count: int, box: Box, shape: Int3) -> dict[str, npt.NDArray[Any]]:
    """Returns size, first voxel and contact with the volume's border of each piece of a block."""
    flat = labels.ravel()
    where = np.flatnonzero(flat)
    found = flat[where]
    firsts = np.zeros(count, np.int64)
    firsts[found[::-1] - 1] = where[::-1]  # of several values for one place the last one stays
    local = np.unravel_index(firsts, labels.shape)
    places = [np.asarray(p) + a for p, a in zip(local, box.start, strict=True)]
    at_border = np.zeros(count, bool)
    for axis in range(3):
        for position, outermost in ((0, box.start[axis] == 0), (-1, box.stop[axis] == shape[axis])):
            if outermost:
                here = labels.take([position], axis=axis)
                at_border[here[here > 0] - 1] = True
    return {
        "sizes": np.bincount(found - 1, minlength=count).astype(np.int64),
        "firsts": np.ravel_multi_index(tuple(places), shape).astype(np.int64),
        "at_border": at_border,
    }


def _faces(labels: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[np.int32]]:
    """Returns the labels of the two outermost layers along each axis, named by axis and side."""
    return {name: labels.take([0 if side < 0 else -1], axis=axis) for name, (axis, side) in FACES.items()}


def _join(job: BlockJob, shape: Int3, connectivity: int) -> dict[str, npt.NDArray[Any]]:
    """Returns the table of the components that the kept pieces of all blocks make."""
    blocks = job.blocks(Box.of_shape(shape))
    kept = [job.kept(f"block{index}", "sizes", "firsts", "at_border") for index, _ in blocks]
    starts = np.concatenate([[0], np.cumsum([len(block["sizes"]) for block in kept])]).astype(np.int64)
    sizes, firsts, at_border = (np.concatenate([b[name] for b in kept]) for name in ("sizes", "firsts", "at_border"))
    del kept
    total = int(starts[-1])
    pairs = list(_touching(job, shape, connectivity, starts))
    one, other = (np.concatenate([p[side] for p in pairs]) if pairs else np.zeros(0, np.int64) for side in (0, 1))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    count, belongs = connected_components(graph, directed=False) if total else (0, starts[:0])
    first_of = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_of, belongs, firsts)
    order = np.argsort(first_of)
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    size_of, border_of = np.zeros(count, np.int64), np.zeros(count, bool)
    np.add.at(size_of, belongs, sizes)
    np.logical_or.at(border_of, belongs, at_border)
    return {
        "sizes": size_of[order],
        "firsts": first_of[order],
        "at_border": border_of[order],
        "pieces": rank[belongs],
        "starts": starts,
    }


def _touching(
    job: BlockJob, shape: Int3, connectivity: int, starts: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yields the pieces that touch across two blocks, each pair once: numbers of the one and of the other."""
    grid = int3([-(-n // b) for n, b in zip(shape, job.block_shape, strict=True)], "grid")
    for index, place in enumerate(np.ndindex(*grid)):
        if starts[index] == starts[index + 1]:
            continue
        own = job.kept(f"block{index}", *FACES)
        for direction in DIRECTIONS:
            beside = [p + d for p, d in zip(place, direction, strict=True)]
            reaches = sum(map(abs, direction)) <= STEPS[connectivity]
            if not reaches or not all(0 <= b < n for b, n in zip(beside, grid, strict=True)):
                continue
            other = int(np.ravel_multi_index(beside, grid))
            if starts[other] < starts[other + 1]:
                back = [-d for d in direction]
                theirs = job.kept(f"block{other}", _face(back))
                one, two = _pairs(_side(own, direction), _side(theirs, back), connectivity)
                yield starts[index] + one - 1, starts[other] + two - 1


def _face(direction: Sequence[int]) -> str:
    """Returns the name of a face that holds where a block meets the block in `direction`."""
    axis = next(axis for axis in range(3) if direction[axis])
    return f"face{axis}{direction[axis]}"


def _side(faces: Mapping[str, npt.NDArray[np.int32]], direction: Sequence[int]) -> npt.NDArray[np.int32]:
    """Returns the labels of a block where it meets the block in `direction`: a face, an edge or a corner, in 3D."""
    face = faces[_face(direction)]
    cut = {-1: slice(0, 1), 0: slice(None), 1: slice(-1, None)}
    # Of the one layer that a face is, first and last are the same.
    z, y, x = (cut[step] for step in direction)
    return face[z, y, x]


def _pairs(one: Integers, other: Integers, connectivity: int) -> tuple[Integers, Integers]:
    """Returns the labels that touch where two blocks meet, each pair once."""
    free = [(-1, 0, 1) if connectivity == 26 and n > 1 else (0,) for n in one.shape]
    found = []
    for shift in product(*free):
        here, there = one[_shifted(shift, 1)], other[_shifted(shift, -1)]
        both = (here > 0) & (there > 0)
        found.append(here[both].astype(np.int64) << 32 | there[both].astype(np.int64))
    unique = np.unique(np.concatenate(found))
    return unique >> 32, unique & 0xFFFFFFFF


def _shifted(shift: tuple[int, ...], sign: int) -> tuple[slice, ...]:
    """Returns where an array overlaps with itself shifted; `sign` says which of the two is meant."""
    return tuple(slice(max(0, sign * s), min(0, sign * s) or None) for s in shift)
