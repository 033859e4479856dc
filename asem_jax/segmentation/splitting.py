"""Objects that touch, parted at their necks by a seeded watershed on the distance to the background.

Seeds are cores: the connected places that lie at least `depth_nm` deep in an object. Where objects touch through a
neck thinner than twice that, their cores are apart. From the cores the mask is flooded voxel by voxel through faces,
from all of them at the same speed, until `reach_nm`; so floods meet in the neck. Where several arrive at one time the
smallest number wins. What no flood reaches (thin objects without a core, and what lies farther than `reach_nm` from
any core) stays as the connected components that it is.

Both the depth of a voxel and the flood that reaches it are decided within a known distance, so blocks with that halo
say what the whole volume says. Laws (tested): the result does not depend on the blocks; parts of a mask are a mask's
voxels, each in one part; a ball is not split, and two balls that touch are.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.segmentation.components import Integers, find_components, id_dtype
from asem_jax.segmentation.parts import MakeVolume, Parts, tabulate
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Float3
from asem_jax.volumes.volume import Volume


def split_objects(
    mask: Volume, *, connectivity: int, depth_nm: float, reach_nm: float, make: MakeVolume, job: BlockJob
) -> Parts:
    """Returns the objects of a mask, split where only necks hold them together.

    Memory: per thread, a block with a halo of `depth_nm` (20 bytes per voxel) or `reach_nm` (15 bytes per voxel), and
    that of `find_components`. Writes the volumes "deep", "cores" and "flooded".

    Args:
      mask: nonzero = object.
      connectivity: 6 or 26, of cores and of what no flood reaches.
      depth_nm: half the thickness of the thickest neck that is cut, nm; parts thinner than twice that have no core.
      reach_nm: how far a flood goes, in steps of one voxel (the smallest side) through faces; a few times `depth_nm`.
      make: creates a volume on the grid of `mask`.
      job: of this step.

    Raises:
      ValueError: `depth_nm` is below a voxel, or `reach_nm` below `depth_nm`.
    """
    if depth_nm < min(mask.voxel_size_nm) or reach_nm < depth_nm:
        raise ValueError(
            f"split_depth_nm={depth_nm}, split_reach_nm={reach_nm} cut nothing; give a depth of at least a voxel "
            f"({min(mask.voxel_size_nm):g} nm), and a reach of a few times that."
        )
    deep = make("deep", np.dtype(np.uint8))

    def dig(_: int, box: Box) -> None:
        deep.write(box, read_cores(mask, box, depth_nm).astype(np.uint8))

    def read_deep(box: Box) -> npt.NDArray[np.bool_]:
        return deep.read(box) != 0

    job.sweep(dig, mask.box, name="deep", label=f"depth in {mask.address}")
    cores = find_components(
        read_deep,
        mask.shape,
        connectivity=connectivity,
        job=job.part("cores"),
        label=f"cores of {mask.address}",
    )
    dtype = id_dtype(len(cores))
    seeds, flooded = make("cores", dtype), make("flooded", dtype)
    numbers = np.arange(1, len(cores) + 1, dtype=dtype)

    def paint(index: int, box: Box) -> None:
        seeds.write(box, cores.paint(index, read_deep(box), numbers))

    steps = math.ceil(reach_nm / min(mask.voxel_size_nm))

    def spread(_: int, box: Box) -> None:
        around = box.grow(steps).intersect(mask.box)
        labels = flood(seeds.read(around), mask.read(around) != 0, steps)
        flooded.write(box, np.ascontiguousarray(labels[box.shift([-a for a in around.start]).slices]))

    job.sweep(paint, mask.box, name="painted", label=f"number the cores of {mask.address}")
    job.sweep(spread, mask.box, name="spread", label=f"flood {mask.address}")
    return _with_rest(mask, flooded, len(cores), connectivity, job)


def _with_rest(mask: Volume, flooded: Volume, num_cores: int, connectivity: int, job: BlockJob) -> Parts:
    """Returns the flooded parts, and after them the components of what no flood reached."""

    def read_rest(box: Box) -> npt.NDArray[np.bool_]:
        return (mask.read(box) != 0) & (flooded.read(box) == 0)

    rest = find_components(
        read_rest, mask.shape, connectivity=connectivity, job=job.part("rest"), label=f"rest of {mask.address}"
    )
    numbers = np.arange(num_cores + 1, num_cores + len(rest) + 1)

    def read(index: int, box: Box) -> Integers:
        labels = flooded.read(box)
        beside = rest.paint(index, (mask.read(box) != 0) & (labels == 0), numbers)
        return labels.astype(np.int64) + beside

    return tabulate(read, num_cores + len(rest), mask.box, job=job.part("parts"), label=f"parts of {mask.address}")


def read_cores(mask: Volume, box: Box, depth_nm: float) -> npt.NDArray[np.bool_]:
    """Returns which voxels of a box lie at least `depth_nm` deep, with as much around it as that needs."""
    halo = [math.ceil(depth_nm / size) for size in mask.voxel_size_nm]
    around = box.grow(halo).intersect(mask.box)
    deep = is_deep(mask.read(around) != 0, depth_nm, mask.voxel_size_nm)
    return deep[box.shift([-a for a in around.start]).slices]


def is_deep(mask: npt.NDArray[np.bool_], depth_nm: float, voxel_size_nm: Float3) -> npt.NDArray[np.bool_]:
    """Returns where the nearest background voxel is at least `depth_nm` away, centre to centre.

    Objects that the end of the array cuts are taken to go on.

    Args:
      mask: bool [z, y, x].
      depth_nm: nm.
      voxel_size_nm: z y x.

    Example:
      >>> is_deep(np.array([[[False, True, True, True, True]]]), 20.0, (10.0, 10.0, 10.0)).astype(int)
      array([[[0, 0, 1, 1, 1]]])
    """
    if mask.all() or not mask.any():  # no distance to a background that is not there
        return mask.copy()
    distance = ndimage.distance_transform_edt(mask, sampling=voxel_size_nm)
    return mask & (distance >= depth_nm)


def flood(seeds: Integers, mask: npt.NDArray[np.bool_], steps: int) -> Integers:
    """Returns the seeds grown through a mask by `steps` voxels, through faces.

    Args:
      seeds: [z, y, x], 0 = none; inside the mask.
      mask: bool [z, y, x].
      steps: how often; where several seeds arrive in one step, the smallest number stays.

    Returns:
      [z, y, x] in the dtype of `seeds`.

    Example:
      >>> row = np.array([[[5, 0, 0, 0, 3, 0, 0]]])
      >>> flood(row, np.array([[[True, True, True, True, True, True, False]]]), 2)
      array([[[5, 5, 3, 3, 3, 3, 0]]])
    """
    labels, free = np.pad(seeds, 1), np.pad(mask & (seeds == 0), 1)
    flat, open_ = labels.ravel(), free.ravel()
    strides = [labels.shape[1] * labels.shape[2], labels.shape[2], 1]
    frontier = np.flatnonzero(flat)
    for _ in range(steps):
        reached = [frontier + way * stride for stride in strides for way in (-1, 1)]
        entered = [open_[place] for place in reached]
        numbers = np.concatenate([flat[frontier][can] for can in entered])
        places = np.concatenate([place[can] for place, can in zip(reached, entered, strict=True)])
        if not places.size:
            break
        order = np.argsort(numbers, kind="stable")[::-1]
        flat[places[order]] = numbers[order]  # of several numbers for one place the last one stays, the smallest
        frontier = np.unique(places)
        open_[frontier] = False
    return labels[1:-1, 1:-1, 1:-1]
