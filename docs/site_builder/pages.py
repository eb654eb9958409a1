# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages: ``<!-- generated: NAME -->`` in a page stands for a part that is generated from the code."""

from __future__ import annotations

import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Optional

from cryoice_scipion.core.cli import COMMANDS
from site_builder import commands, formats, notebook, outputs, protocols, settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
#: Pages outside of docs, and their path in the site. The pages of benchmarks/results go into the folder results.
OUTSIDE = {ROOT / "CHANGELOG.md": Path("changelog.md"), ROOT / "CONTRIBUTING.md": Path("contributing.md")}
GENERATED: Dict[str, Callable[[], str]] = {
    **{f"command-{name}": partial(commands.command, name) for name in COMMANDS},
    **{f"protocol-{name}": partial(protocols.protocol, name) for name in protocols.names()},
    "micrograph-columns": outputs.micrograph_columns,
    "micrograph-attributes": outputs.micrograph_attributes,
    "summary-fields": outputs.summary_fields,
    "classes": outputs.classes,
    "left-out": outputs.left_out,
    "screen-settings": settings.screen_settings,
    "model-files": settings.model_files,
    "model-fields": settings.model_fields,
    "view-fields": settings.view_fields,
    "detector-kinds": settings.detector_kinds,
    "coordinate-formats": formats.coordinate_formats,
}
_MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.M)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_COPIED = (".md", ".png", ".jpg", ".svg", ".css", ".js", ".ipynb")


def build(target: Path, with_notebook: bool = True) -> None:
    """Write all pages into a folder, which is emptied before."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(path for path in DOCS.rglob("*") if path.suffix in _COPIED):
        _write(path, target / path.relative_to(DOCS))
    for path in [*OUTSIDE, *sorted(RESULTS.glob("*.md"))]:
        _write(path, target / str(path_in_site(path)))
    for path in sorted(DOCS.rglob("*.ipynb")):
        page = (target / path.relative_to(DOCS)).with_suffix(".md")
        if with_notebook:
            notebook.write_page(notebook.execute(path), page, path.name)


def _write(source: Path, page: Path) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".md":
        page.write_text(with_site_links(expanded(source.read_text(encoding="utf-8")), source), encoding="utf-8")
    else:
        shutil.copyfile(source, page)


def expanded(text: str) -> str:
    """Return a page's text with its generated parts.

    Raises
    ------
    KeyError
        When there is no such part.
    """
    return _MARK.sub(lambda mark: GENERATED[mark.group(1)](), text)


def path_in_site(path: Path) -> Optional[Path]:
    """Return where a file of the repository is in the site; None if it is not there."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    if path.parent == RESULTS and path.suffix == ".md":
        return Path("results", path.name)
    if DOCS not in path.parents or path.suffix not in _COPIED:
        return None
    page = path.relative_to(DOCS)
    return page.with_suffix(".md") if path.suffix == ".ipynb" else page


def with_site_links(text: str, source: Path) -> str:
    """Return a page's text with links as the site needs them.

    A notebook becomes its page. Of links to files that are not in the site, only the words stay.
    """
    where = path_in_site(source)
    assert where is not None

    def link(match: re.Match) -> str:  # type: ignore[type-arg]
        words, name, anchor = match.group(1), match.group(2), match.group(3) or ""
        page = path_in_site(Path(os.path.normpath(source.parent / name)))
        if page is None:
            return words
        return f"[{words}]({os.path.relpath(page, where.parent)}{anchor})".replace(os.sep, "/")

    return _LINK.sub(link, text)
