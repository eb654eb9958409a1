# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command imports: libraries are loaded only where they are needed, so that it starts quickly."""

import subprocess
import sys

import pytest
from noise import NUMBER, write_noise

from cryoice_scipion.core.cli import COMMANDS, main
from cryoice_scipion.core.detectors import loading
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.results.run_reader import read_records

LIBRARIES = {"PIL", "gemmi", "jinja2", "mrcfile", "numpy", "pandas", "pydantic", "scipy", "tifffile", "torch", "tqdm"}
FOR_COMPUTING = {"matplotlib", "safetensors", "skimage", "sklearn", "torch"}
RUN = """
import sys
from cryoice_scipion.core.cli import main

for words in {commands!r}:
    try:
        assert main(words) == 0
    except SystemExit as end:  # --help
        assert not end.code
"""
SHOW = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"


def imported_by(code):
    """Return what a new Python process prints when it runs the code, and the packages that it has imported."""
    finished = subprocess.run([sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, set(finished.stderr.splitlines()[-1].split())


def test_the_core_imports_no_library():
    assert not LIBRARIES & imported_by("import cryoice_scipion.core")[1]


def test_help_imports_no_library():
    printed, imported = imported_by(RUN.format(commands=[["--help"]]))
    assert all(name in printed and " ".join(text.split()[:3]) in printed for name, text in COMMANDS.items())
    assert not LIBRARIES & imported


def test_the_help_of_a_command_imports_no_torch():
    printed, imported = imported_by(RUN.format(commands=[[name, "--help"] for name in COMMANDS]))
    assert all(f"usage: cryoice {name}" in printed for name in COMMANDS)
    assert "torch" not in imported


@pytest.fixture
def screened(micrographs, model, tmp_path):
    """Return the words that continue a run in which everything is done."""
    words = ["screen", micrographs, "--output", tmp_path / "run", "--model", model, "--reference", 3]
    words = [str(word) for word in words]
    assert main(words) == 0
    return [*words, "--resume"]


def test_a_resume_with_nothing_to_do_imports_no_torch(screened):
    printed, imported = imported_by(RUN.format(commands=[screened]))
    assert f"{NUMBER} micrographs: {NUMBER} accepted" in printed
    assert not FOR_COMPUTING & imported


def test_a_resumed_run_ends_when_the_model_cannot_be_loaded(screened, micrographs, tmp_path, monkeypatch, capsys):
    """The new micrograph is not recorded as failed, so that a later resume screens it."""

    def fail(folder, device):
        raise ModelError(folder, "does not fit the network", "train it again")

    new = write_noise(tmp_path / "new.mrc", 1)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_detector", fail)
        assert main(["screen", str(new), *screened[1:]]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("cryoice screen: ") and "does not fit the network; train it again" in last
    assert len(read_records(tmp_path / "run")) == NUMBER


def test_a_full_disk_is_one_line_with_the_output_and_the_remedy(monkeypatch, capsys):
    def full(arguments):
        raise OSError(28, "No space left on device")  # as numpy raises it, without a file name

    monkeypatch.setattr("cryoice_scipion.core.cli.patches.main", full)
    assert main(["patches", "--output", "cut"]) == 2
    remedy = "free disk space or choose a folder on another disk"
    assert capsys.readouterr().err == f"cryoice patches: cut: No space left on device; {remedy}\n"
