# SPDX-License-Identifier: GPL-3.0-or-later
"""A sweep in one process: its score, its table, the model of the winner, and what is refused."""

import json
import os
import socket
import time

import pandas as pd
import pytest
import sweep_stub

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.model_folder import check_sums, load_config, read_sums
from cryoice_scipion.core.errors import SettingsError, Terminated
from cryoice_scipion.core.training.trainers import Epoch

pytest.importorskip("optuna", reason="Optuna is not installed")


@pytest.fixture(autouse=True)
def log(monkeypatch, tmp_path):
    """Return the file with a line for each training."""
    monkeypatch.setitem(kinds.KINDS, "stub", sweep_stub.KIND)
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def sweep(folder, *words):
    return main(["sweep", "--network", "stub", "--output", str(folder), "--device", "cpu", *map(str, words)])


def test_the_winner_is_trained_on_all_data_and_the_table_says_why(log, tmp_path, capsys):
    folder = tmp_path / "model"
    assert sweep(folder, "--trials", 6, "--best", 2, "--seeds", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    table = pd.read_csv(folder / "sweep.csv", keep_default_na=False)
    assert len(table) == 6
    complete = table[table["state"] == "complete"].astype({"score": float})
    north, south = (complete[f"score on {name}"].astype(float) for name in ("north", "south"))
    assert (north - south).to_numpy() == pytest.approx(0.1)
    assert complete["score"].to_numpy() == pytest.approx(((north + south) / 2).to_numpy(), abs=1e-4)
    assert sorted(table["seeds"]) == [1, 1, 1, 1, 3, 3]
    winner = table[table["winner"] == "yes"].iloc[0]
    assert winner["trial"] == complete.sort_values("score").iloc[-1]["trial"]  # in the stub all seeds agree
    assert load_config(folder).network_options == {"width": int(winner["width"])}
    assert (folder / "importance.png").stat().st_size > 1000
    assert {"sweep.csv", "importance.png"} <= set(read_sums(folder))
    check_sums(folder)
    assert "best of 6 trials of 'cryoice sweep'" in load_config(folder).trained_on["note"]
    assert log.read_text().splitlines()[-1].startswith("[] ")  # nothing is left out
    assert lines[-1] == f"model of trial {winner['trial']} in {folder}, read {folder / 'sweep.csv'}"
    assert any(line.startswith("usual settings: AUC 0.870 (north 0.920, south 0.820)") for line in lines)


def test_more_trials_continue_a_finished_sweep_and_other_options_are_refused(log, tmp_path, capsys):
    folder = tmp_path / "model"
    assert sweep(folder, "--trials", 2, "--seeds", 1) == 0
    trainings = len(log.read_text().splitlines())
    assert sweep(folder, "--trials", 2, "--seeds", 1, "--resume") == 0  # nothing to do
    assert len(log.read_text().splitlines()) == trainings
    assert sweep(folder, "--trials", 3, "--seeds", 1, "--resume") == 0
    assert len(pd.read_csv(folder / "sweep.csv")) == 3
    check_sums(folder)
    capsys.readouterr()
    assert sweep(folder, "--trials", 3) == 2
    assert "holds a sweep; give --resume" in capsys.readouterr().err
    assert sweep(folder, "--trials", 3, "--resume", "--epochs", 7) == 2
    assert "holds a sweep with other settings; give the same options" in capsys.readouterr().err


def test_a_sweep_is_not_continued_with_other_labels_on_the_same_micrographs(tmp_path, capsys):
    good, bad, folder = tmp_path / "good.star", tmp_path / "bad", tmp_path / "model"
    bad.mkdir()
    for path in (good, bad / "m1.box"):
        path.write_text("1 1")
    words = ["--good", good, "--bad", bad, "--micrographs", "m1.mrc", "--trials", 1, "--seeds", 1]
    assert sweep(folder, *words) == sweep(folder, *words, "--resume") == 0
    (bad / "m1.box").write_text("1 1\n2 2")
    assert sweep(folder, *words, "--resume") == 2
    assert "holds a sweep with other labels; give the same options and labels" in capsys.readouterr().err
    settings = json.loads((folder / "sweep" / "sweep.json").read_text())
    del settings["labels"]  # as a version wrote it that did not store it
    (folder / "sweep" / "sweep.json").write_text(json.dumps(settings))
    assert sweep(folder, *words, "--resume") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hold-out", "m1"], "--hold-out: is not used by a sweep"),
        (["--trials", 0], "--trials: must be 1 or more"),
        (["--space", "absent.json"], "absent.json: is not a readable JSON file"),
    ],
)
def test_a_wrong_option_is_one_line(words, message, tmp_path, capsys):
    assert sweep(tmp_path / "model", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_the_usual_ranges_can_be_printed_as_a_file_to_start_from(tmp_path, capsys):
    assert sweep(tmp_path / "model", "--show-space") == 0
    assert json.loads(capsys.readouterr().out) == sweep_stub.SPACE


def test_poor_trials_are_stopped_early(log, tmp_path, monkeypatch):
    """After four good trials, one that is far worse does not train on the second source."""
    from cryoice_scipion.core.training.sweep import search

    space = {"learning_rate": {"values": [1e-3, 1e-3 + 1e-9, 1e-3 + 2e-9, 1e-3 + 3e-9, 1e-9]}}
    path = tmp_path / "space.json"
    path.write_text(json.dumps(space))
    values = iter([1e-3, 1e-3 + 1e-9, 1e-3 + 2e-9, 1e-3 + 3e-9, 1e-9])

    class InOrder(search.optuna.samplers.RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            return json.dumps(next(values))

    monkeypatch.setattr(search.optuna.samplers, "TPESampler", lambda **_: InOrder())
    assert sweep(tmp_path / "model", "--space", path, "--trials", 5, "--seeds", 1) == 0
    table = pd.read_csv(tmp_path / "model" / "sweep.csv")
    assert table["state"].tolist() == ["complete"] * 4 + ["pruned"]
    assert table["epochs"].tolist() == [2 * sweep_stub.EPOCHS] * 4 + [3]
    assert len(log.read_text().splitlines()) == 4 * 2 + 1  # and the final one


def test_settings_that_fail_are_in_the_table_and_bad_data_ends_the_sweep(tmp_path, monkeypatch, capsys):
    original = sweep_stub.train

    def diverging(request):
        if request.config.width == 16:
            raise SettingsError("training", "the loss became infinite", "")
        return original(request)

    monkeypatch.setattr(sweep_stub, "train", diverging)
    assert sweep(tmp_path / "a", "--trials", 1) == 2  # the usual width is 16
    assert "the loss became infinite" in capsys.readouterr().err
    assert sweep(tmp_path / "b", "--trials", 5, "--seeds", 1, "--width", 8) == 0
    table = pd.read_csv(tmp_path / "b" / "sweep.csv", keep_default_na=False)
    failed = table[table["state"] == "failed"]
    assert 0 < len(failed) < 5
    assert set(failed["width"]) == {16}
    assert set(failed["reason"]) == {"training: the loss became infinite"}


@pytest.mark.parametrize("more", [[], ["--resume"], ["--dashboard"]])
@pytest.mark.parametrize("error", [SettingsError("--crops", "needs 2 numbers"), KeyboardInterrupt()])
def test_a_wrong_setting_that_a_training_finds_leaves_a_folder_for_the_corrected_command(
    error, more, tmp_path, monkeypatch, capsys
):
    original = sweep_stub.train

    def train(request):
        if list(request.crops) == [9]:
            request.on_epoch(Epoch({"epoch": 1.0, "train_loss": 1.0}))
            raise error
        return original(request)

    monkeypatch.setattr(sweep_stub, "train", train)
    words = [*more, "--trials", 2, "--seeds", 1]
    assert sweep(tmp_path / "a", *words, "--crops", 9) != 0
    assert sweep(tmp_path / "a", *words, "--crops", 1, "--width", 8) == 0
    table = pd.read_csv(tmp_path / "a" / "sweep.csv")
    assert table["state"].tolist() == ["complete"] * 2
    assert sweep(tmp_path / "a", *words, "--resume", "--crops", 9, "--width", 8) == 2
    assert "holds a sweep with other crops" in capsys.readouterr().err


@pytest.mark.parametrize("stop, status", [(KeyboardInterrupt(), 130), (Terminated(), 143)])
@pytest.mark.parametrize("trained", [1, 2])  # in the second trial, and while the winner is trained
def test_a_signal_ends_a_sweep_and_resume_continues_it(stop, status, trained, tmp_path, monkeypatch):
    """A training returns what it has learned before the signal."""
    original, trainings = sweep_stub.train, []

    def train(request):
        result = original(request)
        trainings.append(request)
        result.interrupted = stop if len(trainings) == 2 * trained + 1 else None
        return result

    monkeypatch.setattr(sweep_stub, "train", train)
    words = [tmp_path / "a", "--trials", 2, "--seeds", 1, "--resume"]
    assert sweep(*words) == status
    assert sweep(*words) == 0
    assert pd.read_csv(tmp_path / "a" / "sweep.csv")["state"].tolist() == ["complete"] * 2


def test_a_single_source_is_divided_by_micrograph(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(sweep_stub, "SOURCES", {"only": ["m1", "m2", "m3", "m4"]})
    original = sweep_stub.train
    monkeypatch.setattr(
        sweep_stub, "train", lambda request: seen.append(request.config.hold_out) or _with_score(original(request))
    )
    assert sweep(tmp_path / "a", "--trials", 1, "--seeds", 1) == 0
    assert seen == [["m1", "m4"], ["m2"], ["m3"], []]
    assert "one data source: its micrographs are left out in 3 parts" in capsys.readouterr().out
    monkeypatch.setattr(sweep_stub, "SOURCES", {"only": ["m1", "m2"]})
    assert sweep(tmp_path / "b", "--trials", 1) == 2
    assert "only: has 2 labelled micrographs, at least 3 are needed" in capsys.readouterr().err


def _with_score(result):
    result.test = {"auc": 0.9}
    return result


def test_the_journal_outlives_a_line_that_was_not_written_to_its_end(tmp_path):
    from cryoice_scipion.core.training.sweep.journal import open_journal

    path = tmp_path / "journal.log"
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(storage=open_journal(path), study_name="s")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with open(path, "ab") as stream:
        stream.write(b'{"op_code": 4, "tri')  # the process was killed here
    for number in (2, 3):
        study = optuna.load_study(storage=open_journal(path), study_name="s")
        study.add_trial(optuna.trial.create_trial(value=float(number)))
    assert [trial.value for trial in optuna.load_study(storage=open_journal(path), study_name="s").trials] == [1, 2, 3]


def test_a_worker_is_alive_while_its_process_is_or_its_file_is_fresh(tmp_path):
    from cryoice_scipion.core.training.sweep.locks import Worker

    with Worker(tmp_path) as ours, Worker(tmp_path) as other:
        assert ours.others() == [other.name]
        gone = tmp_path / "gone"
        gone.write_text(json.dumps({**json.loads((tmp_path / other.name).read_text()), "started": "1"}))
        assert not ours.sees("gone")  # its process number now belongs to another process
        assert not ours.sees("never")
        far = tmp_path / "far"
        far.write_text(json.dumps({"machine": "another", "pid": 1, "started": "1"}))
        assert ours.sees("far")
        os.utime(far, (time.time() - 300, time.time() - 300))
        assert not ours.sees("far")
    assert not ours.sees(other.name)
    assert ours.name.startswith(socket.gethostname())
