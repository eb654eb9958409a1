# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run behaves, as opposed to what it computes: nothing here changes a verdict. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional

from cryoice_scipion.core.records import MicrographTask, PickCounts, Summary
from cryoice_scipion.core.results.run_sums import RunSums

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickSource

#: Writes the report of a run: its folder, sums, settings, the text of the model card, and the summary.
ReportWriter = Callable[[Path, RunSums, Mapping[str, Any], str, Summary], object]


@dataclasses.dataclass
class RunOptions:
    """Options of a :class:`~cryoice_scipion.core.screening.run.ScreeningRun`."""

    resume: bool = False  # whether to continue the run that is in the folder
    retry_failed: bool = False  # whether micrographs that failed in an earlier session are tried again
    #: Seconds for which an unreadable file must stay unchanged before its micrograph is marked as failed: it may still
    #: be being written. With 0 it is marked at once.
    retry_seconds: float = 0.0
    summary_every: int = 1  # micrographs between two updates of summary.json
    on_mapped: Optional[Callable[[MicrographTask], None]] = None  # told of each mapped micrograph, for a progress bar
    picks: Optional[PickSource] = None  # where the columns of the coordinate files come from; None: none are written
    given: Optional[PickCounts] = None  # coordinates of the input, by fate; None: those of the micrographs
    card: str = ""  # text of the model card, for the report
    write_report: Optional[ReportWriter] = None  # None: no report is written
