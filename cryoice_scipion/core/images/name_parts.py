# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a micrograph's name: its folders, and what cryoSPARC adds."""

from __future__ import annotations

import re
from typing import Tuple

from cryoice_scipion.core.images.stems import FRAME, stem_of

_JOB = re.compile(r"J\d+")  # folder of a cryoSPARC job
_UID = re.compile(r"^(?:\d{21}_)*(\d{21})_")  # that cryoSPARC adds to names, at each import; the last one is the first


def folders_of(name: str) -> Tuple[str, ...]:
    """Return the folders before a file name, the nearest first."""
    frame = FRAME.match(name)
    parts = re.split(r"[/\\]", frame.group(2) if frame else name)[:-1]
    return tuple(part for part in reversed(parts) if part not in ("", "."))


def agreeing_folders(name: str, other: str) -> int:
    """Return how many folders before the file name are the same in both names, counted from the file name."""
    number = 0
    for one, two in zip(folders_of(name), folders_of(other)):
        if one != two:
            break
        number += 1
    return number


def is_in_job(name: str) -> bool:
    """Return whether a file is in a folder that cryoSPARC made for a job, such as ``J5/motioncorrected``."""
    return any(map(_JOB.fullmatch, folders_of(name)[:2]))


def without_uid(name: str) -> str:
    """Return the stem of a name without the cryoSPARC uids in front."""
    return _UID.sub("", stem_of(name)) or stem_of(name)


def uid_of(name: str) -> str:
    """Return the cryoSPARC uid in a name; empty if there is none."""
    found = _UID.match(stem_of(name))
    return found.group(1) if found else ""


def same_uid(name: str, other: str) -> int:
    """Return 1 if two names have one cryoSPARC uid, -1 if they have two, 0 if one of them has none."""
    one, two = uid_of(name), uid_of(other)
    if not one or not two:
        return 0
    return 1 if one == two else -1
