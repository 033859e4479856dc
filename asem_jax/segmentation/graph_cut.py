"""Object and background from sparse strokes: the minimum cut of a graph of supervoxels.

Each supervoxel becomes object or background so that the sum of two costs is least: what it costs a supervoxel to be
unlike the strokes of its kind (`stroke_odds`), and what it costs a contact to have the border on it, little where grey
values change. Supervoxels under strokes are not free. Laws that hold (and are tested):

* no labelling costs less than the one found, to the rounding of capacities;
* a voxel under a stroke has the label of its stroke, also where a supervoxel has strokes of both kinds;
* more strokes need no new graph.

Source: Boykov and Jolly, Interactive graph cuts for optimal boundary & region segmentation of objects in N-D images,
ICCV 2001. The flow is SciPy's (Dinic's algorithm).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from asem_jax.segmentation.adjacency import Graph
from asem_jax.segmentation.stroke_odds import stroke_odds, with_surroundings
from asem_jax.segmentation.supervoxels import Ids
from asem_jax.volumes.geometry import Float3

Kinds = npt.NDArray[np.uint8]
Costs = npt.NDArray[np.float64]

FREE, OBJECT, BACKGROUND, BOTH = 0, 1, 2, 3

# The largest capacity becomes this; SciPy's flow has 32 bits, and an arc may hold twice its capacity.
_LARGEST_CAPACITY = 2**29


def contact_costs(graph: Graph, smoothness: float) -> Costs:
    """Returns what it costs to have the border of the object on each contact, [contacts].

    smoothness * area / mean area * exp(-gradient**2 / (2 * mean of gradient**2)), means over all contacts; the second
    by area. So the costs do not depend on the contrast of raw, and the second factor lies where it makes a difference.

    Args:
      graph: of the supervoxels.
      smoothness: 0 or more; the costs are in the unit of `cut`'s odds.

    Raises:
      ValueError: `smoothness` is negative.
    """
    if smoothness < 0:
        raise ValueError(f"smoothness={smoothness} would reward borders; give 0 (none) or more, e.g. 2.")
    if not len(graph.pairs):
        return np.zeros(0)
    squares = np.square(graph.gradient)
    typical = max(float(np.average(squares, weights=graph.area_nm2)), 1e-12)
    return smoothness * graph.area_nm2 / graph.area_nm2.mean() * np.exp(-squares / (2 * typical))


def stroked_ids(ids: Ids, strokes: Kinds) -> tuple[Ids, Ids]:
    """Returns the supervoxels under object strokes, and those under background strokes, each in order.

    Args:
      ids: supervoxels of a block, [z, y, x].
      strokes: in the shape of `ids`, 1 = object, 2 = background, 0 = no stroke.
    """
    return np.unique(ids[strokes == OBJECT]), np.unique(ids[strokes == BACKGROUND])


def kinds_of(stroked: Iterable[tuple[Ids, Ids]], count: int) -> Kinds:
    """Returns which strokes each supervoxel has, uint8 [count]: FREE, OBJECT, BACKGROUND or BOTH.

    Args:
      stroked: of each block, what `stroked_ids` returned.
      count: of the region's supervoxels.

    Example:
      >>> kinds_of([(np.array([1, 2]), np.array([3])), (np.array([1]), np.array([2]))], 4)
      array([0, 1, 3, 2], dtype=uint8)
    """
    kinds = np.zeros(count, np.uint8)
    for under_object, under_background in stroked:
        kinds[under_object] |= OBJECT
        kinds[under_background] |= BACKGROUND
    return kinds


def label_supervoxels(
    graph: Graph, kinds: Kinds, *, smoothness: float, ridge: float, surroundings: int, bias: float
) -> npt.NDArray[np.bool_]:
    """Returns which supervoxels of a region are object, bool [n].

    Args:
      graph: of n supervoxels.
      kinds: uint8 [n], see `kinds_of`.
      smoothness: see `contact_costs`.
      ridge: see `stroke_odds`.
      surroundings: how many steps around a supervoxel its looks are compared with strokes as well, see
        `with_surroundings`; 1 or more.
      bias: added to the natural logarithm of the odds, above 0 = more object.

    Raises:
      ValueError: strokes of one kind are missing, or a number is impossible.
    """
    odds = stroke_odds(with_surroundings(graph, surroundings), kinds, ridge=ridge) + bias
    return cut(graph, odds * graph.sizes / graph.sizes.mean(), contact_costs(graph, smoothness), kinds)


def cut(graph: Graph, odds: Costs, costs: Costs, kinds: Kinds) -> npt.NDArray[np.bool_]:
    """Returns which supervoxels are object, bool [n], at the least `energy`.

    Of several answers the one with the smallest object. A supervoxel with strokes of both kinds is divided later, voxel
    by voxel (`paint`); it draws its neighbours to neither side and is False here.

    Args:
      graph: of n supervoxels.
      odds: [n], natural logarithms, above 0 = rather object; times the size of the supervoxel.
      costs: of the contacts, see `contact_costs`, 0 or more.
      kinds: uint8 [n], see `kinds_of`.
    """
    free = np.flatnonzero(kinds == FREE)
    place = np.full(len(odds), -1, np.int32)
    place[free] = np.arange(len(free))
    to_object, to_background = np.maximum(odds[free], 0), np.maximum(-odds[free], 0)
    one, other = graph.pairs.T
    # What touches a supervoxel under a stroke is joined to that side itself, so no capacity has to stand for "never".
    for a, b in ((one, other), (other, one)):
        for kind, side in ((OBJECT, to_object), (BACKGROUND, to_background)):
            near = (kinds[a] == FREE) & (kinds[b] == kind)
            side += np.bincount(place[a[near]], costs[near], minlength=len(free))
    between = (kinds[one] == FREE) & (kinds[other] == FREE)
    shared = np.minimum(to_object, to_background)
    sides = (to_object - shared, to_background - shared)
    labels = kinds == OBJECT
    labels[free] = _minimum_cut(sides, place[one[between]], place[other[between]], costs[between])
    return labels


def energy(graph: Graph, labels: npt.NDArray[np.bool_], odds: Costs, costs: Costs) -> float:
    """Returns what a labelling costs: odds that it goes against, and contacts with the border on them.

    Args:
      graph: of n supervoxels.
      labels: bool [n], True = object.
      odds: as for `cut`.
      costs: as for `cut`.
    """
    against = np.where(labels, np.maximum(-odds, 0), np.maximum(odds, 0)).sum()
    one, other = graph.pairs.T
    return float(against + costs[labels[one] != labels[other]].sum())


def paint(labels: npt.NDArray[np.bool_], kinds: Kinds, ids: Ids, strokes: Kinds, *, voxel_size_nm: Float3) -> Kinds:
    """Returns the labels of voxels, uint8 [z, y, x], 1 = object.

    A supervoxel with strokes of both kinds is divided: each voxel goes with the nearest of its strokes. So the voxels
    of such a supervoxel must all be here, if they are to be what they are in the whole.

    Args:
      labels: bool [n], of the region's supervoxels, see `cut`.
      kinds: uint8 [n], see `kinds_of`.
      ids: supervoxels of a block, [z, y, x].
      strokes: in the shape of `ids`, 1 = object, 2 = background, 0 = no stroke.
      voxel_size_nm: z y x.
    """
    painted = labels[ids].astype(np.uint8)
    both = np.unique(ids[kinds[ids] == BOTH])
    local = np.where(kinds[ids] == BOTH, np.searchsorted(both, ids) + 1, 0)
    for number, box in enumerate(ndimage.find_objects(local), 1):
        inside = local[box] == number
        known = np.where(inside, strokes[box], 0)
        if known.any():
            nearest = ndimage.distance_transform_edt(
                known == 0, voxel_size_nm, return_distances=False, return_indices=True
            )
            painted[box][inside] = (known[tuple(nearest)] == OBJECT)[inside]
    return np.where(strokes == 0, painted, strokes == OBJECT).astype(np.uint8)


def _minimum_cut(
    sides: tuple[Costs, Costs], one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], costs: Costs
) -> npt.NDArray[np.bool_]:
    """Returns which free supervoxels stay joined to the object when all flow has passed."""
    count = len(sides[0])
    largest = max((part.max() for part in (*sides, costs) if part.size), default=0.0)
    if not count or not largest:
        return np.zeros(count, bool)
    arcs = _arcs(sides, one, other, costs, scale=_LARGEST_CAPACITY / largest)
    left = arcs - csgraph.maximum_flow(arcs, count, count + 1).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[csgraph.breadth_first_order(left, count, return_predecessors=False)] = True
    return reached[:count]


def _arcs(
    sides: tuple[Costs, Costs], one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], costs: Costs, *, scale: float
) -> sparse.csr_array:
    """Returns the capacities of all arcs, int32 [n + 2, n + 2]: free supervoxels, the object's side, the other side.

    Indices have 32 bits as well: here the memory of a cut is at its most.
    """
    count = len(sides[0])
    nodes = np.arange(count, dtype=np.int32)
    source, sink = (np.full(count, side, np.int32) for side in (count, count + 1))
    ways = [(one, other, costs), (other, one, costs), (source, nodes, sides[0]), (nodes, sink, sides[1])]
    found = []
    for start, end, values in ways:
        capacity = np.rint(values * scale).astype(np.int32)
        used = capacity > 0
        found.append((capacity[used], start[used], end[used]))
    capacity, rows, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sparse.csr_array((capacity, (rows, columns)), shape=(count + 2, count + 2))
