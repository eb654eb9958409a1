# SPDX-License-Identifier: GPL-3.0-or-later
"""A sweep is killed with SIGKILL, then finished by two processes at once: no trial is lost or doubled."""

import collections
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import sweep_stub

from cryoice_scipion.core.detectors.model_folder import check_sums

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")

ROOT = Path(__file__).resolve().parents[3]
TRIALS, BEST, SEEDS = 8, 2, 3


def start(folder, log):
    command = [sys.executable, sweep_stub.__file__, "sweep", "--network", "stub", "--output", folder, "--device", "cpu"]
    command += ["--trials", TRIALS, "--best", BEST, "--seeds", SEEDS, "--resume"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = dict(os.environ, PYTHONPATH=path, STUB_LOG=str(log), STUB_PAUSE="0.01")
    return psutil.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, encoding="utf-8")


def trainings(log):
    return log.read_text().splitlines() if log.exists() else []


def finished(folder):
    """Return the finished trials, read from the journal."""
    from cryoice_scipion.core.training.sweep.journal import open_journal

    study = optuna.load_study(storage=open_journal(folder / "sweep" / "journal.log"), study_name="sweep")
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def test_kills_and_two_workers_lose_and_double_nothing(tmp_path):
    folder, log = tmp_path / "model", tmp_path / "log"
    process = start(folder, log)
    while len(trainings(log)) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = finished(folder)
    assert 0 < len(before) < TRIALS
    both = [start(folder, log) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][-1] == said[1][-1]  # both wait for the same model

    after = finished(folder)
    assert len(after) == TRIALS
    kept = {trial.number: (trial.params, trial.value) for trial in after}
    assert all(kept[trial.number] == (trial.params, trial.value) for trial in before)
    table = pd.read_csv(folder / "sweep.csv")
    assert sorted(table["trial"]) == sorted(kept)
    assert sorted(table["seeds"])[-BEST:] == [SEEDS] * BEST
    counts = collections.Counter(trainings(log))
    repeats = [line for line in counts if int(line.split()[-1]) > 0]
    assert len(repeats) == BEST * (SEEDS - 1) * 2  # each seed of each of the best, without each of two sources
    assert all(counts[line] == 1 for line in repeats)
    assert sum(line.startswith("[] ") for line in trainings(log)) == 1  # one model, by one of the two
    doubled = sum(number - 1 for number in counts.values())
    assert doubled <= 2  # only what the kill interrupted was trained again
    tried = [line for process in said for line in process if " trials, number " in line]
    assert len(tried) == TRIALS - len(before)
    check_sums(folder)
