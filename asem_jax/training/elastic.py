"""Elastic deformation of training crops: a smooth random field, a rotation in y x, and sections that are shifted.

A crop is read with a margin around what the network needs, and each voxel of the result is looked up in it: raw by
linear interpolation, labels and masks by the nearest voxel. `source_coordinates` says where, as offsets in voxels from
the centre, which raw and labels share; so one field serves all arrays of a crop. Laws (tested): settings of zero
change no bit; labels take no value that was not there; raw and labels stay together.

`margin` covers every rotation, jitter of 4 standard deviations and drift of the sections of 3. What is looked up
beyond it, which is rare, is the outermost voxel for raw, and for labels and masks 0, that is not annotated.

Source: Gallusser et al., J Cell Biol 2023 (code), which uses gunpowder's ElasticAugment on all crops: spacing 32
voxels, jitter 2 voxels, rotation up to 90 degrees, shifts of up to 2 voxels at 5% of the sections.
"""

import math
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.volumes.geometry import Float3, Int3, float3

FIELD_STEP = 4  # voxels from node to node of the field; linear between them, as in the original
JITTER_SIGMAS = 4.0  # what the margin leaves room for; a control point in 16,000 lies beyond
DRIFT_SIGMAS = 3.0


@dataclass(frozen=True)
class Elastic:
    """How crops are deformed, in voxels, z y x.

    Attributes:
      probability: of each crop, to be deformed; the others keep the sharp grain that interpolation smooths.
      spacing: between control points, about; the outermost lie in the crop's corners.
      jitter: standard deviation of a control point's displacement along each axis.
      rotation_degrees: the angle of rotation in the plane y x is drawn from 0 to this, at most 90; the mirrors and
        transpositions of `Augmentation` make all other angles of it.
      shift_probability: of each section z, that it and all after it are shifted along y and x.
      slip_probability: of each section, that it alone is.
      max_misalign: the largest such shift along each of y and x; whole voxels are drawn from +- this.
    """

    probability: float
    spacing: Float3
    jitter: Float3
    rotation_degrees: float
    shift_probability: float
    slip_probability: float
    max_misalign: int

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_degrees <= 90:
            raise ValueError(
                f"rotation_degrees={self.rotation_degrees} is not from 0 to 90; give 90 for all angles: mirrors "
                "and transpositions make the others of it."
            )
        if min(self.spacing) <= 0:
            raise ValueError(f"spacing={self.spacing} of the control points is not positive; ASEM: 32 voxels.")

    @classmethod
    def from_nm(
        cls,
        *,
        probability: float,
        spacing_nm: Float3,
        jitter_nm: Float3,
        rotation_degrees: float,
        shift_probability: float,
        slip_probability: float,
        max_misalign: int,
        voxel_size_nm: Float3,
    ) -> Self:
        """Returns the deformation of tissue, whatever its voxels are: spacing and jitter are given in nm, z y x.

        Raises:
          ValueError: a rotation is asked for where voxels are not square in y x, or a value is out of its range.
        """
        size = float3(voxel_size_nm, "voxel_size_nm")
        if rotation_degrees and size[1] != size[2]:
            raise ValueError(
                f"rotation_degrees={rotation_degrees} needs voxels that are square in y x, voxel_size_nm is {size}; "
                "give rotation_degrees 0."
            )
        spacing, jitter = (
            float3([a / b for a, b in zip(float3(lengths, name), size, strict=True)], name)
            for lengths, name in ((spacing_nm, "spacing_nm"), (jitter_nm, "jitter_nm"))
        )
        return cls(probability, spacing, jitter, rotation_degrees, shift_probability, slip_probability, max_misalign)


def margin(elastic: Elastic | None, shape: Int3, transpositions: tuple[Int3, ...]) -> Int3:
    """Returns the voxels on each side of a crop that its deformation may look up, z y x.

    An axis needs the reach of the rotated crop, 4 standard deviations of the jitter, and in y and x the largest slip
    and 3 standard deviations of the drift from the middle section to the outermost. Axes that are exchanged need the
    same.

    Args:
      elastic: the deformation; None = none.
      shape: of the crop that comes out, z y x.
      transpositions: orders of axes that it may be given before; see `augment.allowed_transpositions`.

    Example:
      >>> turned = Elastic(1.0, (32.0, 32.0, 32.0), (0.0, 0.0, 0.0), 90.0, 0.0, 0.0, 0)
      >>> margin(turned, (11, 101, 101), ((0, 1, 2), (0, 2, 1)))
      (0, 21, 21)
    """
    if elastic is None:
        return 0, 0, 0
    z, y, x = ((n - 1) / 2 for n in shape)
    largest, sections = elastic.max_misalign, shape[0] / 2
    drift = DRIFT_SIGMAS * math.sqrt(sections * elastic.shift_probability * largest * (largest + 1) / 3)
    misaligned = min(drift, sections * largest) + (largest if elastic.slip_probability else 0)
    limit = math.radians(elastic.rotation_degrees)
    reach = (z, _rotated_reach(y, x, limit) + misaligned, _rotated_reach(x, y, limit) + misaligned)
    needed = [r + JITTER_SIGMAS * s - h for r, s, h in zip(reach, elastic.jitter, (z, y, x), strict=True)]
    side_z, side_y, side_x = (
        max(math.ceil(needed[order.index(axis)] - 1e-6) for order in transpositions) for axis in range(3)
    )
    return side_z, side_y, side_x


