# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to training patches, from one seeded generator."""

from __future__ import annotations

import torch

from cryoice_scipion.core.config import AugmentConfig


def augment(patches: torch.Tensor, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Return changed copies of normalised patches.

    Rotations by 90 degrees and flips lose nothing; the sampling is varied where patches are cut (``PatchConfig``),
    since interpolating a patch would low-pass it, which is a sign of thick ice.

    Parameters
    ----------
    patches : torch.Tensor, shape (n, window, window)
    config : AugmentConfig
    generator : torch.Generator
        On the CPU, so that a seed gives the same patches on every device.
    """
    number = int(patches.shape[0])
    turns = torch.randint(0, 4, (number,), generator=generator)
    flips = torch.rand(number, generator=generator) < 0.5
    signs = torch.where(torch.rand(number, generator=generator) < 0.5, -1.0, 1.0)
    scales = 1.0 + config.scale * (2.0 * torch.rand(number, generator=generator) - 1.0)
    shifts = config.shift * (2.0 * torch.rand(number, generator=generator) - 1.0)
    levels = config.noise * torch.rand(number, generator=generator)
    noise = torch.randn(patches.shape, generator=generator)
    result = patches
    if config.rotations:
        result = torch.stack([torch.rot90(patch, int(turn)) for patch, turn in zip(result, turns)])
    if config.flips:
        result = torch.where(flips[:, None, None].to(result.device), result.flip(-1), result)
    if config.invert:
        scales = scales * signs
    moved = shifts[:, None, None] + noise * levels[:, None, None]
    return result * scales[:, None, None].to(result.device) + moved.to(result.device)
