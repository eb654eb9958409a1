# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that learn, as a user types them: patches, train, evaluate, info."""

import argparse
import json
import signal
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryoice_scipion.core.cli import evaluate, main
from cryoice_scipion.core.cli.sources import add_source_arguments
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.training.patches import fit


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Four micrographs whose right third is thick (dark, low-passed), with picks on both sides."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    rows = {"good": [], "bad": []}
    for index in range(4):
        pixels = rng.normal(size=(512, 768)).astype(np.float32)
        dark = rng.normal(size=(512, 256)).astype(np.float32)
        pixels[:, 512:] = (dark + np.roll(dark, 1, 0) + np.roll(dark, 1, 1)) / 3 - 2.0
        with mrcfile.new(folder / f"m{index}.mrc") as mrc:
            mrc.set_data(pixels)
            mrc.voxel_size = 4.0
        for label, left, right in (("good", 40, 440), ("bad", 560, 740)):
            for _ in range(20):
                rows[label].append((f"m{index}.mrc", rng.integers(left, right), rng.integers(40, 470)))
    names = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    for label, places in rows.items():
        write_star(folder / f"{label}.star", pd.DataFrame(places, columns=names))
    return folder


def sources(folder):
    return [
        "--good",
        str(folder / "good.star"),
        "--bad",
        str(folder / "bad.star"),
        "--micrographs",
        *map(str, sorted(folder.glob("m*.mrc"))),
    ]


