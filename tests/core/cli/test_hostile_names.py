# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files and values in them that would steer a terminal, forge a line of a log, or put markup on a page."""

import re

import pytest

from cryoice_scipion.core.cli import main

pytest.importorskip("torch")
#: Red letters, a line that looks like one of ours, letters from right to left, and a script.
HOSTILE = "a\x1b[31m\nERROR: forged\u202egpj<script>alert(1)<"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def screened(model, micrographs, tmp_path_factory):
    """Screen a sound and a damaged micrograph of hostile names with coordinate files of such; return the folder."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "mics").mkdir()
    (folder / "mics" / f"{HOSTILE}.mrc").write_bytes((micrographs / "mic0.mrc").read_bytes())
    (folder / "mics" / f"{HOSTILE}2.mrc").write_bytes(b"damaged")
    (folder / "mics" / f"{HOSTILE}dead.mrc").symlink_to(folder / "nowhere")
    (folder / "boxes").mkdir()
    (folder / "mics" / "plain.mrc").write_bytes((micrographs / "mic1.mrc").read_bytes())
    (folder / "boxes" / "plain.box").write_text("50 50 20 20\n")
    (folder / "boxes" / f"{HOSTILE}.box").write_text("50 50 20 20\n")
    (folder / "boxes" / f"{HOSTILE}2.box").write_text("50 fifty 20 20\n")
    (folder / "boxes" / f"{HOSTILE}3.box").write_text("50 50 20 20\n")
    return folder


def test_nothing_printed_steers_the_terminal(screened, model, capsys):
    words = [
        "screen",
        screened / "mics",
        "--coordinates",
        screened / "boxes",
        "--output",
        screened / "run",
        "--model",
        model,
    ]
    assert main([*map(str, words), "--device", "cpu", "--reference", "0", "--particle-diameter", "40"]) == 1
    printed = "".join(capsys.readouterr())
    assert "forged" in printed and not STEERING.findall(printed)
    assert not [line for line in printed.splitlines() if line.startswith("ERROR: forged")]
    report = (screened / "run" / "report.html").read_text(encoding="utf-8")
    assert "forged" in report and "<script>alert" not in report and not STEERING.findall(report)


@pytest.mark.parametrize("words", [["filter", "--coordinates"], ["screen", "mics", "--coordinates"], ["info"]])
def test_a_hostile_argument_is_named_in_one_plain_line(words, tmp_path, capsys):
    command, *options = words
    given = [command, *(["nowhere"] if command == "filter" else []), *options, str(tmp_path / HOSTILE)]
    given += ["--output", str(tmp_path / "out")] if command != "info" else []
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not STEERING.findall(said)
