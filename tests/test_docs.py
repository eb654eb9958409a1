# SPDX-License-Identifier: GPL-3.0-or-later
"""README and docs: links lead somewhere, pictures are there, and the commands they show are commands there are."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cryoice_scipion.core.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
from site_builder import markdown, pages  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
TUTORIAL = DOCS / "tutorials" / "shell.md"


def code_lines(text):
    """Return the lines of indented and fenced code; a line that ends in a backslash goes on in the next one."""
    lines, fence = [], None
    for line in text.replace("\\\n", " ").split("\n"):
        start = re.match(r"\s*```(\w*)", line)
        if start:
            fence = start.group(1) if fence is None else None
        elif fence in ("", "bash", "sh") or (fence is None and line.startswith("    ")):
            lines.append(line.strip())
    return lines


COMMANDS = sorted(
    {line for page in PAGES for line in code_lines(page.read_text("utf-8")) if line.startswith("cryoice ")}
)


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


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_typed_as_shown(command):
    words = shlex.split(command, comments=True)[1:]
    assert build_parser(words).parse_args(words).command == words[0]


def test_each_defence_names_a_test_that_exists():
    rows = [line for line in (DOCS / "explanation" / "security.md").read_text("utf-8").splitlines() if "tests/" in line]
    named = [re.search(r"`(tests/\S+)::(test_\w+)`", row).groups() for row in rows]
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert len(named) > 10 and not missing


def test_the_readme_shows_the_two_commands_first():
    lines = code_lines((ROOT / "README.md").read_text(encoding="utf-8"))
    commands = [" ".join(line.split()[:2]) for line in lines if line.startswith("make ")]
    assert commands[:2] == ["make demo", "make test"]


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


@pytest.mark.slow
def test_the_shell_tutorial_runs_as_written(tmp_path):
    command = tmp_path / "bin" / "cryoice"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cryoice_scipion.core "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    found = os.environ["PATH"], os.environ.get("PYTHONPATH", "")
    environment = dict(os.environ, PATH=f"{command.parent}:{found[0]}", PYTHONPATH=f"{ROOT}:{found[1]}")
    said = []
    for line in code_lines(TUTORIAL.read_text(encoding="utf-8")):
        done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said.append(done.stdout)
    text = TUTORIAL.read_text(encoding="utf-8")
    loose, strict = (next(kept_in(one) for one in said[start:] if "kept," in one) for start in (1, 5))
    assert loose > strict
    total = int(re.search(r"of the (\d+) coordinates", text).group(1))
    assert f"{total} coordinates in 1 file" in said[1]
    columns = next(one for one in said if one.startswith("stem")).splitlines()[0]
    assert columns == "stem,status,bad_area,picks,kept,rejected"  # as the tutorial explains them


def kept_in(output):
    """Return the kept coordinates of a closing line."""
    return int(re.search(r"(\d+) kept,", output).group(1))
