# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command prints letters such as Å on a terminal, or into a file, of any encoding."""

import io
import sys

import pytest

from cryoice_scipion.core.cli import COMMANDS, main


@pytest.fixture(params=["ascii", "cp1252", "utf-8"])
def printed(request, monkeypatch):
    """Return a function that runs a command, and returns its output as a stream of this encoding has it."""

    def run(words):
        data = io.BytesIO()
        stream = io.TextIOWrapper(data, encoding=request.param, errors="strict")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            try:
                assert main(words) == 0
            except SystemExit as end:
                assert end.code == 0
            stream.flush()
        return data.getvalue().decode(request.param)

    return run


def test_help_and_output_are_printed(printed):
    texts = {command: printed([command, "--help"]) for command in COMMANDS}
    assert all(f"usage: cryoice {command}" in text for command, text in texts.items())
    assert any(letter in texts["screen"] for letter in ("Å", r"\xc5"))
    assert "SHA-256 checksums verified" in printed(["info"])
