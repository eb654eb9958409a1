# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep and read what a fine-tuning printed: the AUC before and after."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Dict, Iterator, Sequence

from cryoice_scipion.core.errors import CryoIceError

_FILE = "measures.txt"  # in the folder of the model
_AUC = {"after": r"^validation: auc ([\d.]+)", "before": r"^before tuning: auc ([\d.]+)"}


@contextlib.contextmanager
def kept_if_done(model: Path) -> Iterator[None]:
    """Delete the folder of a model if its training fails or is stopped: a stopped training saves a model too."""
    try:
        yield
    except CryoIceError:
        shutil.rmtree(model, ignore_errors=True)
        raise


def write_measures(model: Path, lines: Sequence[str]) -> None:
    """Write the lines that the training of a model printed."""
    (model / _FILE).write_text("\n".join(lines), encoding="utf-8")


def read_measures(model: Path) -> Dict[str, float]:
    """Return the AUC on the validation micrographs, if it is known."""
    path = model / _FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {name: re.search(line, text, re.MULTILINE) for name, line in _AUC.items()}
    return {name: float(match.group(1)) for name, match in found.items() if match}
