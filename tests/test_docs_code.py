# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of code of README and docs: each is run here or in another test, or there is a reason why no test runs it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from noise import SHAPE

from cryoice_scipion.core.cli import build_parser, main
from cryoice_scipion.core.regions.labels import read_labels

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
TUTORIAL = DOCS / "tutorials" / "shell.md"
#: A part of a block, and the test file that runs the like, or the reason why none does. The first part counts.
RUN_BY = {
    "cryoice simulate --output simulated --number 4": "tests/test_docs_code.py",
    "simulated/micrographs": "tests/test_docs_code.py",
    "ls screened": "tests/test_docs_code.py",
    "cut -d,": "tests/test_docs_code.py",
    "head -12": "tests/test_docs_code.py",
    "result.save": "tests/test_docs_code.py",
    '"good": true': "tests/test_docs_code.py",
    "patches.jitter_copies": "tests/test_docs_code.py",
    "columns, drop": "tests/test_docs_code.py",
    "#SBATCH": "tests/slurm/test_slurm.py",
    "jobqueue:": "tests/slurm/test_slurm.py",
    "slurm:16": "tests/slurm/test_slurm.py",
    "CRYOICE_SCHEDULER": "tests/core/workers/test_cluster.py",
    "relion_scheduler": "tests/core/integrations/test_relion_job.py",
    "relion_schemer": "no package has RELION 4 or 5; test_relion_job.py checks the names in the Scheme",
    "exec cryoice relion": "tests/core/integrations/test_pipeliner_job.py",
    "pipeliner --": "tests/core/integrations/test_pipeliner_job.py",
    "cryosparc.tools login": "it asks for the password of a cryoSPARC server",
    "Dataset.load": "it needs a file of cryoSPARC 4.1 to 4.3",
    "csg": "tests/core/cli/test_cryosparc_files.py",
    "scipion3 template": "tests/scipion/test_template.py",
    "scipion3 installb": "tests/test_installed.py",
    "pip install .\n": "tests/test_installed.py",
    "pip install": "it needs the package index",
    "make demo": "tests/scipion/test_demo.py",
    "make ": "it runs the tests",
    "tensorboard": "tests/core/training/test_dashboard.py",
    "ssh": "it needs another computer",
    "kinds.register": "tests/core/detectors/test_kinds.py",
    "CryoIceProtScreen": "tests/scipion/test_forms.py",
    "CRYOICE_PYTHON": "tests/scipion/test_plugin.py",
    "cryoice cryosparc": "tests/core/integrations/test_cryosparc_job.py",
    "cryoice evaluate": "tests/core/evaluation/test_labelled_sets.py",
    "unzip": "tests/core/screening/test_archiving.py",
    "cryoice filter": "tests/core/cli/test_filter.py",
    "cryoice info": "tests/core/cli/test_train.py",
    "cryoice patches": "tests/core/cli/test_train.py",
    "cryoice regions": "tests/core/screening/test_region_search.py",
    "cryoice relion": "tests/core/integrations/test_relion_job.py",
    "cryoice screen": "tests/core/cli/test_screen.py",
    "cryoice serve": "tests/core/serve/test_safety.py",
    "cryoice simulate": "tests/core/simulation/test_data_set_folder.py",
    "cryoice sweep": "tests/core/training/test_sweep.py",
    "cryoice train --network resnet": "tests/core/training/test_grade_training.py",
    "cryoice train --one-class": "tests/core/training/test_one_class_training.py",
    "cryoice train": "tests/core/cli/test_train.py",
    "core worker": "tests/core/workers/test_worker.py",
    "cryoice worker": "tests/core/workers/test_worker.py",
    "image -> views": "not code",
    "last layer: combined": "not code",
    "1000 coordinates": "not code",
    "micrograph,grade": "not code",
    "import core as cryoice": "not code by itself",
}


