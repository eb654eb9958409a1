# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard has the numbers of history.csv, and pictures beside them; a missing TensorBoard is one line."""

import shutil

import numpy as np
import pandas as pd
import pytest
from test_unet_training import OPTIONS, write_labelled

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.training import dashboard


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("dashboard") / "set", number=4)


PATCHES = [
    "--width",
    "2",
    "--batch",
    "32",
    "--learning-rate",
    "0.01",
    "--per-class",
    "10",
    "--no-background",
    "--jitter-copies",
    "0",
    "--device",
    "cpu",
]


@pytest.mark.parametrize("options", [OPTIONS, PATCHES], ids=["unet", "patch_fft"])
def test_the_dashboard_shows_what_history_csv_has(options, simulated, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "model"
    words = ["train", "--simulated", str(simulated), "--output", str(folder), *options, "--epochs", "2"]
    assert main([*words, "--dashboard"]) == 0
    history = pd.read_csv(folder / "history.csv")
    events = EventAccumulator(str(folder / "dashboard")).Reload()
    names = {"train_loss": "train/loss", **{f"validation_{key}": f"validation/{key}" for key in ("loss", "auc", "ap")}}
    assert set(names) == set(history.columns) - {"epoch"}
    for column, tag in names.items():
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        assert np.array(written) == pytest.approx(history[["epoch", column]].to_numpy(), abs=1e-5)
    assert [event.step for event in events.Scalars("validation/ece")] == [1, 2]
    assert {"calibration", "worst mistakes"} <= set(events.Tags()["images"])
    assert "precision_recall" in events.Tags()["tensors"]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    assert events.Scalars("result/validation_auc")[0].value > 0.5
    (projector,) = (folder / "dashboard").glob("*/last_layer")
    rows = (projector / "metadata.tsv").read_text().splitlines()
    tensors = np.loadtxt(projector / "tensors.tsv")
    assert rows[0].split("\t") == ["label", "p_bad", "micrograph", "x", "y"]
    assert len(rows) - 1 == len(tensors) > 10
    assert (projector / "sprite.png").is_file()
    support = np.array([row.startswith("support") for row in rows[1:]])
    centres = [tensors[part].mean(axis=0) for part in (support, ~support)]
    spread = np.linalg.norm(tensors[support] - centres[0], axis=1).mean()
    assert np.linalg.norm(centres[0] - centres[1]) > 0.5 * spread  # the rows belong to the labels
    shutil.rmtree(folder / "dashboard")
    assert main(["info", str(folder)]) == 0  # it is no part of the model


def test_a_missing_tensorboard_is_one_line_with_the_command_that_installs_it(simulated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    words = ["train", "--simulated", str(simulated), "--output", str(tmp_path / "model"), *PATCHES, "--dashboard"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cryoice train: --dashboard: TensorBoard is not installed; ")
    assert line.endswith(" -m pip install tensorboard")
