# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a screening: one self-contained page, without scripts, that needs no network."""

from __future__ import annotations

import base64
import io
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, GOOD, VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import Judgement
from cryoice_scipion.core.reports.palette import class_colour
from cryoice_scipion.core.reports.plots import histogram_figure

NAME = "report.html"
TEMPLATE = "report.html.j2"
PICTURES = 6  # of each kind
PICTURE_SIDE = 480  # px, longest side of an embedded thumbnail
FAILED_ROWS = 200


def write_report(folder: Path, judgements: Iterable[Judgement], settings: Mapping[str, Any], card: str = "") -> Path:
    """Write the report of a run, atomically.

    Parameters
    ----------
    folder : pathlib.Path
        The run's folder; the thumbnails' paths are relative to it.
    judgements : iterable of Judgement
        One a micrograph, as far as the run has come.
    settings : mapping
        What the run was done with; ``threshold`` is drawn into the histogram.
    card : str
        The text of the model's card.

    Returns
    -------
    pathlib.Path
        The file that was written.
    """
    every = list(judgements)
    environment = Environment(
        loader=FileSystemLoader(str(Path(__file__).parent)), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(TEMPLATE).render(_contents(Path(folder), every, settings, card))
    path = Path(folder) / NAME
    with replacing(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")
    return path


def _contents(folder: Path, every: List[Judgement], settings: Mapping[str, Any], card: str) -> Dict[str, Any]:
    failed = [judgement for judgement in every if judgement.status == FAILED]
    worst, typical = _choose(folder, every)
    return {
        "version": f"cryoice {VERSION}",
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "totals": _totals(every),
        "mapped": len(every) - len(failed),
        "areas": _areas([judgement for judgement in every if judgement.status != FAILED]),
        "histogram": _histogram(every, settings.get("threshold")),
        "galleries": [
            ("Most bad area", [_picture(folder, judgement) for judgement in worst]),
            ("Typical", [_picture(folder, judgement) for judgement in typical]),
        ],
        "failed": failed[:FAILED_ROWS],
        "failed_more": max(0, len(failed) - FAILED_ROWS),
        "flags": sorted(Counter(flag.split("=")[0] for judgement in every for flag in judgement.flags).items()),
        "settings": [(name, "" if value is None else value) for name, value in settings.items()],
        "card": card.strip(),
    }


def _totals(every: Sequence[Judgement]) -> List[Tuple[str, int]]:
    status = Counter(judgement.status for judgement in every)
    picks = sum(len(judgement.scores) for judgement in every)
    kept = sum(judgement.kept for judgement in every)
    return [
        ("micrographs", len(every)),
        *((name, status[name]) for name in (ACCEPTED, DISCARDED, FAILED)),
        ("coordinates", picks),
        ("kept", kept),
        ("rejected", picks - kept),
    ]


def _areas(mapped: Sequence[Judgement]) -> List[Dict[str, str]]:
    """Return a row for each bad class that was found: mean and worst share of a micrograph's area."""
    names = {name for judgement in mapped for name, share in judgement.areas.items() if share > 0 and name != GOOD}
    rows = []
    for name in names:
        shares = [judgement.areas.get(name, 0.0) for judgement in mapped]
        worst = max(range(len(shares)), key=shares.__getitem__)
        row = {"name": name, "colour": class_colour(name), "stem": mapped[worst].stem}
        row.update(mean=_percent(sum(shares) / len(shares)), worst=_percent(shares[worst]))
        rows.append((sum(shares), row))
    return [row for _, row in sorted(rows, key=lambda pair: (-pair[0], pair[1]["name"]))]


def _choose(folder: Path, every: Sequence[Judgement]) -> Tuple[List[Judgement], List[Judgement]]:
    """Return the micrographs with the most bad area, and those around the median, none of them twice."""
    shown = [j for j in every if j.bad_area is not None and j.thumbnail and (folder / j.thumbnail).is_file()]
    shown.sort(key=lambda judgement: -(judgement.bad_area or 0.0))
    rest = shown[PICTURES:]
    middle = max(0, (len(rest) - PICTURES) // 2)
    return shown[:PICTURES], rest[middle : middle + PICTURES]


def _picture(folder: Path, judgement: Judgement) -> Dict[str, str]:
    with Image.open(folder / judgement.thumbnail) as opened:
        small = opened.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    words = f"{judgement.status}, bad area {_percent(judgement.bad_area or 0.0)}"
    if judgement.scores:
        words += f", {judgement.kept} of {len(judgement.scores)} kept"
    return {"stem": judgement.stem, "words": words, "source": _data_uri(buffer, "jpeg")}


def _histogram(every: Sequence[Judgement], threshold: Optional[float]) -> str:
    """Return the histogram as a data URI, or nothing when there are no coordinates."""
    values = [score.goodness for judgement in every for score in judgement.scores]
    if not values:
        return ""
    buffer = io.BytesIO()
    histogram_figure(values, threshold).savefig(buffer, format="png", dpi=100)
    return _data_uri(buffer, "png")


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
