# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the record of a micrograph that failed, and log what a run decides and what fails in it."""

from __future__ import annotations

import dataclasses
import logging

from cryoice_scipion.constants import FAILED, OUTSIDE
from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, PickScore, Reference
from cryoice_scipion.core.screening.state import LATE_FAILED, RunState, digest_of


def failed_record(task: MicrographTask, reason: str, state: RunState) -> MicrographRecord:
    """Return a record in which the coordinates are rejected, unscored.

    A micrograph that was screened before keeps its status and its scores; only the coordinates that came later are
    rejected. If its earlier coordinates have changed, all are: a score is stored by the number of its coordinate.

    Parameters
    ----------
    reason : str
        Why the micrograph failed.
    state : RunState
        Has the record of the same micrograph when it was screened before.
    """
    earlier = state.valid_record(task.id)
    known = {score.id: score for score in earlier.scores} if earlier else {}
    if digest_of([pick for pick in task.picks if pick.id in known]) != state.digests.get(task.id):
        known = {}
    scores = [known.get(pick.id) or PickScore(pick.id, None, FAILED, False) for pick in task.picks]
    if earlier is not None:
        flags = [flag for flag in earlier.flags if flag != LATE_FAILED]
        return dataclasses.replace(earlier, scores=scores, flags=[*flags, LATE_FAILED])
    return MicrographRecord(id=task.id, stem=task.stem, path=task.path, status=FAILED, reason=reason, scores=scores)


def log_problems(log: logging.Logger, task: MicrographTask, record: MicrographRecord) -> None:
    """Log why a micrograph failed, and how many of its coordinates are outside the frame."""
    if record.status == FAILED:
        log.error("failed: %s", record.reason)
    outside = sum(score.cls == OUTSIDE for score in record.scores)
    if outside:
        number = counted(outside, "coordinate is", "coordinates are")
        log.warning("%s: %s outside the frame %s", task.path, number, record.shape)


def log_reference(log: logging.Logger, reference: Reference) -> None:
    """Log what the session reference is, if it was measured."""
    if reference.micrographs:
        offset = f"{reference.logit_offset:.2f} is subtracted from the log-odds of BAD"
        log.info(
            "session reference over %s: particles are %s, %s",
            counted(len(reference.micrographs), "micrograph"),
            reference.contrast,
            offset if reference.logit_offset else "scores need no correction",
        )
