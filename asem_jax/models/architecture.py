"""What defines a network: a value of plain numbers and words, kept in a model's card.

All networks here are U-Nets of one kind. Levels are numbered from the finest. Each level of the encoder and of the
decoder makes two rectified convolutions; poolings lie between the levels of the encoder; an upsampled map is joined to
the encoder's map of its level. What differs is written in `Architecture`. The functions below return the published
ones; a network like one of them, but narrower, is the same call with fewer maps, or `dataclasses.replace`.

Nothing here needs JAX, so a config is checked before anything heavy is imported.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from asem_jax.volumes.geometry import Int3, int3

PADDINGS = ("valid", "same")
UPSAMPLINGS = ("repeat", "transposed", "transposed_relu", "constant")
ACTIVATIONS = ("none", "sigmoid")


@dataclass(frozen=True)
class Head:
    """A last convolution and what it returns.

    Attributes:
      name: of its parameters, and of its output.
      num_channels: output channels.
      kernel_size: voxels, z y x, odd.
      activation: "none" = logits, "sigmoid" = values in 0..1.
    """

    name: str
    num_channels: int
    kernel_size: Int3
    activation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_size", _odd(self.kernel_size, f"kernel_size of head {self.name!r}"))
        _check_positive([self.num_channels], f"num_channels of head {self.name!r}")
        _check_word(self.activation, f"activation of head {self.name!r}", ACTIVATIONS)


@dataclass(frozen=True)
class FinalUpsampling:
    """A step to smaller voxels than those of raw, behind the U-Net: upsampling and two rectified convolutions.

    Attributes:
      factor: output voxels per voxel of raw, z y x.
      num_maps: of the upsampled map and of both convolutions.
      kernel_size: of both, voxels of the output, z y x, odd.
    """

    factor: Int3
    num_maps: int
    kernel_size: Int3

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", int3(self.factor, "factor of final_upsampling"))
        object.__setattr__(self, "kernel_size", _odd(self.kernel_size, "kernel_size of final_upsampling"))
        _check_positive([*self.factor, self.num_maps], "factor and num_maps of final_upsampling")


@dataclass(frozen=True)
class Architecture:
    """A network. Everything per level is listed from the finest to the coarsest.

    Attributes:
      encoder_maps: maps of each level on the way down, the deepest included.
      decoder_maps: maps of each level on the way up; one fewer.
      upsampled_maps: maps of what is joined to the encoder's map at each level of the decoder.
      pool_factors: max-pooling below each level, z y x.
      kernel_sizes: of the convolutions of each level, z y x, odd.
      padding: "valid" = a convolution returns what its kernel covers, so the output is smaller than the input;
        "same" = zeros are put around, so it is as large, and voxels near the border are worth less.
      upsampling: "repeat" = voxels repeated; "transposed" = a transposed convolution whose kernel is the factor;
        "transposed_relu" = that, rectified; "constant" = a 1x1x1 convolution without bias, rectified, repeated.
      crop_to_factor: whether an upsampled map is cropped so that what its level returns is a multiple of the poolings
        from there down; then tiles as large as the output of the U-Net fit together without seams.
      final_upsampling: step to smaller voxels behind the U-Net, or None.
      heads: last convolutions; the first gives the logits of background and organelles.

    Raises:
      ValueError: entries do not fit each other, or a word is not known.
    """

    encoder_maps: tuple[int, ...]
    decoder_maps: tuple[int, ...]
    upsampled_maps: tuple[int, ...]
    pool_factors: tuple[Int3, ...]
    kernel_sizes: tuple[Int3, ...]
    padding: str
    upsampling: str
    crop_to_factor: bool
    final_upsampling: FinalUpsampling | None
    heads: tuple[Head, ...]

    def __post_init__(self) -> None:
        for name in ("encoder_maps", "decoder_maps", "upsampled_maps", "heads"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        poolings = tuple(int3(factor, "pool_factors") for factor in self.pool_factors)
        object.__setattr__(self, "pool_factors", poolings)
        object.__setattr__(self, "kernel_sizes", tuple(_odd(size, "kernel_sizes") for size in self.kernel_sizes))
        _check_positive([side for factor in poolings for side in factor], "pool_factors")
        _check_word(self.padding, "padding", PADDINGS)
        _check_word(self.upsampling, "upsampling", UPSAMPLINGS)
        self._check_levels()
        names = [head.name for head in self.heads]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"heads={names} are none, or two of one name; give at least one, each its own name.")

    def _check_levels(self) -> None:
        depth = len(self.pool_factors)
        if depth == 0:
            raise ValueError(f"pool_factors={self.pool_factors} names no pooling; give at least one, z y x.")
        levels = {"encoder_maps": depth + 1, "decoder_maps": depth, "upsampled_maps": depth, "kernel_sizes": depth + 1}
        for name, number in levels.items():
            given = getattr(self, name)
            if len(given) != number:
                raise ValueError(
                    f"{name}={given} has {len(given)} entries for {depth} poolings; give {number}, finest level first."
                )
            if name != "kernel_sizes":
                _check_positive(given, name)
        coarser = (*self.decoder_maps[1:], self.encoder_maps[-1])
        if self.upsampling == "repeat" and self.upsampled_maps != coarser:
            raise ValueError(
                f"upsampled_maps={self.upsampled_maps} with upsampling='repeat', which changes no number of maps; "
                f"give {coarser}, or another upsampling."
            )

    @property
    def final_factor(self) -> Int3:
        """Output voxels per voxel of raw, z y x; (1, 1, 1) unless there is a final upsampling."""
        return (1, 1, 1) if self.final_upsampling is None else self.final_upsampling.factor

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the architecture that `to_dict` described.

        Raises:
          KeyError: an entry is missing.
          ValueError: see the class.
        """
        known = {field.name: values[field.name] for field in fields(cls)}
        known["heads"] = tuple(Head(**head) for head in known["heads"])
        if known["final_upsampling"] is not None:
            known["final_upsampling"] = FinalUpsampling(**known["final_upsampling"])
        return cls(**known)


