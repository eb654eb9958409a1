# SPDX-License-Identifier: GPL-3.0-or-later
"""Augment training patches, with one seeded random generator."""

from __future__ import annotations

import math
from typing import Dict

import torch

from cryoice_scipion.core.config import AugmentConfig
from cryoice_scipion.core.views.spectrum_features import dropped, feature_frequencies

Batch = Dict[str, torch.Tensor]
_COARSE = 4.0  # px of the context view averaged in the coarse one, along each axis
CUTS = (0.08, 0.35)  # Å⁻¹: range of the resolution limits that are imitated
NOTHING_LEFT = 0.3  # of the spectra that are cut, the share that is removed completely
_SPREAD = 0.05  # standard deviation added to spectral features, natural logarithms


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """Return changed copies of the views of training patches; all views of one patch are changed alike.

    Patches are rotated by multiples of 90 degrees and flipped, which is lossless. The sampling is varied when patches
    are cut (``PatchConfig``), because interpolation would low-pass them, which is a feature of thick ice.

    Parameters
    ----------
    batch : dict
        Views by kind; "patch" (n, window, window) is always there, "local", "coarse" and "spectrum" may be.
    config : AugmentConfig
    generator : torch.Generator
        On the CPU, so that a seed gives the same patches on every device.
    """
    patches = batch["patch"]
    number = int(patches.shape[0])
    turns = torch.randint(0, 4, (number,), generator=generator)
    flips = torch.rand(number, generator=generator) < 0.5
    signs = torch.where(torch.rand(number, generator=generator) < 0.5, -1.0, 1.0)
    scales = 1.0 + config.scale * (2.0 * torch.rand(number, generator=generator) - 1.0)
    shifts = config.shift * (2.0 * torch.rand(number, generator=generator) - 1.0)
    levels = config.noise * torch.rand(number, generator=generator)
    noise = torch.randn(patches.shape, generator=generator) * levels[:, None, None]
    if config.invert:
        scales = scales * signs

    def moved(view: torch.Tensor) -> torch.Tensor:
        if config.rotations:
            view = torch.stack([torch.rot90(one, int(turn), (-2, -1)) for one, turn in zip(view, turns)])
        if config.flips:
            which = flips.reshape(-1, *(1,) * (view.dim() - 1)).to(view.device)
            view = torch.where(which, view.flip(-1), view)
        return view

    result = {"patch": moved(patches) * _each(scales, patches) + (_each(shifts, patches) + noise.to(patches.device))}
    if "local" in batch:
        result["local"] = _local(moved(batch["local"]), patches, scales, noise, levels)
    if "coarse" in batch:
        result["coarse"] = _coarse(moved(batch["coarse"]), scales, shifts, levels, generator)
    if "spectrum" in batch:
        result["spectrum"] = _spectrum(batch["spectrum"], config.spectrum_dropout, generator)
    return result


def _each(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *(1,) * (like.dim() - 1)).to(like.device)


def _local(
    local: torch.Tensor, patches: torch.Tensor, scales: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor
) -> torch.Tensor:
    """Return the locally normalised view of a patch with noise added; scale and shift change only its sign.

    The deviation by which it was divided is not stored; that of the patch is used instead.
    """
    deviation = patches.flatten(1).std(dim=1).clamp(min=0.03).to(local.device)
    relative = _each(1.0 / deviation, local)
    grown = torch.sqrt(1.0 + (_each(levels, local) * relative).square())
    return (local * _each(torch.sign(scales), local) + noise.to(local.device) * relative) / grown


def _coarse(
    coarse: torch.Tensor, scales: torch.Tensor, shifts: torch.Tensor, levels: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return mean and log deviation of 4 × 4 px of the augmented image."""
    mean, deviation = coarse[:, :1], coarse[:, 1:]
    added = torch.randn(mean.shape, generator=generator).to(mean.device) * _each(levels / _COARSE, mean)
    mean = mean * _each(scales, mean) + added + _each(shifts, mean)
    square = torch.exp(2.0 * deviation) * _each(scales.square(), mean) + _each(levels.square(), mean)
    return torch.cat([mean, 0.5 * torch.log(square)], dim=1)


def _spectrum(spectrum: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Return spectral features, cut at a random resolution limit for some rows, and removed for others."""
    number = int(spectrum.shape[0])
    low, high = CUTS
    limits = low + (high - low) * torch.rand(number, generator=generator)
    limits = torch.where(torch.rand(number, generator=generator) < NOTHING_LEFT, torch.zeros(number), limits)
    chosen = torch.rand(number, generator=generator) < share
    limits = torch.where(chosen, limits, torch.full((number,), math.inf))
    spread = _SPREAD * torch.randn(spectrum.shape, generator=generator).to(spectrum.device)
    return dropped(spectrum + spread, limits, feature_frequencies())
