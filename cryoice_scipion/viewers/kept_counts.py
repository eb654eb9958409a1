# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe in words how many coordinates are kept at a threshold, and how many are rejected at every threshold.

This module does not use Tk.
"""

from __future__ import annotations

import numpy as np

from cryoice_scipion.constants import KEEP_ALL
from cryoice_scipion.core.results.run_reader import Records


def counts_in_words(records: Records, threshold: float, kept: int, picks: int) -> str:
    """Return the numbers of kept coordinates, of all micrographs and of one (given), in three lines."""
    every, left = len(records.ids), records.kept_number(threshold)
    discarded = int((~records.on_accepted).sum())
    unscored = int((records.on_accepted & records.failed).sum())
    low = int((~records.open).sum()) - discarded - unscored
    unscored += 0 if threshold == KEEP_ALL else int(np.isnan(records.goodness[records.open]).sum())
    lines = [f"All micrographs: {left:,} of {every:,} kept{_share(left, every)}"]
    lines.append(f"This micrograph: {kept:,} of {picks:,} kept{_share(kept, picks)}")
    never = [f"{discarded:,} on discarded micrographs"] if discarded else []
    never += [f"{low:,} with a low score of the picker"] if low else []
    never += [f"{unscored:,} without goodness"] if unscored else []
    lines.append(f"Always rejected: {', '.join(never)}" if never else "")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""
