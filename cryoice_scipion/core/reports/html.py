# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a screening: a single HTML page that needs no network. Scripts only sort and filter a table."""

from __future__ import annotations

import functools
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from jinja2 import Environment, FileSystemLoader, Template
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, VERSION
from cryoice_scipion.core.errors import plain, plural
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.reports.charts import charts_of
from cryoice_scipion.core.reports.embedded import pictures_of
from cryoice_scipion.core.reports.grades import grades_of
from cryoice_scipion.core.reports.regions import regions_of
from cryoice_scipion.core.reports.session_map import session_map_of
from cryoice_scipion.core.results.balance import balance_line
from cryoice_scipion.core.results.micrograph_fields import percent
from cryoice_scipion.core.results.run_sums import MicrographValues, RunSums

NAME = "report.html"
TEMPLATE = "report.html.j2"
FAILED_ROWS, UNUSUAL_ROWS = 200, 10
_SCROLL = '<div class="scroll" tabindex="0" role="region" aria-label="Table of the model card">\n'
# Units of the settings.
UNITS = {
    "margin": "Å",
    "pixel_size": "Å/px",
    "particle_diameter": "Å",
    "box_size": "px",
    "min_area": "nm²",
    "coordinates_pixel_size": "Å/px",
}


def write_report(
    folder: Path,
    sums: RunSums,
    settings: Mapping[str, Any],
    card: str = "",
    state: Optional[Summary] = None,
    name: str = "",
) -> Path:
    """Write the report of a run atomically. It reads no coordinates, and only the thumbnails that it shows.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder; the paths of thumbnails are relative to it.
    sums : RunSums
        Totals of the run so far.
    settings : mapping
        Settings of the run.
    card : str
        The model card, in Markdown.
    state : Summary, optional
        Progress and speed of the run. During the run, browsers reload the page every minute.
    name : str
        Name of the run; by default that of its folder.

    Returns
    -------
    pathlib.Path
        The file that was written.
    """
    page = _template().render(
        _contents(Path(folder), sums, settings, card),
        name=name or Path(folder).resolve().name,
        state=state,
        balance=balance_line(state) if state and (state.input_picks or state.files_not_read) else "",
    )
    path = Path(folder) / NAME
    with replacing(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8", errors="replace")  # file names may not be valid text
    return path


@functools.lru_cache(maxsize=1)
def _template() -> Template:
    """Return the template of the report: its translation to Python takes longer than a report."""
    environment = Environment(
        loader=FileSystemLoader(str(Path(__file__).parent)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["plural"] = plural
    return environment.get_template(TEMPLATE)


def _shown(value: Any) -> Any:
    """Return a value as the page shows it: names of files cannot turn the direction of the text around them."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)


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
        "grades": grades_of(sums, settings.get("reject_grades", ())),
        "areas": areas,
        "regions": regions_of(sums),
        "session_map": session_map_of(sums),
        "unusual": [_unusual(one) for one in sums.most_unusual(UNUSUAL_ROWS)],
        "charts": charts_of(sums),
        "galleries": [("worst", "Highest bad area", worst), ("typical", "Typical micrographs", typical)],
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
        (plural(len(sums.micrographs), "micrograph"), len(sums.micrographs)),
        *((name, sums.status[name]) for name in (ACCEPTED, DISCARDED, FAILED)),
        (plural(sums.picks, "coordinate"), sums.picks),
        ("kept", sums.kept),
        ("rejected", sums.picks - sums.kept),
    ]


def _areas(sums: RunSums) -> List[Dict[str, str]]:
    """Return a table row per bad class that was found: mean and largest percentage of the micrograph area."""
    means, worst = sums.areas, sums.worst()
    rows = []
    for name in sorted(worst, key=lambda name: (-means.get(name, 0.0), name)):
        share, stem = worst[name]
        row = {"name": name, "colour": class_colour(name), "stem": stem}
        row.update(mean=f"{100 * means.get(name, 0.0):.1f} %", worst=f"{100 * share:.1f} %")
        rows.append(row)
    return rows


def _unusual(one: MicrographValues) -> Dict[str, str]:
    """Return a table row of a micrograph in the list of the most unusual."""
    p_value = "" if one.outlier_p is None else f"{one.outlier_p:.3f}"
    area = "" if one.bad_area is None else percent(one.bad_area)
    return {"stem": one.stem, "outlier": f"{one.outlier:.1f}", "p_value": p_value, "bad_area": area}


def _setting(name: str, value: Any) -> Tuple[str, str]:
    words = name.replace("_", " ") + (f" ({UNITS[name]})" if name in UNITS else "")
    if isinstance(value, bool):
        return words, "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return words, ", ".join(map(str, value)) or "none"
    return words, "not given" if value in (None, "") else str(value)


def card_parser() -> MarkdownIt:
    """Return the parser of model cards. HTML, links and pictures in a card are plain text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.disable(["link", "autolink", "image", "reference", "emphasis"])  # settings contain literal asterisks
    return markdown


@functools.lru_cache(maxsize=4)
def _rendered(card: str) -> Markup:
    """Return a model card as HTML."""
    markdown = card_parser()
    tokens = []
    for token in markdown.parse(card.strip()):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"  # the model card is a section of the page
        if token.type == "th_open":
            token.attrSet("scope", "col")
        before = [Token("html_block", "", 0, content=_SCROLL)] if token.type == "table_open" else []
        after = [Token("html_block", "", 0, content="</div>\n")] if token.type == "table_close" else []
        tokens += [*before, token, *after]
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - the parser escapes