def blocks_of(page):
    """Return the blocks of code of a page, each as its language and text; a line that ends in a backslash goes on."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    blocks = [token for token in tokens if token.type in ("fence", "code_block")]
    return [(block.info, re.sub(r"^ ", "", block.content.replace("\\\n", " "), flags=re.M)) for block in blocks]


def commands_of(page):
    """Return the lines that begin with ``cryoice``, in their order."""
    lines = [
        line.strip() for language, text in blocks_of(page) if language in ("", "bash") for line in text.split("\n")
    ]
    return [line for line in lines if line.startswith("cryoice ")]


COMMANDS = {page: commands_of(page) for page in PAGES}


def test_each_block_is_run_by_a_test_or_has_a_reason_why_not():
    blocks = [text for page in PAGES for _, text in blocks_of(page)]
    used = [next((key for key in RUN_BY if key in text), text) for text in blocks]
    assert set(used) == set(RUN_BY)  # no block is unknown, and no entry is out of date
    missing = [name for name in RUN_BY.values() if name.startswith("tests/") and not (ROOT / name).is_file()]
    assert len(blocks) > 90 and not missing


@pytest.mark.parametrize("command", sorted({line for lines in COMMANDS.values() for line in lines}))
def test_commands_can_be_typed_as_shown(command):
    words = shlex.split(command, comments=True)[1:]
    assert build_parser(words).parse_args(words).command == words[0]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if COMMANDS[page]], ids=lambda page: str(page.relative_to(ROOT))
)
def test_no_command_of_a_page_is_refused_because_of_an_earlier_one(page):
    """These commands refuse a folder that another one filled; with --resume they refuse other settings."""
    done = {}
    for line in COMMANDS[page]:
        words = shlex.split(line, comments=True)
        fills = words[1] in ("screen", "sweep", "simulate", "cryosparc", "relion")
        if not fills or "$resume" in words or "--show-space" in words:
            continue
        output = words[words.index("--o" if words[1] == "relion" else "--output") + 1]
        if "--resume" in words:
            assert done[output] == [word for word in words if word != "--resume"]
        else:
            assert done.setdefault(output, words) is words, f"{output} is filled by {' '.join(done[output])}"


def test_the_readme_shows_the_two_commands_first():
    lines = [line for _, text in blocks_of(ROOT / "README.md") for line in text.split("\n")]
    commands = [" ".join(line.split()[:2]) for line in lines if line.startswith("make ")]
    assert commands[:2] == ["make demo", "make test"]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = [text for language, text in blocks_of(ROOT / "README.md") if language == "python"]
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    names = {"image": image, "xy": [(60, 60), (150, 90)]}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["result"].goodness) == 2 and (tmp_path / "screened" / "coordinates" / "kept.star").is_file()


def test_the_labels_and_the_ranges_of_the_guides_are_read(tmp_path, capsys):
    labels, ranges = tmp_path / "labels.json", tmp_path / "space.json"
    labels.write_text(block_with("find-similar-regions.md", '"good": true'))
    assert sorted(read_labels(labels).micrographs) == ["mic001", "mic007"]
    ranges.write_text(block_with("tune-training.md", "patches.jitter_copies"))
    words = ["sweep", "--network", "patch_fft", "--output", str(tmp_path / "swept"), "--show-space"]
    assert main([*words, "--space", str(ranges)]) == 0
    assert json.loads(capsys.readouterr().out).keys() == json.loads(ranges.read_text()).keys()


def test_columns_that_relion_does_not_know_are_removed_as_shown(tmp_path):
    kept = tmp_path / "cryoice" / "coordinates" / "kept.star"
    kept.parent.mkdir(parents=True)
    kept.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_cryoiceGoodness #2\n_rlnCoordinateY #3\n1.0\t0.5\t2.0\n")
    script = block_with("relion.md", "columns, drop")
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, env=environment(tmp_path))
    plain = (tmp_path / "kept_plain.star").read_text()
    assert plain == "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1.0\t2.0\n"


def block_with(page, part):
    (text,) = [text for _, text in blocks_of(DOCS / "how-to" / page) if part in text]
    return text


def environment(folder):
    """Return an environment in which ``cryoice`` and ``python`` are those of the tests."""
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    command = folder / "bin" / "cryoice"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cryoice_scipion.core "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path, python_path = os.environ["PATH"], os.environ.get("PYTHONPATH", "")
    return dict(os.environ, PATH=f"{folder / 'bin'}:{path}", PYTHONPATH=f"{ROOT}:{python_path}")


@pytest.mark.slow
def test_the_shell_tutorial_runs_as_written(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    variables = environment(tmp_path)
    said = []
    for line in [line for _, text in blocks_of(TUTORIAL) for line in text.splitlines()]:
        done = subprocess.run(line, shell=True, cwd=folder, env=variables, capture_output=True, encoding="utf-8")
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