def _rotated_reach(along: float, across: float, limit: float) -> float:
    """Returns how far a rectangle reaches along an axis at most while it turns by angles from 0 to `limit`."""
    angle = min(limit, math.atan2(across, along))
    return along * math.cos(angle) + across * math.sin(angle)


def source_coordinates(
    elastic: Elastic, shape: Int3, key: jax.Array, *, mirror_axes: tuple[int, ...], transpositions: tuple[Int3, ...]
) -> jax.Array:
    """Returns where each voxel of a deformed crop is looked up: float32 `[3, z, y, x]`, voxels from the centre.

    Before it is deformed, the crop is mirrored and transposed as by `augment.augment_geometry` with a part of the
    key, so that the sections may be those of any axis that allows it.

    Args:
      elastic: the deformation.
      shape: of the crop that comes out, z y x.
      key: JAX key.
      mirror_axes: axes that may be mirrored, each with probability 1/2.
      transpositions: orders of axes to draw from.
    """
    symmetry_key, jitter_key, angle_key, section_key = jax.random.split(key, 4)
    symmetry = draw_symmetry(symmetry_key, mirror_axes=mirror_axes, transpositions=transpositions)
    angle = jax.random.uniform(angle_key, maxval=math.radians(elastic.rotation_degrees))
    sections = _place_back(symmetry, draw_sections(elastic, shape[0], section_key))
    return (
        rotated_coordinates(symmetry, angle, shape)
        + spline_field(_place_back(symmetry, draw_control_offsets(elastic, shape, jitter_key)), shape)
        + jnp.expand_dims(sections, (2, 3))
    )


def draw_symmetry(key: jax.Array, *, mirror_axes: tuple[int, ...], transpositions: tuple[Int3, ...]) -> jax.Array:
    """Returns a signed permutation, float32 `[3, 3]`: from offsets in a turned crop to those in the original.

    It is the one that `augment.augment_geometry` applies for the same arguments.
    """
    mirror_key, order_key = jax.random.split(key)
    may_be_mirrored = jnp.array([axis in mirror_axes for axis in range(3)])
    mirrored = jax.random.bernoulli(mirror_key, shape=(3,)) & may_be_mirrored
    choice = jax.random.randint(order_key, (), 0, len(transpositions))
    orders = jnp.array([np.eye(3)[np.argsort(order)] for order in transpositions], jnp.float32)
    return jnp.where(mirrored, -1.0, 1.0)[:, None] * orders[choice]


def draw_control_offsets(elastic: Elastic, shape: Int3, key: jax.Array) -> jax.Array:
    """Returns the displacement of each control point, float32 `[3, a, b, c]`, voxels."""
    counts = tuple(max(1, round(n / s)) for n, s in zip(shape, elastic.spacing, strict=True))
    sigmas = jnp.array(elastic.jitter, jnp.float32)
    return jnp.expand_dims(sigmas, (1, 2, 3)) * jax.random.normal(key, (3, *counts))


