# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a screening: one self-contained page, without scripts, that needs no network."""

from __future__ import annotations

import base64
import io
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.reports.palette import class_colour
from cryoice_scipion.core.reports.plots import counted_figure
from cryoice_scipion.core.reports.sums import GoodnessHistogram, RunSums, Seen

NAME = "report.html"
TEMPLATE = "report.html.j2"
PICTURES = 6  # of each kind
PICTURE_SIDE = 480  # px, longest side of an embedded thumbnail
LOOKED_AT = 5 * PICTURES  # thumbnails of each kind at most, should many be gone
FAILED_ROWS = 200

Picture = Dict[str, str]  # stem, words, source


def write_report(
    folder: Path, sums: RunSums, settings: Mapping[str, Any], card: str = "", state: Optional[Summary] = None
) -> Path:
    """Write the report of a run, atomically. Reads no coordinates, and only the thumbnails that are shown.

    Parameters
    ----------
    folder : pathlib.Path
        The run's folder; the thumbnails' paths are relative to it.
    sums : RunSums
        Over the run, as far as it has come.
    settings : mapping
        What the run was done with.
    card : str
        The text of the model's card.
    state : Summary, optional
        Whether the run goes on, and how fast. While it does, the page asks browsers to load it again each minute.

    Returns
    -------
    pathlib.Path
        The file that was written.
    """
    environment = Environment(
        loader=FileSystemLoader(str(Path(__file__).parent)), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(TEMPLATE).render(_contents(Path(folder), sums, settings, card), state=state)
    path = Path(folder) / NAME
    with replacing(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")
    return path


def _contents(folder: Path, sums: RunSums, settings: Mapping[str, Any], card: str) -> Dict[str, Any]:
    failed = sums.failed
    worst, typical = _pictures(folder, sums)
    return {
        "version": f"cryoice {VERSION}",
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "totals": _totals(sums),
        "mapped": sums.mapped,
        "areas": _areas(sums),
        "histogram": _histogram(sums.goodness),
        "galleries": [("Most bad area", worst), ("Typical", typical)],
        "failed": failed[:FAILED_ROWS],
        "failed_more": max(0, len(failed) - FAILED_ROWS),
        "flags": sorted(sums.flags.items()),
        "settings": [(name, "" if value is None else value) for name, value in settings.items()],
        "card": card.strip(),
    }


def _totals(sums: RunSums) -> List[Tuple[str, int]]:
    return [
        ("micrographs", len(sums.micrographs)),
        *((name, sums.status[name]) for name in (ACCEPTED, DISCARDED, FAILED)),
        ("coordinates", sums.picks),
        ("kept", sums.kept),
        ("rejected", sums.picks - sums.kept),
    ]


def _areas(sums: RunSums) -> List[Dict[str, str]]:
    """Return a row for each bad class that was found: mean and worst share of a micrograph's area."""
    means, worst = sums.areas, sums.worst()
    rows = []
    for name in sorted(worst, key=lambda name: (-means.get(name, 0.0), name)):
        share, stem = worst[name]
        row = {"name": name, "colour": class_colour(name), "stem": stem}
        row.update(mean=_percent(means.get(name, 0.0)), worst=_percent(share))
        rows.append(row)
    return rows


def _pictures(folder: Path, sums: RunSums) -> Tuple[List[Picture], List[Picture]]:
    """Return the micrographs with the most bad area, and those around the median, none of them twice."""
    every = [one for one in sums.micrographs.values() if one.bad_area is not None and one.thumbnail]
    every.sort(key=lambda one: (-(one.bad_area or 0.0), one.id))
    taken, worst = _first(folder, every)
    rest = every[taken:]
    middle = max(0, (len(rest) - PICTURES) // 2)
    _, typical = _first(folder, rest[middle:] + rest[:middle][::-1])
    return worst, typical


def _first(folder: Path, candidates: Sequence[Seen]) -> Tuple[int, List[Picture]]:
    """Return the pictures of the first micrographs that have a sound one, and how many were looked at for them."""
    found: List[Picture] = []
    looked = 0
    for one in candidates[:LOOKED_AT]:
        if len(found) == PICTURES:
            break
        looked += 1
        picture = _picture(folder, one)
        if picture:
            found.append(picture)
    return looked, found


def _picture(folder: Path, one: Seen) -> Optional[Picture]:
    """Return a thumbnail, small; None when it is gone or damaged, which is no reason to stop."""
    try:
        with Image.open(folder / one.thumbnail) as opened:
            small = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # Pillow raises all of them for damaged files
        return None
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    words = f"{one.status}, bad area {_percent(one.bad_area or 0.0)}"
    if one.picks:
        words += f", {one.kept} of {one.picks} kept"
    return {"stem": one.stem, "words": words, "source": _data_uri(buffer, "jpeg")}


def _histogram(counts: GoodnessHistogram) -> str:
    """Return the histogram as a data URI, or nothing when there are no coordinates."""
    if not counts.scored + counts.unscored:
        return ""
    buffer = io.BytesIO()
    counted_figure(counts).savefig(buffer, format="png", dpi=100)
    return _data_uri(buffer, "png")


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
