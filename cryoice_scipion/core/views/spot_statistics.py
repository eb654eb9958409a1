# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the p-value of the strongest spot of a window under the hypothesis of no crystal. Pure functions.

The power of amorphous material in a bin of a spectrum, divided by its expectation, is exponential with mean 1 (the
periodogram of Gaussian noise: Brillinger 1981, Time Series, 5.2). Three things keep the largest of n bins from being
the largest of n such numbers, and each is corrected for here: the expectation is itself estimated
(:func:`tail_of_ratio`), the taper correlates neighbouring bins (:func:`clustering`), and there are several scales
(:func:`combine`). Probabilities are carried as natural logarithms: those of real crystals underflow.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
# Of the Fourier transform of noise under a periodic Hann window, at 0, 1, 2 bins (Harris 1978, Proc. IEEE 66:51).
BIN_CORRELATION = (1.0, 2.0 / 3.0, 1.0 / 6.0)
# Of the powers, summed over neighbours along both axes: so many bins count as one in a mean.
BINS_PER_ONE = (1.0 + 2.0 * (BIN_CORRELATION[1] ** 2 + BIN_CORRELATION[2] ** 2)) ** 2
# The same for windows that overlap by half along both axes (amplitudes correlate by 1/6; Welch 1967).
WINDOWS_PER_ONE = (1.0 + 2.0 / 36.0) ** 2
_STEP, _LARGEST = 0.25, 80.0  # grid on which the clustering is worked out; above it is 1 to 1e-10


def tail_of_ratio(ratio: torch.Tensor, freedom: torch.Tensor) -> torch.Tensor:
    """Return -log of the probability that power / estimated expectation exceeds ``ratio`` in one bin.

    With an estimate that is a mean of k independent exponentials the ratio is Pareto (Lomax) distributed:
    P(> t) = (1 + t / k)^-k, which is exp(-t) for many; an F distribution of 2 and 2k degrees of freedom.

    Parameters
    ----------
    ratio, freedom : torch.Tensor
        t and k.
    """
    return freedom * torch.log1p(ratio / freedom)


@functools.lru_cache(maxsize=8)
def _clustering_table(device: torch.device) -> torch.Tensor:
    levels = np.arange(_STEP, _LARGEST, _STEP)
    nodes, weights = special.roots_laguerre(24)  # the excess of an exponential above t is exponential
    rho = BIN_CORRELATION[1] ** 2
    above = stats.ncx2.sf(2 * levels[:, None] / (1 - rho), 2, 2 * rho * (levels[:, None] + nodes) / (1 - rho))
    return torch.from_numpy((1.0 - above @ weights) ** 2).to(device)


def clustering(tail: torch.Tensor) -> torch.Tensor:
    """Return the share of exceedances that begin a cluster, by which the number of bins is multiplied.

    Bins that a spot makes exceed together are counted once, at the first of them along each axis: (1 - P(a direct
    neighbour exceeds, given that the bin does))², where a neighbour's power is non-central chi-square. Within 4 % of
    simulated Hann windows for levels of 5 to 12 (Leadbetter 1983, Z. Wahrsch. verw. Geb. 65:291, names it the extremal
    index).

    Parameters
    ----------
    tail : torch.Tensor, float64
        Level, as -log of the chance of one bin.
    """
    shares = _clustering_table(tail.device)
    position = (tail / _STEP - 1.0).nan_to_num(0.0).clamp(0.0, len(shares) - 1.0)  # linear interpolation
    below = position.long().clamp(max=len(shares) - 2)
    return torch.lerp(shares[below], shares[below + 1], position - below)


def log_p_of_tail(tail: torch.Tensor, bins: int) -> torch.Tensor:
    """Return the log of P(a bin has a tail of at least this) = 1 - exp(-bins · clustering · e^-tail)."""
    log_rate = math.log(bins) + torch.log(clustering(tail).clamp(min=1e-12)) - tail
    rate = torch.exp(log_rate.clamp(max=50.0))
    # -expm1(-rate) is rate for small rates, whose logarithm is known without underflow.
    return torch.where(log_rate < -30.0, log_rate, torch.log(-torch.expm1(-rate)))


def combine(log_p: Array) -> Array:
    """Return the log of the p-value of the smallest of several p-values along the first axis (Šidák 1967).

    1 - (1 - p)^m over the m that are not NaN; 0 (p = 1) where all are. Windows of different size share little of
    their noise (1/16 between 128 and 512 Å), so that they count as independent.
    """
    tested = np.isfinite(log_p) | np.isneginf(log_p)
    number = tested.sum(axis=0)
    smallest = np.where(tested, log_p, 0.0).min(axis=0)
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(number * np.log1p(-np.exp(np.minimum(smallest, -1e-12)))))
    result: Array = np.where(smallest < -30.0, smallest + np.log(np.maximum(number, 1)), exact)
    return np.where(number == 0, 0.0, np.minimum(result, 0.0))


def log_bayes_factor(log_p: Array) -> Array:
    """Return the log of the largest Bayes factor compatible with a p-value: -1 / (e p ln p) for p < 1/e, else 1.

    Sellke, Bayarri and Berger 2001, The American Statistician 55:62.
    """
    log_p = np.minimum(log_p, -1.0)
    factor: Array = -1.0 - log_p - np.log(-log_p)
    return factor
