"""The original's network in PyTorch, from its definition, for tests that compare with it.

Import it only behind `pytest.importorskip("torch")`. Names are those of the original's state dict.
"""

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import nn

from asem_jax.models.architecture import Architecture


class ConvPass(nn.Module):
    """Valid convolutions of 3x3x3 voxels, each with a ReLU behind it unless there is only one."""

    def __init__(self, *maps: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(maps):
            layers += [nn.Conv3d(before, after, 3), nn.ReLU() if len(maps) > 2 else nn.Identity()]
        self.conv_pass = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_pass(x)


class LearnedUp(nn.Module):
    """A transposed convolution whose kernel and stride are the factor."""

    def __init__(self, maps: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(maps, maps, factor, factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(x)


class Trunk(nn.Module):
    """Encoder and decoder, created in the original's order: down, up, then the convolutions on the way up."""

    def __init__(self, net: Architecture) -> None:
        super().__init__()
        self.factors = net.pool_factors
        self.l_conv = nn.ModuleList(ConvPass(a, b, b) for a, b in pairwise((1, *net.encoder_maps)))
        ups: list[Any] = [nn.Upsample(scale_factor=factor, mode="nearest") for factor in self.factors]
        if net.upsampling == "transposed":
            ups = [LearnedUp(maps, factor) for maps, factor in zip(net.upsampled_maps, self.factors, strict=True)]
        self.r_up = nn.ModuleList([nn.ModuleList(ups)])
        levels = zip(net.encoder_maps[:-1], net.upsampled_maps, net.decoder_maps, strict=True)
        self.r_conv = nn.ModuleList([nn.ModuleList(ConvPass(a + b, c, c) for a, b, c in levels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, factor in enumerate(self.factors):
            skips.append(self.l_conv[level](x))
            x = nn.functional.max_pool3d(skips[-1], factor)
        x = self.l_conv[-1](x)
        for level in reversed(range(len(self.factors))):
            x = self.r_up[0][level](x)
            factors = [prod(factor[axis] for factor in self.factors[level:]) for axis in range(3)]
            target = [(n - 4) // f * f + 4 for n, f in zip(x.shape[2:], factors, strict=True)]
            x = self.r_conv[0][level](torch.cat([crop(skips[level], target), crop(x, target)], dim=1))
        return x


class TorchUnet(nn.Module):
    """Raw `[b, 1, z, y, x]` to logits `[b, c, z', y', x']`."""

    def __init__(self, net: Architecture) -> None:
        super().__init__()
        self.unet = Trunk(net)
        self.final_conv_pass = ConvPass(net.decoder_maps[0], net.heads[0].num_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.final_conv_pass(self.unet(x))


def crop(x: torch.Tensor, shape: list[int]) -> torch.Tensor:
    starts = [(n - m) // 2 for n, m in zip(x.shape[2:], shape, strict=True)]
    z, y, w = (slice(a, a + m) for a, m in zip(starts, shape, strict=True))
    return x[:, :, z, y, w]