def symmetric(
    *,
    num_channels: int,
    num_maps: int,
    map_growth: int,
    pool_factors: Sequence[Int3],
    kernel_sizes: Sequence[Int3],
    padding: str,
    upsampling: str,
    head_kernel_size: Int3,
) -> Architecture:
    """Returns a U-Net whose decoder has the maps of its encoder: level l has `num_maps * map_growth**l`.

    Args:
      num_channels: logits per voxel.
      num_maps: maps of the finest level.
      map_growth: factor of maps from a level to the next coarser one.
      pool_factors: see `Architecture`.
      kernel_sizes: see `Architecture`; one entry for each level, the deepest included.
      padding: see `Architecture`.
      upsampling: see `Architecture`. "repeat" and "transposed" keep the maps of the coarser level, as ASEM does; the
        others give those of the level they come to.
      head_kernel_size: of the last convolution.

    Raises:
      ValueError: see `Architecture`.

    Example:
      >>> kernels = ((1, 3, 3), (3, 3, 3))
      >>> network = symmetric(
      ...     num_channels=2, num_maps=8, map_growth=2, pool_factors=((1, 2, 2),), kernel_sizes=kernels,
      ...     padding="valid", upsampling="repeat", head_kernel_size=(1, 1, 1)
      ... )
      >>> network.encoder_maps, network.decoder_maps
      ((8, 16), (8,))
    """
    depth = len(pool_factors)
    maps = tuple(num_maps * map_growth**level for level in range(depth + 1))
    return Architecture(
        encoder_maps=maps,
        decoder_maps=maps[:-1],
        upsampled_maps=maps[1:] if upsampling in ("repeat", "transposed") else maps[:-1],
        pool_factors=tuple(pool_factors),
        kernel_sizes=tuple(kernel_sizes),
        padding=padding,
        upsampling=upsampling,
        crop_to_factor=True,
        final_upsampling=None,
        heads=(Head("head", num_channels, head_kernel_size, "none"),),
    )


def with_decoder_maps(architecture: Architecture, decoder_maps: Sequence[int]) -> Architecture:
    """Returns a network with other maps in its decoder, what is upsampled included.

    Args:
      architecture: of `symmetric`.
      decoder_maps: of each level, finest first; COSEM (72, 72, 432) where the encoder has (12, 72, 432, 2592).

    Raises:
      ValueError: see `Architecture`.

    Example:
      >>> with_decoder_maps(asem(num_maps=2), (4, 4, 8)).upsampled_maps
      (4, 8, 16)
    """
    keeps_maps = architecture.upsampling in ("repeat", "transposed")
    coarser = (*decoder_maps[1:], architecture.encoder_maps[-1])
    return replace(
        architecture,
        decoder_maps=tuple(decoder_maps),
        upsampled_maps=coarser if keeps_maps else tuple(decoder_maps),
    )


def asem(
    num_channels: int = 2,
    num_maps: int = 32,
    map_growth: int = 2,
    pool_factors: Sequence[Int3] = ((2, 2, 2),) * 3,
) -> Architecture:
    """Returns the network of ASEM: 5,837,730 parameters, 204 voxels per axis in, 110 out.

    Source: Gallusser et al., J Cell Biol 2023, Fig. S3.
    """
    return symmetric(
        num_channels=num_channels,
        num_maps=num_maps,
        map_growth=map_growth,
        pool_factors=pool_factors,
        kernel_sizes=((3, 3, 3),) * (len(pool_factors) + 1),
        padding="valid",
        upsampling="repeat",
        head_kernel_size=(3, 3, 3),
    )


