"""Several organelles, segmented one by one, in one volume: no voxel belongs to two.

Each organelle *claims* the voxels of its segmentation. First, rules take claims away: those that lie outside (or
inside) what another organelle claims, or farther (nearer) than a distance from it. Rules look at the claims as they
were given, so one rule does not change what another sees. Then voxels that several still claim go to one of them: to
the first of the stated priority that claims it, or, where none of those does, to the one of the highest probability
(of equal ones, the first by name). Every claim that is taken away is counted once: by which step, from whom, and who
has the voxel in the end. Laws (tested):

* no voxel belongs to two organelles, and each to one that claimed it;
* where one organelle claims and no rule speaks against it, nothing changes;
* the result and the counts do not depend on the blocks, nor on interruptions;
* claims minus claims that were taken away are the voxels that have an owner.

Memory: per thread and voxel of a block, 6 bytes for each organelle and 20; the latter also for the margin of a block
that is as wide as the largest distance of a rule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.segmentation.parts import MakeVolume
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Float3
from asem_jax.volumes.volume import Volume

Mask = npt.NDArray[np.bool_]
RELATIONS = ("inside", "outside")
PRIORITY, PROBABILITY = "priority", "probability"
MOST = 255  # numbers that the volume of owners has room for


@dataclass(frozen=True)
class Claim:
    """What one organelle brings along.

    Attributes:
      segmentation: nonzero = claimed.
      probability: uint8, 255 = 1; None = not known.
      objects: ids to carry over to the voxels that stay; None = none.
    """

    segmentation: Volume
    probability: Volume | None = None
    objects: Volume | None = None


@dataclass(frozen=True)
class Rule:
    """Where an organelle may be, seen from another.

    Attributes:
      name: what the table calls it.
      organelle: whose claims it takes away.
      relation: "inside" keeps claims at most `within_nm` from a voxel that `of` claims, "outside" the others.
      of: the other organelle.
      within_nm: centre to centre, nm; 0 = at that voxel itself.
    """

    name: str
    organelle: str
    relation: str
    of: str
    within_nm: float


def check(claims: Mapping[str, Claim], rules: Sequence[Rule], priority: Sequence[str]) -> None:
    """Looks at what is to be superimposed before any work.

    Raises:
      ValueError: fewer than two organelles, or more than 255; a name that the result needs; a rule or the priority
        names an organelle that is not there; a rule says nothing; nothing puts the claims of some in an order.
    """
    if not 2 <= len(claims) <= MOST:
        raise ValueError(f"volumes={sorted(claims)}: there are {len(claims)} organelles; give 2 to {MOST}.")
    if taken := {"labels", "conflicts"} & set(claims):
        raise ValueError(f"volumes.{min(taken)}: a volume of the result has that name; give the organelle another.")
    for rule in rules:
        for name in (rule.organelle, rule.of):
            if name not in claims:
                raise ValueError(f"rules.{rule.name} names {name!r}, which is not in volumes: {', '.join(claims)}.")
        if rule.relation not in RELATIONS or rule.organelle == rule.of or not rule.within_nm >= 0:
            raise ValueError(
                f"rules.{rule.name}: {rule.organelle} {rule.relation} of {rule.of} within {rule.within_nm} nm says "
                "nothing; give inside or outside, another organelle, and a distance from 0 on."
            )
    if set(priority) - set(claims) or len(set(priority)) < len(priority):
        raise ValueError(f"priority={tuple(priority)} must name each organelle of volumes ({', '.join(claims)}) once.")
    rest = sorted(set(claims) - set(priority))
    blind = [name for name in rest if claims[name].probability is None]
    if len(rest) > 1 and blind:
        raise ValueError(
            f"volumes.{blind[0]}.probability=None, and {blind[0]} is not in priority={tuple(priority)}, so nothing "
            f"says who gets what it and {' and '.join(name for name in rest if name != blind[0])} claim; give its "
            "probability, or its place in priority."
        )


def superimpose(
    claims: Mapping[str, Claim], *, rules: Sequence[Rule], priority: Sequence[str], make: MakeVolume, job: BlockJob
) -> dict[str, Any]:
    """Writes who owns each voxel, and how many claimed it; returns the table of what moved, as JSON.

    Writes "labels" (uint8: 0 = nobody, 1, 2, ... = the organelles by name), "conflicts" (uint8: how many claimed the
    voxel), and for each organelle "NAME/segmentation" (uint8) and, where it has objects, "NAME/objects". An object
    keeps its number, also where what is left of it is in pieces.

    Args:
      claims: by organelle, on one grid. The first by name says what is covered; another one claims nothing where its
        volume does not reach.
      rules: which claims cannot be; in this order they are counted.
      priority: who wins, the first first; those not in it win by probability.
      make: creates a volume on the grid of the first organelle by name.
      job: of this step.

    Raises:
      ValueError: see `check`; or two volumes lie on different grids, see `grid_shift`.
    """
    check(claims, rules, priority)
    names = sorted(claims)
    reference = claims[names[0]].segmentation
    owners, conflicts = make("labels", np.dtype(np.uint8)), make("conflicts", np.dtype(np.uint8))
    parts = {name: make(f"{name}/segmentation", np.dtype(np.uint8)) for name in names}
    objects = {n: (c.objects, make(f"{n}/objects", c.objects.dtype)) for n, c in claims.items() if c.objects}
    grid = _Grid(reference)

    def decide(index: int, box: Box) -> None:
        claimed = np.stack([grid.read(claims[name].segmentation, box) != 0 for name in names])
        allowed = [
            (names.index(rule.organelle), grid.allowed(rule, claims[rule.of].segmentation, box)) for rule in rules
        ]
        known = [claims[name].probability for name in names]
        owner, moved = settle(
            claimed,
            allowed,
            [names.index(name) for name in priority],
            lambda i: grid.read(known[i], box),  # type: ignore[arg-type]
        )
        conflicts.write(box, claimed.sum(axis=0, dtype=np.uint8))
        for number, name in enumerate(names, 1):
            parts[name].write(box, (owner == number).astype(np.uint8))
            if name in objects:
                source, target = objects[name]
                target.write(box, np.where(owner == number, grid.read(source, box), 0).astype(target.dtype))
        owners.write(box, owner)
        several = int((claimed.sum(axis=0) > 1).sum())
        claimed_voxels = claimed.sum(axis=(1, 2, 3))
        job.keep(f"block{index}", moved=moved, claimed=claimed_voxels, several=np.array(several))

    job.sweep(decide, reference.box, name="decided", label=f"superimpose {', '.join(names)}")
    found = [job.kept(f"block{index}") for index, _ in job.blocks(reference.box)]
    total = {name: sum(block[name] for block in found) for name in ("moved", "claimed", "several")}
    steps = [*(rule.name for rule in rules), PRIORITY, PROBABILITY]
    return _table(names, steps, total)


@dataclass(frozen=True)
class _Grid:
    """The voxels that are decided on, and what others hold there."""

    reference: Volume

    def read(self, volume: Volume, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `volume` in a box of the reference; 0 where it has none."""
        there = box.shift(grid_shift(volume, self.reference))
        inside = there.intersect(volume.box)
        if inside == there:
            return volume.read(there)
        values = np.zeros(box.shape, volume.dtype)
        if inside.num_voxels:
            values[inside.shift([-a for a in there.start]).slices] = volume.read(inside)
        return values

    def allowed(self, rule: Rule, other: Volume, box: Box) -> Mask:
        """Returns where in a box `rule` lets claims stay."""
        size = self.reference.voxel_size_nm
        halo = Box.of_shape(box.shape, [math.floor(rule.within_nm / side + 1e-9) for side in size])
        near = is_near(self.read(other, box.grow(halo.start)) != 0, rule.within_nm, size)[halo.slices]
        return near if rule.relation == "inside" else ~near