def draw_sections(elastic: Elastic, num_sections: int, key: jax.Array) -> jax.Array:
    """Returns the shift of each section, float32 `[3, z]`, whole voxels; 0 along z.

    Shifts add up from section to section, a random walk; it is 0 in the middle section, so that a crop stays where
    it was drawn.
    """
    event_key, offset_key = jax.random.split(key)
    event = jax.random.uniform(event_key, (num_sections,))
    largest = elastic.max_misalign
    offsets = jax.random.randint(offset_key, (2, num_sections), -largest, largest + 1).astype(jnp.float32)
    slips = event < elastic.slip_probability
    shifts = ~slips & (event < elastic.slip_probability + elastic.shift_probability)
    walk = jnp.cumsum(jnp.where(shifts[None], offsets, 0.0), axis=1)
    walk = walk - walk[:, num_sections // 2][:, None] + jnp.where(slips[None], offsets, 0.0)
    return jnp.concatenate([jnp.zeros((1, num_sections)), walk])


def rotated_coordinates(symmetry: jax.Array, angle: jax.Array, shape: Int3) -> jax.Array:
    """Returns offsets from the centre, float32 `[3, z, y, x]`, turned by `angle` in y x and then by `symmetry`."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.array([[1.0, 0.0, 0.0], [0.0, cosine, sine], [0.0, -sine, cosine]])
    turn = _place_back(symmetry, rotation)
    z, y, x = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in shape)
    along_z, along_y, along_x = (turn[:, axis][:, None] * positions[None] for axis, positions in enumerate((z, y, x)))
    return along_z[:, :, None, None] + along_y[:, None, :, None] + along_x[:, None, None, :]


def spline_field(control_offsets: jax.Array, shape: Int3) -> jax.Array:
    """Returns the smooth field through the control points, float32 `[3, z, y, x]`.

    Cubic B-splines through points of which the outermost lie in the corners, evaluated at nodes every 4 voxels, and
    linear between these. All of it is linear in the control points, one axis after the other: a product of matrices.

    Args:
      control_offsets: float32 `[3, a, b, c]`.
      shape: z y x.
    """
    field = control_offsets
    for size in shape:
        matrix = jnp.asarray(spline_matrix(size, field.shape[1]), jnp.float32)
        # The axis that is first becomes the last; after three products they are in order again.
        field = jnp.tensordot(field, matrix, ((1,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return field


def spline_matrix(size: int, num_points: int) -> npt.NDArray[np.float64]:
    """Returns what each of the control points adds at each voxel of an axis, `[size, num_points]`."""
    nodes = np.linspace(0, num_points - 1, max(1, size // FIELD_STEP))
    places = np.linspace(0, len(nodes) - 1, size)
    columns = []
    for unit in np.eye(num_points):
        # A single point displaces everything alike.
        curve = (
            ndimage.map_coordinates(unit, [nodes], order=3, mode="mirror") if num_points > 1 else np.ones(len(nodes))
        )
        columns.append(np.interp(places, np.arange(len(nodes)), curve))
    return np.stack(columns, axis=1)


def _place_back(symmetry: jax.Array, offsets: jax.Array) -> jax.Array:
    """Returns offsets `[3, ...]` in the turned crop as offsets in the original, exactly: ones and zeros multiply."""
    return jnp.tensordot(symmetry, offsets, 1, precision=jax.lax.Precision.HIGHEST)


def warp_raw(raw: jax.Array, source: jax.Array) -> jax.Array:
    """Returns grey values at `source`, linear between voxels, float32 `[z, y, x]`.

    Args:
      raw: `[z', y', x']`, of any size, with the same centre.
      source: float32 `[3, z, y, x]`, offsets from the centre; beyond raw, the outermost voxel counts.
    """
    places = [offsets + (n - 1) / 2 for offsets, n in zip(source, raw.shape, strict=True)]
    # JAX's own: on a CPU as fast as gathers of 2x2x2 voxels, and twice as fast as gathers of four bytes at a time.
    return jax.scipy.ndimage.map_coordinates(raw.astype(jnp.float32), places, order=1, mode="nearest")


def warp_labels(labels: jax.Array, source: jax.Array) -> jax.Array:
    """Returns the nearest voxels of labels, members or a mask; 0 (False) beyond them.

    Args:
      labels: `[z', y', x']` or `[z', y', x', c]`, any dtype and size, with the centre of the crop.
      source: float32 `[3, z, y, x]`, offsets from the centre; of a larger crop than wanted, give `centre(source)`.
    """
    sizes = jnp.expand_dims(jnp.array(labels.shape[:3], jnp.float32) - 1, (1, 2, 3))
    places = source + sizes / 2
    inside = ((places >= 0) & (places <= sizes)).all(axis=0)
    z, y, x = jnp.clip(jnp.floor(places + 0.5), 0, sizes).astype(jnp.int32)
    found = labels.at[z, y, x].get(mode="promise_in_bounds")
    return jnp.where(inside.reshape(inside.shape + (1,) * (labels.ndim - 3)), found, jnp.zeros((), labels.dtype))


def centre(array: jax.Array, shape: Int3) -> jax.Array:
    """Returns the middle `shape` voxels of the last three axes, as a crop's output lies in its input."""
    starts = [(n - m) // 2 for n, m in zip(array.shape[-3:], shape, strict=True)]
    z, y, x = (slice(a, a + m) for a, m in zip(starts, shape, strict=True))
    return array[..., z, y, x]
