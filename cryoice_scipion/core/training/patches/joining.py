# SPDX-License-Identifier: GPL-3.0-or-later
"""Join patch sets."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import pandas as pd

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.patches.patch_set import KINDS, PatchSet
from cryoice_scipion.core.training.splits import with_unique_names


def join(sets: Sequence[PatchSet]) -> PatchSet:
    """Return the patches of several sets of one sampling as one set.

    Micrographs of one name are one micrograph if their files have the same content. If not, or if that is not known,
    ``_2`` is appended to the name of the second one, and so on.

    Raises
    ------
    SettingsError
        When the sets have different samplings.
    """
    samplings = {item.sampling for item in sets}
    if len(samplings) != 1:
        shown = ", ".join(f"{sampling:g}" for sampling in sorted(samplings))
        raise SettingsError("patch sets", f"have different samplings ({shown} Å/px)", "cut them anew")
    tables = with_unique_names([item.table for item in sets], [item.contents for item in sets])
    real = np.concatenate([item.real for item in sets])
    messages = [message for item in sets for message in item.messages]
    common = [kind for kind in KINDS if all(kind in item.further for item in sets)]
    further = {kind: np.concatenate([item.further[kind] for item in sets]) for kind in common}
    return PatchSet(real, pd.concat(tables, ignore_index=True), samplings.pop(), messages, further)
