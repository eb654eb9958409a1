# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a run that do not affect its results. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence

from cryoice_scipion.core.records import MicrographTask, PickCounts, Summary
from cryoice_scipion.core.results.run_sums import RunSums

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickSource

#: Function that writes the report of a run. Arguments: folder, sums, settings, text of the model card, summary.
ReportWriter = Callable[[Path, RunSums, Mapping[str, Any], str, Summary], object]


@dataclasses.dataclass
class RunOptions:
    """Options of a :class:`~cryoice_scipion.core.screening.run.ScreeningRun`."""

    resume: bool = False  # continue the run in the folder
    retry_failed: bool = False  # try micrographs again that failed in an earlier session
    retry_quarantined: bool = False  # also those that ended the process that computed them; see ``Quarantine``
    #: Seconds for which an unreadable file must stay unchanged before its micrograph is marked as failed: it may still
    #: be being written. With 0 it is marked at once.
    retry_seconds: float = 0.0
    summary_every: int = 1  # micrographs between two updates of summary.json
    archive: bool = False  # pack the maps, masks and pictures of each thousand screened micrographs into one file
    on_mapped: Optional[Callable[[MicrographTask], None]] = None  # called for each mapped micrograph: progress bar
    picks: Optional[PickSource] = None  # source of the columns of the coordinate files; None: no such files
    given: Optional[PickCounts] = None  # counts of the input coordinates; None: those of the micrographs
    exposures: Sequence[Path] = ()  # cryoSPARC's files that list the micrographs
    micrograph_lists: Sequence[Path] = ()  # the .star files that name the micrographs; their columns are passed on
    card: str = ""  # text of the model card, for the report
    write_report: Optional[ReportWriter] = None  # None: no report is written
