# SPDX-License-Identifier: GPL-3.0-or-later
"""README and docs: links lead somewhere, pictures are there, and the commands they show are commands there are."""

import re
import shlex
from pathlib import Path

import pytest

from cryoice_scipion.core.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = sorted(set(re.findall(r"^    (cryoice .*)$", TEXT, re.M)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"<img\s[^>]*?src=[\"']([^\"']+)", text)
    missing = [target for target in targets if "://" not in target and not is_there(page, target)]
    assert not missing


def is_there(page, target):
    """Return whether a file is there, and has the heading after the hash."""
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not anchor or not path.exists():
        return path.exists()
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_typed_as_shown(command):
    words = shlex.split(command, comments=True)[1:]
    assert build_parser(words).parse_args(words).command == words[0]


def test_the_readme_begins_with_the_two_commands():
    commands = re.findall(r"^    (make \w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert commands[:2] == ["make demo", "make test"]
