# SPDX-License-Identifier: GPL-3.0-or-later
"""README and docs: links lead somewhere, and pictures are there."""

import functools
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
from site_builder import markdown, pages  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))


@functools.lru_cache(maxsize=None)
def text_of(page):
    """Return a page with the parts that are generated."""
    text = page.read_text(encoding="utf-8")
    if "<!-- generated: protocol-" in text:
        pytest.importorskip("pwem", reason="the forms of the protocols need Scipion")
    return pages.expanded(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = text_of(page)
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"<img\s[^>]*?src=[\"']([^\"']+)", text)
    missing = [target for target in targets if "://" not in target and not is_there(page, target)]
    assert not missing


def is_there(page, target):
    """Return whether a file is there, and has the heading after the hash."""
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not anchor or not path.exists():
        return path.exists()
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.M)
    return anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_defence_names_a_test_that_exists():
    rows = [line for line in (DOCS / "explanation" / "security.md").read_text("utf-8").splitlines() if "tests/" in line]
    named = [re.search(r"`(tests/\S+)::(test_\w+)`", row).groups() for row in rows]
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert len(named) > 10 and not missing


@pytest.mark.parametrize("name", sorted(pages.GENERATED))
def test_each_generated_part_is_on_one_page(name):
    mark = f"<!-- generated: {name} -->"
    assert sum(page.read_text(encoding="utf-8").count(mark) for page in PAGES) == 1


def test_every_option_and_parameter_is_in_the_reference():
    commands, protocols = (text_of(DOCS / "reference" / f"{name}.md") for name in ("command-line", "protocols"))
    for option in ("--summary-every N", "--clean-share F", "--crops", "--timeout S"):
        assert f"<code>{option}" in commands
    for parameter in ("particleDiameter", "classMargins", "startFrom", "coordinatesPath", "cleanShare"):
        assert f"<code>{parameter}</code>" in protocols


def test_a_name_without_description_is_an_error():
    with pytest.raises(KeyError, match=r"describe \['new'\], remove \['old'\]"):
        markdown.described(["new"], {"old": "gone"}, "columns")


@pytest.mark.parametrize(
    "source, text, expected",
    [
        ("docs/a/b.md", "[log](../../CHANGELOG.md#x)", "[log](../changelog.md#x)"),
        ("CONTRIBUTING.md", "[m](docs/explanation/method.md)", "[m](explanation/method.md)"),
        ("docs/a/b.md", "[nb](../tutorials/notebook.ipynb)", "[nb](../tutorials/notebook.md)"),
        ("docs/a/b.md", "by [the script](../../benchmarks/x.py)", "by the script"),
        ("docs/b.md", "[table](../benchmarks/results/verdicts.md#picks)", "[table](results/verdicts.md#picks)"),
        ("benchmarks/results/x.md", "[page](../../docs/explanation/method.md)", "[page](../explanation/method.md)"),
        ("docs/a/b.md", "[web](https://scipion.i2pc.es) [here](#top)", "[web](https://scipion.i2pc.es) [here](#top)"),
    ],
)
def test_links_are_rewritten_for_the_site(source, text, expected):
    assert pages.with_site_links(text, ROOT / source) == expected


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert any(cell["cell_type"] == "code" for cell in cells)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
