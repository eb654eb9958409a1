# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the log file that RELION shows for a job: a PDF with histograms and thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.image import imread

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.palette import KEPT, NEUTRAL, REJECTED
from cryoice_scipion.core.records import MicrographRecord

_PAGE = (8.27, 11.69)  # inches: A4
_SHOWN = 6  # thumbnails: those of the micrographs with the most bad area
_BINS = [number / 20 for number in range(21)]


def write_logfile(folder: Path, records: Sequence[MicrographRecord], out: Path) -> None:
    """Write one page of histograms, and one of thumbnails if there are any.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the run.
    records : sequence of MicrographRecord
        The results.
    out : pathlib.Path
        The PDF file to write.
    """
    with replacing(out) as temporary, PdfPages(temporary) as pages:  # type: ignore[no-untyped-call]
        pages.savefig(_histograms(records))
        shown = [record for record in records if record.thumbnail and (folder / record.thumbnail).exists()]
        if shown:
            worst = sorted(shown, key=lambda record: -(record.bad_area or 0.0))[:_SHOWN]
            pages.savefig(_thumbnails(folder, worst))


def _histograms(records: Sequence[MicrographRecord]) -> Figure:
    figure = Figure(figsize=_PAGE, layout="constrained")
    areas, kept, rejected = (figure.add_subplot(3, 1, number) for number in (1, 2, 3))
    status = {name: sum(record.status == name for record in records) for name in ("accepted", "discarded", "failed")}
    figure.suptitle("cryoice: " + ", ".join(f"{number} {name}" for name, number in status.items()))
    scores = [score for record in records for score in record.scores]
    _histogram(areas, [record.bad_area for record in records if record.bad_area is not None], NEUTRAL)
    areas.set(title="Bad area", xlabel="bad area as a fraction of the micrograph", ylabel="micrographs")
    for axes, is_kept, color in ((kept, True, KEPT), (rejected, False, REJECTED)):
        chosen = [score for score in scores if score.kept == is_kept]
        _histogram(axes, [score.goodness for score in chosen if score.goodness is not None], color)
        word = "Kept" if is_kept else "Rejected"
        axes.set(title=f"{word} coordinates: {len(chosen)}", xlabel="goodness", ylabel="coordinates")
    return figure


def _histogram(axes: Axes, values: List[float], color: str) -> None:
    axes.hist(values, bins=_BINS, color=color)
    axes.set_xlim(0, 1)


def _thumbnails(folder: Path, records: Sequence[MicrographRecord]) -> Figure:
    figure = Figure(figsize=_PAGE, layout="constrained")
    figure.suptitle("Micrographs with the most bad area. Kept coordinates are circles, rejected ones are crosses.")
    for number, record in enumerate(records, 1):
        axes = figure.add_subplot(_SHOWN // 2, 2, number)
        axes.set_axis_off()
        axes.imshow(imread(folder / record.thumbnail))
    return figure
