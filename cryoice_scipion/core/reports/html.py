# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a screening: one self-contained page that needs no network, and no scripts to be read."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.reports.charts import charts_of
from cryoice_scipion.core.reports.embedded import pictures_of
from cryoice_scipion.core.results.balance import balance_line
from cryoice_scipion.core.results.run_sums import RunSums

NAME = "report.html"
TEMPLATE = "report.html.j2"
FAILED_ROWS = 200
_SCROLL = '<div class="scroll" tabindex="0" role="region" aria-label="A table of the card">\n'
# Of settings.
UNITS = {"margin": "Å", "pixel_size": "Å/px", "particle_diameter": "Å", "box_size": "px", "min_area": "nm²"}


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
        The text of the model's card, in Markdown.
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
    page = environment.get_template(TEMPLATE).render(
        _contents(Path(folder), sums, settings, card),
        state=state,
        balance=balance_line(state) if state and (state.input_picks or state.files_not_read) else "",
    )
    path = Path(folder) / NAME
    with replacing(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8", errors="replace")  # names may hold bytes that are no text
    return path


def _contents(folder: Path, sums: RunSums, settings: Mapping[str, Any], card: str) -> Dict[str, Any]:
    failed = sums.failed
    worst, typical = pictures_of(folder, sums)
    now = datetime.now().astimezone()
    areas = _areas(sums)
    return {
        "version": f"cryoice {VERSION}",
        "written": now.strftime("%Y-%m-%d %H:%M %Z"),
        "moment": now.isoformat(timespec="seconds"),
        "totals": _totals(sums),
        "mapped": sums.mapped,
        "areas": areas,
        "charts": charts_of(sums),
        "galleries": [("worst", "Most bad area", worst), ("typical", "Typical", typical)],
        "classes": [(row["name"], row["colour"]) for row in areas],
        "marks": {"kept": KEPT, "rejected": REJECTED} if sums.picks else {},
        "failed": failed[:FAILED_ROWS],
        "failed_more": max(0, len(failed) - FAILED_ROWS),
        "flags": sorted(sums.flags.items()),
        "settings": [_setting(name, value) for name, value in settings.items()],
        "card": _rendered(card),
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
        row.update(mean=f"{100 * means.get(name, 0.0):.1f} %", worst=f"{100 * share:.1f} %")
        rows.append(row)
    return rows


def _setting(name: str, value: Any) -> Tuple[str, str]:
    words = name.replace("_", " ") + (f" ({UNITS[name]})" if name in UNITS else "")
    if isinstance(value, bool):
        return words, "yes" if value else "no"
    return words, "not given" if value in (None, "") else str(value)


def _rendered(card: str) -> Markup:
    """Return a card as HTML. What is HTML in it is shown, not done; links and pictures are left as they are written."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.disable(["link", "autolink", "image", "reference", "emphasis"])  # stars stand for themselves in settings
    tokens = []
    for token in markdown.parse(card.strip()):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"  # the card is a section of the page
        if token.type == "th_open":
            token.attrSet("scope", "col")
        before = [Token("html_block", "", 0, content=_SCROLL)] if token.type == "table_open" else []
        after = [Token("html_block", "", 0, content="</div>\n")] if token.type == "table_close" else []
        tokens += [*before, token, *after]
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))
