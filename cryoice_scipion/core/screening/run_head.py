# SPDX-License-Identifier: GPL-3.0-or-later
"""The first line of a run's journal: write it, read it, and refuse to continue the run with other settings."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Dict, Optional

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors import model_folder
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.records import RECORDS_VERSION
from cryoice_scipion.core.results.journal import ANEW, DamagedLineError, Journal
from cryoice_scipion.core.results.journal_lines import Head, RunLine

FREE = ("max_thumbnails", "box_files")  # settings that do not affect results and may change on resume
SAME = "use the same settings, or start a new run in another folder"


def head_of(config: ScreenConfig, model: ModelConfig, fingerprint: str) -> Dict[str, Any]:
    """Return the values of the first line of a journal."""
    return {
        "records_version": RECORDS_VERSION,
        "version": VERSION,
        "config": config.model_dump(),
        "model": fingerprint,
        "model_config": model.model_dump(),  # what scoring from stored maps needs, without the model
        "grader": _fingerprint_of_grader(config),
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def read_head(journal: Journal[RunLine]) -> Optional[Head]:
    """Return the first line; None if the journal is empty.

    Raises
    ------
    CryoIceError
        When it is damaged or missing, or of a newer version.
    """
    try:
        first = next(journal.lines(), None)
    except DamagedLineError:
        raise _lost(journal.path, "damaged") from None
    if first is None:
        return None
    head = first[1]
    if not isinstance(head, Head):
        raise _lost(journal.path, "missing")
    if head.records_version > RECORDS_VERSION:
        reason = f"was written by a newer version ({head.version})"
        raise SettingsError(journal.path.parent, reason, "update this package")
    return head


def _lost(path: Path, how: str) -> CryoIceError:
    return CryoIceError(path, f"its first line, which has the settings of the run, is {how}", ANEW)


def _fingerprint_of_grader(config: ScreenConfig) -> str:
    return model_folder.fingerprint(model_folder.resolve_model(config.grader)) if config.grader else ""


def compare(folder: Path, head: Head, config: ScreenConfig, fingerprint: str) -> None:
    """Refuse to continue a run with other settings.

    Raises
    ------
    SettingsError
        Names the settings that differ.
    """
    # A run of a version without a setting continues with its default.
    models = {"model": head.model, "grader": head.grader}
    then: Dict[str, Any] = {**ScreenConfig().model_dump(), **head.config, **models}
    now: Dict[str, Any] = {**config.model_dump(), "model": fingerprint, "grader": _fingerprint_of_grader(config)}
    binding = [name for name in now if name not in FREE]
    differing = [f"{name} was {then.get(name)}, is {now[name]}" for name in binding if then.get(name) != now[name]]
    if differing:
        raise SettingsError(folder, f"cannot be continued with other settings ({'; '.join(differing)})", SAME)
