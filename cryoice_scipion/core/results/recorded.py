# SPDX-License-Identifier: GPL-3.0-or-later
"""Look into the folder of a run without touching it, also while it runs: for protocols and viewers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List, Optional

from cryoice_scipion.core.records import MicrographRecord, Summary, from_json
from cryoice_scipion.core.results.run_folder import JOURNAL, SUMMARY


def read_judgements(folder: Path) -> List[MicrographRecord]:
    """Return what the journal says of each micrograph last, by id; nothing when there is no journal yet.

    A last line that is still being written, or that a crash tore, is left out.
    """
    found: Dict[int, MicrographRecord] = {}
    path = Path(folder) / JOURNAL
    if not path.is_file():
        return []
    with open(path, "rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            value = json.loads(line)
            if value["kind"] == "judged":
                judgement = from_json(MicrographRecord, value["judgement"])
                found[judgement.id] = judgement
            elif value["kind"] == "thinned":
                for key in value["ids"]:
                    found[key].thumbnail = ""
    return [found[key] for key in sorted(found)]


def read_summary(folder: Path) -> Optional[Summary]:
    """Return the state of a run as summary.json has it; None when there is none yet."""
    try:
        return from_json(Summary, json.loads((Path(folder) / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