@pytest.fixture(scope="module")
def model(labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    options = [
        "--epochs",
        "6",
        "--width",
        "4",
        "--batch",
        "32",
        "--learning-rate",
        "0.005",
        "--device",
        "cpu",
        "--hold-out",
        "m3",
    ]
    assert main(["train", "--output", str(folder), *sources(labelled), *options]) == 0
    return folder


def test_training_makes_a_model_that_knows_what_it_is(model):
    config = load_config(model)
    assert config.classes == ["good", "bad"]
    assert config.metrics["test_auc"] > 0.95
    assert 0.01 <= config.recommended_threshold <= 0.99
    plots = {"curves.png", "roc.png", "precision_recall.png", "calibration.png", "mistakes.png"}
    assert {"history.csv", "card.md", "mistakes.csv", *plots} <= {path.name for path in model.iterdir()}
    card = (model / "card.md").read_text()
    assert "good.star" in card
    assert "| 0.5 |" in card  # what each threshold finds and costs
    assert "backgrounds as GOOD: yes" in card


def test_info_and_evaluate_agree_with_training(model, labelled, tmp_path, capsys):
    assert main(["info", str(model)]) == 0
    assert "SHA-256 checksums verified" in capsys.readouterr().out
    figures = tmp_path / "figures.json"
    assert (
        main(["evaluate", "--model", str(model), *sources(labelled), "--device", "cpu", "--output", str(figures)]) == 0
    )
    measured = json.loads(figures.read_text())
    assert measured["threshold"] == load_config(model).recommended_threshold
    assert measured["all"]["auc"] > 0.95
    assert measured["coordinate bad"]["number"] == 80


def test_a_patch_set_can_be_trained_on_as_if_it_were_coordinates(labelled, tmp_path, capsys):
    patches = tmp_path / "set"
    assert main(["patches", "--output", str(patches), *sources(labelled), "--no-background"]) == 0
    assert "80  coordinate good" in capsys.readouterr().out
    options = ["--epochs", "1", "--width", "2", "--device", "cpu"]
    assert main(["train", "--output", str(tmp_path / "m"), "--patches", str(patches), *options]) == 0
    said = capsys.readouterr()
    assert "80 BAD patches are few for a new network" in said.out + said.err


def test_mistakes_are_one_line_and_exit_2(labelled, tmp_path, capsys):
    assert main(["train", "--output", str(tmp_path / "m"), "--good", str(labelled / "good.star")]) == 2
    assert (
        main(["train", "--output", str(tmp_path / "m"), *sources(labelled), "--hold-out", "nowhere", "--epochs", "1"])
        == 2
    )
    assert main(["evaluate", "--model", str(tmp_path), *sources(labelled)]) == 2
    assert main(["train", "--output", str(tmp_path / "m"), *sources(labelled), "--device", "cuda:99"]) == 2
    bad = str(labelled / "bad.star")
    same = ["--good", bad, "--bad", bad, "--micrographs", str(labelled / "m0.mrc")]
    assert main(["train", "--output", str(tmp_path / "m"), *same]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cryoice ")]
    assert len(lines) == 5
    assert "belong together" in lines[0]
    assert "nowhere" in lines[1]
    assert "model.json is missing" in lines[2]
    assert "GPU 99" in lines[3]
    assert "--good and --bad: are the same coordinates" in lines[4]


def test_sources_given_twice_add_up_or_are_refused(labelled, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_source_arguments(parser)
    given = parser.parse_args(["--micrographs", "a", "b", "--clean", "c", "--micrographs", "d"])
    assert (given.micrographs, given.clean) == (["a", "b", "d"], ["c"])
    assert parser.parse_args([]).micrographs == []
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--output", str(tmp_path / "m"), *sources(labelled), "--good", "more.star"])
    assert "--good: is given twice" in capsys.readouterr().err


def test_positions_that_are_both_good_and_bad_are_named_and_refused_if_they_are_all_bad_ones(
    labelled, tmp_path, capsys
):
    good, bad = ((labelled / f"{name}.star").read_text() for name in ("good", "bad"))
    rows = [line for line in bad.splitlines() if line.startswith("m")]
    micrographs = ["--micrographs", *map(str, sorted(labelled.glob("m*.mrc")))]

    def patches(added):
        (tmp_path / "more.star").write_text(good.rstrip("\n") + "\n" + "\n".join(added) + "\n")
        labels = ["--good", str(tmp_path / "more.star"), "--bad", str(labelled / "bad.star"), *micrographs]
        status = main(["patches", "--output", str(tmp_path / "set"), *labels, "--no-background"])
        return status, capsys.readouterr().err.split("\n")[0]

    name, x, y = rows[0].split()
    example = f"for example at x={x}, y={y} of {name[:-4]}"
    assert patches(rows[:1]) == (
        0,
        f"coordinates: 1 of 80 BAD coordinates is a GOOD coordinate too, {example}; give each position one label",
    )
    status, said = patches(rows)
    assert status == 2 and "cryoice patches: coordinates: all 80 BAD coordinates are GOOD coordinates too, for" in said


def test_a_folder_with_other_files_is_not_written_over(labelled, tmp_path):
    (tmp_path / "thesis.tex").write_text("three years")
    assert main(["train", "--output", str(tmp_path), *sources(labelled)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_starting_from_a_model_keeps_what_it_has_learned(model, labelled, tmp_path, capsys):
    """One epoch at a rate at which nothing is learned: what the new model knows is what the old one knew."""
    options = ["--epochs", "1", "--width", "4", "--learning-rate", "1e-9", "--device", "cpu", "--hold-out", "m3"]
    again = tmp_path / "again"
    assert main(["train", "--output", str(again), *sources(labelled), *options, "--from", str(model)]) == 0
    said = capsys.readouterr()
    assert "weight tensors taken over" in said.out
    assert "are few" not in said.out + said.err
    assert load_config(again).metrics["test_auc"] > 0.95
    assert main(["train", "--output", str(tmp_path / "x"), *sources(labelled), "--from", "nowhere"]) == 2


def test_an_output_that_cannot_be_written_is_one_line_before_anything_is_learned(labelled, model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "--output", str(tmp_path / "file"), *sources(labelled), "--epochs", "1"]) == 2
    assert main(["patches", "--output", str(tmp_path / "file"), *sources(labelled)]) == 2
    figures = str(tmp_path / "file" / "figures.json")
    assert main(["evaluate", "--model", str(model), *sources(labelled), "--output", figures]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("cryoice ")]
    assert len(lines) == 3, said.err
    assert all("file" in line for line in lines[:2]) and "figures.json" in lines[2]
    assert "train: " not in said.out  # what the training says first


def test_clean_micrographs_without_coordinates_are_not_ignored_silently(labelled, tmp_path, capsys):
    patches = tmp_path / "set"
    assert main(["patches", "--output", str(patches), *sources(labelled), "--jitter-copies", "0"]) == 0
    clean = ["--clean", str(labelled / "m0.mrc")]
    assert main(["train", "--output", str(tmp_path / "m"), "--patches", str(patches), *clean]) == 2
    assert "--clean: goes with --good, --bad and --micrographs" in capsys.readouterr().err


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_a_training_and_keeps_its_epochs(number, status, labelled, tmp_path, monkeypatch, capsys):
    validate, epochs = fit._Run.validate, []

    def stopping(run, *given):
        epochs.append(1)
        if len(epochs) == 3:
            signal.raise_signal(number)
        return validate(run, *given)

    monkeypatch.setattr(fit._Run, "validate", stopping)
    ignored = signal.signal(number, signal.default_int_handler)  # as in background commands and under nohup
    try:
        options = ["--epochs", "9", "--width", "2", "--device", "cpu"]
        assert main(["train", "--output", str(tmp_path / "m"), *sources(labelled), *options]) == status
    finally:
        signal.signal(number, ignored)
    assert "interrupted: the best weights of 2 epochs are kept" in capsys.readouterr().out
    assert load_config(tmp_path / "m").metrics and len(pd.read_csv(tmp_path / "m" / "history.csv")) == 2


def test_a_card_says_whether_backgrounds_were_learned_not_whether_they_were_asked_for(labelled, tmp_path):
    patches, folder = tmp_path / "set", tmp_path / "m"
    options = ["--no-background", "--jitter-copies", "0"]
    assert main(["patches", "--output", str(patches), *sources(labelled), *options]) == 0
    options = ["--epochs", "1", "--width", "2", "--device", "cpu"]
    assert main(["train", "--output", str(folder), "--patches", str(patches), *options]) == 0
    card = (folder / "card.md").read_text()
    assert "backgrounds as GOOD: no" in card
    assert "views patch (64 px at 4.0 Å/px), fft (64 px at 4.0 Å/px)" in card


def test_the_reference_level_is_of_validation_micrographs_beside_patch_sets_too(labelled, tmp_path, monkeypatch):
    """Micrographs among the labels keep their names, by which they are mapped."""
    from cryoice_scipion.core.training.patches import train as module

    patches, seen = tmp_path / "set", {}
    assert main(["patches", "--output", str(patches), *sources(labelled), "--jitter-copies", "0"]) == 0
    monkeypatch.setattr(module, "split_micrographs", lambda table, *_: seen.update(table=table) or 1 / 0)
    command = ["train", "--output", str(tmp_path / "m"), "--patches", str(patches), *sources(labelled)]
    with pytest.raises(ZeroDivisionError):
        main([*command, "--jitter-copies", "1"])
    jittered = seen["table"][seen["table"]["copy"] == 1]
    assert set(jittered["micrograph"]) == {"m0", "m1", "m2", "m3"}


def test_the_patch_spectrum_network_is_trained_tuned_and_used_by_the_same_commands(labelled, tmp_path, capsys):
    """On micrographs without a spectrum at the frequencies of ice: 4 Å/px."""
    options = ["--epochs", "2", "--width", "2", "--device", "cpu", "--no-background", "--jitter-copies", "0"]
    first, second = tmp_path / "first", tmp_path / "second"
    command = ["train", *sources(labelled), *options, "--output"]
    assert main([*command, str(first), "--network", "patch_spectrum"]) == 0
    config = load_config(first)
    assert config.network == "patch_spectrum"
    assert [(view.kind, view.required) for view in config.views] == [
        ("patch", True),
        ("local", True),
        ("spectrum", False),
    ]
    assert "no_fft" in (first / "card.md").read_text()
    assert main([*command, str(second), "--from", str(first)]) == 0  # its network, without being asked for
    assert load_config(second).network == "patch_spectrum"
    said = capsys.readouterr().out
    taken = [line for line in said.splitlines() if "weight tensors taken over" in line][0].split()
    assert taken[taken.index("of") - 1] == taken[taken.index("of") + 1]  # all of them
    assert main(["evaluate", "--model", str(second), *sources(labelled), "--device", "cpu"]) == 0
    assert main([*command, str(second), "--network", "patch_spectrum", "--sampling", "5"]) == 2
    assert main([*command, str(second), "--network", "patch_fft", "--views", "local"]) == 2


def test_a_full_disk_leaves_the_earlier_evaluation_whole(tmp_path, monkeypatch):
    def torn(path, text, encoding):
        path.write_bytes(text.encode(encoding)[:3])
        raise OSError(28, "No space left on device")

    (tmp_path / "e.json").write_text("earlier")
    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(CryoIceError, match="e.json cannot be written .No space left on device.; free disk space"):
        evaluate._write(tmp_path / "e.json", {"threshold": 0.5}, "")
    assert [path.name for path in tmp_path.iterdir()] == ["e.json"] and (tmp_path / "e.json").read_text() == "earlier"