def is_near(mask: Mask, within_nm: float, voxel_size_nm: Float3) -> Mask:
    """Returns which voxels lie at most `within_nm` from one of the mask, centre to centre.

    Args:
      mask: bool [z, y, x].
      within_nm: nm; 0 = the mask itself.
      voxel_size_nm: z y x.

    Example:
      >>> is_near(np.array([[[True, False, False, False]]]), 10.0, (5.0, 5.0, 5.0)).astype(int)
      array([[[1, 1, 1, 0]]])
    """
    if within_nm < min(voxel_size_nm) or not mask.any():
        return mask.copy()
    return ndimage.distance_transform_edt(~mask, sampling=voxel_size_nm) <= within_nm


def settle(
    claimed: Mask, allowed: Sequence[tuple[int, Mask]], priority: Sequence[int], probability: Any
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Returns who owns each voxel, and how many claims each step took from whom, by who owns the voxel.

    Args:
      claimed: bool [organelle, z, y, x].
      allowed: per rule, the organelle and where its claims may stay, bool [z, y, x].
      priority: organelles that win, the first first.
      probability: organelle -> uint8 [z, y, x]; asked only for those that are not in `priority`, where they meet.

    Returns:
      uint8 [z, y, x], 0 = nobody, else the organelle + 1; and int64 [step, organelle, owner] with the rules as the
      first steps, then priority, then probability.

    Example:
      >>> both = np.array([[[[True, True, False]]], [[[True, False, False]]]])
      >>> owner, moved = settle(both, [], [1, 0], None)
      >>> owner[0, 0].tolist(), moved[0].tolist()
      ([2, 1, 0], [[0, 0, 1], [0, 0, 0]])
    """
    left, taken = claimed.copy(), np.full(claimed.shape, -1, np.int16)
    for step, (organelle, mask) in enumerate(allowed):
        _take(left, taken, organelle, ~mask, step)
    for place, winner in enumerate(priority):
        for organelle in set(range(len(left))) - set(priority[: place + 1]):
            _take(left, taken, organelle, left[winner], len(allowed))
    rest = [organelle for organelle in range(len(left)) if organelle not in priority]
    meet = left[rest].sum(axis=0, dtype=np.uint8) > 1
    if meet.any():
        chances = np.stack([np.where(left[i][meet], probability(i)[meet].astype(np.int16), -1) for i in rest])
        best = np.array(rest)[chances.argmax(axis=0)]
        for organelle in rest:
            loses = np.zeros(meet.shape, bool)
            loses[meet] = best != organelle
            _take(left, taken, organelle, loses, len(allowed) + 1)
    owner = np.where(left.any(axis=0), left.argmax(axis=0) + 1, 0).astype(np.uint8)
    return owner, _moves(taken, owner, len(allowed) + 2)


def _take(left: Mask, taken: npt.NDArray[np.int16], organelle: int, where: Mask, step: int) -> None:
    """Takes the claims of an organelle away where a mask says so, and notes which step did."""
    gone = left[organelle] & where
    taken[organelle][gone] = step
    left[organelle] &= ~gone


def _moves(taken: npt.NDArray[np.int16], owner: npt.NDArray[np.uint8], num_steps: int) -> npt.NDArray[np.int64]:
    """Returns how many claims each step took, [step, organelle, owner]."""
    num = len(taken)
    moved = np.zeros((num_steps, num, num + 1), np.int64)
    for organelle, steps in enumerate(taken):
        gone = steps >= 0
        cells = steps[gone].astype(np.int64) * (num + 1) + owner[gone]
        moved[:, organelle] = np.bincount(cells, minlength=num_steps * (num + 1)).reshape(num_steps, num + 1)
    return moved


def _table(names: Sequence[str], steps: Sequence[str], total: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the counts as JSON: per organelle, and a row for each step, loser and winner that occur."""
    moved, claimed = total["moved"], total["claimed"]
    lost = moved.sum(axis=(0, 2))
    rows = [
        {
            "step": steps[step],
            "from": names[loser],
            "to": names[owner - 1] if owner else None,
            "voxels": int(moved[step, loser, owner]),
        }
        for step, loser, owner in np.argwhere(moved)
    ]
    return {
        "organelles": {
            name: {"label": i + 1, "claimed_voxels": int(claimed[i]), "kept_voxels": int(claimed[i] - lost[i])}
            for i, name in enumerate(names)
        },
        "conflict_voxels": int(total["several"]),
        "moved": rows,
    }