def asem_transposed(num_channels: int = 2, num_maps: int = 32) -> Architecture:
    """Returns ASEM's network with learned upsampling, which its code offers too: 6,526,306 parameters."""
    return replace(asem(num_channels, num_maps), upsampling="transposed")


def multitask(num_channels: int = 2, num_auxiliary: int = 16, num_maps: int = 32) -> Architecture:
    """Returns ASEM's network with a second head, whose values are in 0..1: 5,851,570 parameters for 2 and 16 channels.

    Args:
      num_channels: logits of background and organelles, the first head.
      num_auxiliary: channels of the head `auxiliary`, which training may use beside them.
      num_maps: maps of the finest level.
    """
    trunk = asem(num_channels, num_maps)
    return replace(trunk, heads=(*trunk.heads, Head("auxiliary", num_auxiliary, (3, 3, 3), "sigmoid")))


def cosem_4nm(
    num_channels: int,
    num_maps: int = 12,
    map_growth: int = 6,
    pool_factors: Sequence[Int3] = ((2, 2, 2), (3, 3, 3), (3, 3, 3)),
) -> Architecture:
    """Returns the network of COSEM for 4 nm: 234.7 million parameters, 216 voxels per axis in, 36 out.

    The finest level of the decoder has the maps of the second finest of the encoder (72, not 12).

    Source: Heinrich et al., Nature 2021 (code).
    """
    plain = asem(num_channels, num_maps, map_growth, pool_factors)
    up = (plain.encoder_maps[1], *plain.decoder_maps[1:])
    head = Head("head", num_channels, (1, 1, 1), "none")
    return replace(plain, decoder_maps=up, upsampled_maps=up, upsampling="constant", heads=(head,))


def cosem_8to4nm(num_channels: int, num_maps: int = 12) -> Architecture:
    """Returns the network of COSEM that reads 8 nm and predicts 4 nm: 216 voxels of 8 nm in, 68 of 4 nm out.

    Source: Heinrich et al., Nature 2021 (code).
    """
    plain = cosem_4nm(num_channels, num_maps)
    return replace(plain, final_upsampling=FinalUpsampling((2, 2, 2), plain.decoder_maps[0], (3, 3, 3)))


def funke_cremi(num_channels: int, num_maps: int = 12) -> Architecture:
    """Returns the network of Funke et al. for CREMI's sections (40 x 4 x 4 nm): (84, 268, 268) in, 56 out per axis.

    Its channels there are affinities. Sections are pooled within their plane only.

    Source: Funke et al., TPAMI 2019. That upsampling reduces the maps follows from the published numbers of parameters
    of this family; that it is rectified is inferred.
    """
    return _funke(num_channels, num_maps, 5, ((1, 3, 3),) * 3)


def funke_fib25(num_channels: int, num_maps: int = 12) -> Architecture:
    """Returns the network of Funke et al. for FIB-25 (8 nm): some 87 million parameters, 132 voxels in, 44 out.

    Source: see `funke_cremi`.
    """
    return _funke(num_channels, num_maps, 5, ((2, 2, 2),) * 3)


def lsd_fib25(num_channels: int, num_maps: int = 12) -> Architecture:
    """Returns the network of the local shape descriptors for FIB-25: some 264 million parameters, 196 in, 92 out.

    Source: Sheridan et al., Nature Methods 2022 (code); see `funke_cremi`.
    """
    return _funke(num_channels, num_maps, 6, ((2, 2, 2), (2, 2, 2), (3, 3, 3)))


def _funke(num_channels: int, num_maps: int, map_growth: int, pool_factors: tuple[Int3, ...]) -> Architecture:
    plain = asem(num_channels, num_maps, map_growth, pool_factors)
    return replace(
        plain,
        upsampled_maps=plain.decoder_maps,
        upsampling="transposed_relu",
        crop_to_factor=False,
        heads=(Head("head", num_channels, (1, 1, 1), "none"),),
    )


def _odd(kernel_size: Sequence[int], name: str) -> Int3:
    size = int3(kernel_size, name)
    if any(side < 1 or side % 2 == 0 for side in size):
        raise ValueError(f"{name}={size} has a side that is even or below 1; give odd sides, so that it has a centre.")
    return size


def _check_positive(numbers: Iterable[int], name: str) -> None:
    given = tuple(numbers)
    if any(int(number) != number or number < 1 for number in given):
        raise ValueError(f"{name}={given} must be whole numbers of at least 1; correct them.")


def _check_word(word: str, name: str, known: tuple[str, ...]) -> None:
    if word not in known:
        nearest = get_close_matches(str(word), known, 1)
        meant = f"did you mean {nearest[0]!r}?" if nearest else "choose one of them."
        raise ValueError(f"{name}={word!r} is none of {', '.join(known)}; {meant}")
