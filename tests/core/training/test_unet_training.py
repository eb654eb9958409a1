# SPDX-License-Identifier: GPL-3.0-or-later
"""Training on whole labelled micrographs: what is learned, what is kept, what an interruption costs."""

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from cryoice_scipion.constants import BAD, BORDER, CLASSES
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import AugmentConfig, TrainConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import load_config, write_sums
from cryoice_scipion.core.errors import ImageError, SettingsError
from cryoice_scipion.core.evaluation.labels import LEFT_OUT, find_labelled
from cryoice_scipion.core.formats.coordinates import read_picks, write_star
from cryoice_scipion.core.training.unet import crops
from cryoice_scipion.core.training.unet import fit as training
from cryoice_scipion.core.training.unet.calibration import reference_of
from cryoice_scipion.core.training.unet.crops import Cropper, high_passed, views_of_crops, weights_of
from cryoice_scipion.core.training.unet.fit import map_loss
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph, prepare_micrographs
from cryoice_scipion.core.training.unet.training_sets import TrainingSet, split_micrographs
from cryoice_scipion.core.views.micrograph import SPECTRAL_FEATURES as FEATURES
from cryoice_scipion.core.views.outlier_features import relative_statistics
from cryoice_scipion.core.views.texture import TEXTURE_CHANNELS

SUPPORT = CLASSES.index("support")


def write_labelled(folder, number=6, side=192, pixel_size=4.0, seed=0):
    """Micrographs whose right third is dark: support."""
    rng = np.random.default_rng(seed)
    for name in ("micrographs", "labels"):
        (folder / name).mkdir(parents=True)
    edge = side * 2 // 3
    for index in range(number):
        pixels = rng.normal(size=(side, side)).astype(np.float32)
        pixels[:, edge:] -= 2.5
        codes = np.zeros((side // 2, side // 2), np.int8)  # of 8 Å
        codes[:, edge // 2 :] = SUPPORT
        for part, array, sampling in (("micrographs", pixels, pixel_size), ("labels", codes, 2 * pixel_size)):
            with mrcfile.new(folder / part / f"m{index}.mrc") as mrc:
                mrc.set_data(array)
                mrc.voxel_size = sampling
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("unet") / "set")


OPTIONS = ["--network", "unet", "--width", "4", "--batch", "2", "--learning-rate", "0.01", "--device", "cpu"]


def arguments(labelled, output, *more, epochs=12):
    return ["train", "--simulated", str(labelled), "--output", str(output), *OPTIONS, "--epochs", str(epochs), *more]


@pytest.fixture(scope="module")
def model(labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet") / "model"
    assert main(arguments(labelled, folder, "--hold-out", "m5")) == 0
    return folder


def test_it_learns_where_micrographs_are_bad(model, labelled):
    config = load_config(model)
    assert config.network == "unet"
    assert config.sampling == 32.0
    assert config.classes == ["good", "support"]
    assert config.metrics["test_auc"] > 0.95  # on the one that was held out
    assert not list(model.glob("unfinished*"))
    with mrcfile.open(labelled / "micrographs" / "m5.mrc") as mrc:
        pixels = np.array(mrc.data)
    found = load_detector(model).map(pixels, 4.0, np.zeros(pixels.shape, bool), False)
    assert found.log_odds[:, 18:].mean() > found.log_odds[:, :14].mean() + 2


def test_the_reference_knows_how_much_clean_micrographs_differ_and_bad_ones_do_not_widen_it():
    def cells(level, bad_share):
        return np.full(100, float(level)), np.where(np.arange(100) < 100 * bad_share, SUPPORT, 0).astype(np.uint8)

    clean = [cells(level, 0.1) for level in np.linspace(-5, -3, 21)]
    wide = [cells(level, 0.1) for level in np.linspace(-9, 3, 21)]
    found = reference_of([*clean, cells(4.0, 1.0)])
    assert found["baseline_logit"] == pytest.approx(-4.475)  # the quarter point of all 22
    assert found["offset_tolerance"] == 4.0  # clean ones differ by less
    assert reference_of(wide)["offset_tolerance"] == pytest.approx(7.8)  # nine of ten clean ones
    assert reference_of([cells(-5, 0.9), cells(-4, 0.9)])["offset_tolerance"] == 4.0  # none is known to be clean


def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(labelled, tmp_path, monkeypatch, capsys):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert main(arguments(labelled, whole, epochs=3)) == 0
    epoch, done = training.UNetRun.epoch, []

    def stopped(self, number, progress):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(number)
        return epoch(self, number, progress)

    monkeypatch.setattr(training.UNetRun, "epoch", stopped)
    assert main(arguments(labelled, torn, epochs=3)) == 130
    assert load_config(torn).network == "unet"  # what was learned until then is a model
    monkeypatch.undo()
    capsys.readouterr()
    for path in torn.iterdir():  # as if it had been killed rather than asked to stop
        if path.name != "unfinished.pt":
            path.unlink()
    assert main(arguments(labelled, torn, epochs=3)) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
    assert (torn / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert len(pd.read_csv(torn / "history.csv")) == 3


def test_views_are_made_once_and_again_only_when_a_label_image_changed(labelled, tmp_path):
    copy = write_labelled(tmp_path / "copy", number=2)
    images = find_labelled(copy)
    first = [path.stat().st_mtime_ns for path in prepare_micrographs(images, tmp_path / "fields", progress=False)]
    assert [
        path.stat().st_mtime_ns for path in prepare_micrographs(images, tmp_path / "fields", progress=False)
    ] == first
    label = copy / "labels" / "m0.mrc"
    later = label.stat().st_mtime + 100
    import os

    os.utime(label, (later, later))
    again = [path.stat().st_mtime_ns for path in prepare_micrographs(images, tmp_path / "fields", progress=False)]
    assert again[0] != first[0]
    assert again[1] == first[1]


def test_a_cache_gives_no_views_of_another_data_set_of_the_same_name(tmp_path):
    one = write_labelled(tmp_path / "one" / "set", number=2)
    other = write_labelled(tmp_path / "other" / "set", number=2)
    with mrcfile.open(other / "micrographs" / "m0.mrc", mode="r+") as mrc:
        mrc.data[:] = -mrc.data
    prepare_micrographs(find_labelled(one), tmp_path / "cache", progress=False)  # newer than both sets
    cached, fresh = (
        [TrainingMicrograph.load(path) for path in prepare_micrographs(find_labelled(other), tmp_path / name, False)]
        for name in ("cache", "fresh")
    )
    for have, want in zip(cached, fresh):
        np.testing.assert_array_equal(have.view, want.view)


def test_an_inverted_simulated_micrograph_is_seen_as_the_others_are(tmp_path):
    folder = write_labelled(tmp_path / "set", number=2)
    with mrcfile.open(folder / "micrographs" / "m0.mrc") as mrc:
        pixels = np.array(mrc.data)
    with mrcfile.new(folder / "micrographs" / "m1.mrc", overwrite=True) as mrc:
        mrc.set_data(-pixels)
        mrc.voxel_size = 4.0
    (folder / "truth").mkdir()
    (folder / "truth" / "m1.json").write_text(json.dumps({"config": {"inverted": True}}))
    plain, inverted = (
        TrainingMicrograph.load(path)
        for path in prepare_micrographs(find_labelled(folder), tmp_path / "f", progress=False)
    )
    assert np.allclose(plain.view, inverted.view, atol=0.01)


def field(rows=300, columns=500):
    rng = np.random.default_rng(1)
    labels = np.zeros((-(-rows // 8), -(-columns // 8)), np.uint8)
    labels[2:4, 3:5] = SUPPORT
    spectrum = rng.normal(size=(len(FEATURES), -(-rows // 16), -(-columns // 16))).astype(np.float16)
    return TrainingMicrograph("m", rng.normal(size=(rows, columns)).astype(np.float16), spectrum, labels)


@pytest.mark.parametrize("size", [(304, 512), (96, 80), (1200, 704), (1600, 960)])
def test_views_spectra_and_labels_of_a_crop_belong_together(size):
    """Also where a field is smaller than a crop, or longer on one side: by a random pattern of cells of 64 Å."""
    item = field(*size)
    rng = np.random.default_rng(2)
    pattern = rng.integers(0, 2, item.spectrum.shape[1:])
    item.spectrum[:] = pattern
    for array, step in ((item.view, 16), (item.labels, 2)):
        array[:] = np.kron(pattern, np.ones((step, step)))[: array.shape[0], : array.shape[1]]
    item.labels[:] *= SUPPORT
    cropper = Cropper("m", item)
    for _ in range(12):
        crop = cropper.cut(rng)
        margin = (crop.view.shape[0] - 8 * crop.labels.shape[0]) // 2
        cells = crop.view[margin:-margin, margin:-margin][4::8, 4::8] > 0.5
        known = crop.labels != LEFT_OUT
        assert known.any()
        assert torch.equal(cells[known], (crop.labels == SUPPORT)[known])
        wide = (crop.spectrum[0] > 0.5).repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert torch.equal(wide[known], cells[known])


def test_most_crops_of_a_precious_field_hold_its_small_bad_area():
    rng = np.random.default_rng(3)
    shares = []
    for seek in (False, True):
        cropper = Cropper("m", field(3000, 3000), seek)
        shares.append(np.mean([bool((cropper.cut(rng).labels == SUPPORT).any()) for _ in range(200)]))
    assert shares[0] < 0.15
    assert 0.6 < shares[1] < 0.9


@pytest.mark.parametrize("length, side", [(600, 640), (1000, 768)], ids=["whole, filled up", "a part of it"])
def test_crops_are_seeded_and_all_views_have_the_right_shape(length, side):
    cropper = Cropper("m", field(length, length))

    def made(seed):
        rng = np.random.default_rng(seed)
        return views_of_crops([cropper.cut(rng), cropper.cut(rng)], AugmentConfig(), rng)

    (first, labels, weights), (second, *_), (other, *_) = made(5), made(5), made(6)
    assert first["context"].shape == (2, 2, side, side)
    assert first["spectrum"].shape == (2, len(FEATURES), side // 16, side // 16)
    assert labels.shape == weights.shape == (2, side // 8, side // 8)
    assert torch.equal(first["context"], second["context"])
    assert not torch.equal(first["context"], other["context"])


def test_a_small_bad_area_counts_for_more_than_its_cells_and_clean_ones_all_alike():
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = SUPPORT  # half of the field
    labels[3:6, 3:6] = labels[20:21, 20:21] = CLASSES.index("contamination")
    labels[30:34, 3:9] = LEFT_OUT
    weights = weights_of(labels)
    assert (weights[(labels == 0) | (labels == LEFT_OUT) | (labels == SUPPORT)] == 1).all()
    assert weights[20, 20] == weights.max() <= 4
    assert (weights[3:6, 3:6] == weights[4, 4]).all()
    assert 1 < weights[4, 4] < weights[20, 20]


@pytest.mark.parametrize("length, kept", [(300.0, 1.0), (1000.0, 0.5), (4000.0, 0.04)])
def test_a_high_passed_crop_has_lost_half_at_the_length_it_was_passed_at(length, kept):
    """Away from its edges."""
    x = torch.arange(832) * 4.0
    wave = torch.cos(2 * torch.pi * x / length).expand(832, 832)
    passed = high_passed(wave, 1000.0)
    share = (passed * wave)[250:-250, 250:-250].mean() / wave.square()[250:-250, 250:-250].mean()
    assert float(share) == pytest.approx(kept, abs=0.04)


def test_some_crops_are_high_passed_and_some_very_noisy_and_what_stands_out_is_made_anew(monkeypatch):
    passed = []
    monkeypatch.setattr(crops, "high_passed", lambda *values: passed.append(1) or high_passed(*values))
    item = field(640, 640)
    cropper = Cropper("m", item)
    rng = np.random.default_rng(0)
    still = AugmentConfig(noise=0, scale=0, shift=0, spectrum_dropout=0)
    views, _, _ = views_of_crops([cropper.cut(rng) for _ in range(60)], still, rng)
    without = torch.isnan(views["spectrum"]).flatten(1).all(1)
    assert 1 <= int(without.sum()) <= 15
    assert 1 <= len(passed) <= 30
    for context, relative in zip(views["context"][without], views["relative"][without]):
        pair = torch.stack([relative[0].flatten(), relative_statistics(context[0])[0].flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.9


def test_the_loss_leaves_out_what_nobody_knows_and_takes_any_class_for_bad():
    classes = ["good", "thick", "support"]
    logits = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(logits[0, :, 0], dim=0)
    labels = torch.tensor([[[0, SUPPORT, CLASSES.index(BAD), LEFT_OUT]]])
    expected = -(torch.log(p[0, 0]) + torch.log(p[2, 1]) + torch.log(p[1, 2] + p[2, 2])) / 3
    assert torch.allclose(map_loss(logits, labels, classes), expected, atol=1e-5)
    nothing = torch.tensor([[[LEFT_OUT, CLASSES.index(BORDER), CLASSES.index("aggregate"), LEFT_OUT]]])
    assert map_loss(logits, nothing, classes) == 0


def test_mistakes_are_one_line_and_exit_2(labelled, tmp_path, capsys):
    output = tmp_path / "model"
    namesake = write_labelled(tmp_path / "other" / "set", number=2)
    for more, reason in (
        (["--crops", "1", "2"], "needs 1 number above 0"),
        (["--hold-out", "absent"], "absent"),
        (["--good", "x.star"], "label images"),
        (["--contrast", "bright"], "does not use --contrast"),
        (["--simulated", str(labelled), str(namesake)], "two folders of one name"),
    ):
        assert main(arguments(labelled, output, *more, epochs=1)) == 2
        assert reason in capsys.readouterr().err


def test_a_label_image_of_another_field_is_refused(tmp_path):
    folder = write_labelled(tmp_path / "set", number=2)
    with mrcfile.open(folder / "labels" / "m1.mrc", mode="r+") as labels:
        labels.voxel_size = 16.0
    with pytest.raises(ImageError, match="its micrograph 24 × 24"):
        prepare_micrographs(find_labelled(folder), tmp_path / "fields", progress=False)


def test_a_training_on_other_data_does_not_go_on_from_what_was_kept(tmp_path, monkeypatch, capsys):
    labelled = write_labelled(tmp_path / "set")

    def stopped(self, number, progress):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number, progress)

    epoch = training.UNetRun.epoch
    monkeypatch.setattr(training.UNetRun, "epoch", stopped)
    assert main(arguments(labelled, tmp_path / "model", epochs=2)) == 130
    monkeypatch.undo()
    capsys.readouterr()
    with mrcfile.open(labelled / "labels" / "m1.mrc", mode="r+") as labels:
        labels.data[:8, :8] = SUPPORT
    assert main(arguments(labelled, tmp_path / "model", epochs=2)) == 0
    said = capsys.readouterr().out
    assert "its data differ" in said
    assert "going on" not in said


@pytest.mark.parametrize("code, kind", [(0, "bad"), (SUPPORT, "good")])
def test_nothing_is_trained_where_nothing_is_bad_or_nothing_good(tmp_path, capsys, code, kind):
    folder = write_labelled(tmp_path / "set", number=3)
    for path in (folder / "labels").glob("*.mrc"):
        with mrcfile.open(path, mode="r+") as labels:
            labels.data[:] = code
    assert main(arguments(folder, tmp_path / "model")) == 2
    assert f"on its training micrographs is labelled {kind}" in capsys.readouterr().err


def test_weights_that_run_away_are_said_in_one_line(labelled, tmp_path, monkeypatch, capsys):
    def away(self, number, progress):
        for values in self.averaged.parameters():
            values.data.fill_(torch.nan)
        return 0.0

    monkeypatch.setattr(training.UNetRun, "epoch", away)
    assert main(arguments(labelled, tmp_path / "model")) == 2
    assert "give a smaller --learning-rate" in capsys.readouterr().err


def test_small_sets_are_trained_on_whole_and_held_out_ones_never():
    many = TrainingSet("many", [Path(f"a{index}.npz") for index in range(20)])
    few = TrainingSet("few", [Path(f"b{index}.npz") for index in range(4)], crops=5)
    split = split_micrographs([many, few], TrainConfig.make(validation=0.5, hold_out=["a1*", "b2.mrc"]))
    assert {name for name, part in split.items() if part == "test"} == {
        "few/b2",
        *(f"many/a{number}" for number in (1, *range(10, 20))),
    }
    assert [split[f"few/b{index}"] for index in (0, 1, 3)] == ["train"] * 3
    assert sum(part == "validation" for part in split.values()) == 4  # half of the nine others
    with pytest.raises(SettingsError, match="b7"):
        split_micrographs([few], TrainConfig.make(hold_out=["b7"]))
    with pytest.raises(SettingsError, match="at least two"):
        split_micrographs([few], TrainConfig.make(hold_out=["b[0-2]"]))


@pytest.mark.parametrize("seed", range(8))
def test_training_and_validation_have_good_and_bad_labels_if_the_micrographs_allow_it(seed):
    many = TrainingSet("many", [Path(f"a{index}.npz") for index in range(12)])
    config = TrainConfig.make(seed=seed)
    labels = {name: {False} for name in many.names}
    assert split_micrographs([many], config) == split_micrographs([many], config, dict.fromkeys(labels, {False, True}))
    split = split_micrographs([many], config, {**labels, "many/a0": {True}, "many/a1": {True}})
    assert {split["many/a0"], split["many/a1"]} == {"train", "validation"}


@pytest.fixture(scope="module")
def coordinates(labelled, tmp_path_factory):
    """A few places that a user labelled: the other way round, so that there is something to learn."""
    folder = tmp_path_factory.mktemp("coordinates")
    rng = np.random.default_rng(4)
    rows = {"good": [], "bad": []}
    for index in range(4):
        for label, left, right in (("bad", 8, 100), ("good", 140, 184)):
            rows[label] += [(f"m{index}.mrc", rng.integers(left, right), rng.integers(8, 184)) for _ in range(8)]
    for label, places in rows.items():
        table = pd.DataFrame(places, columns=["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"])
        write_star(folder / f"{label}.star", table)
    micrographs = sorted(map(str, (labelled / "micrographs").glob("*.mrc")))
    picks = ["--good", str(folder / "good.star"), "--bad", str(folder / "bad.star")]
    return [*picks, "--micrographs", *micrographs]


def test_fine_tuning_moves_only_the_last_layer_and_learns_from_few_places(model, coordinates, tmp_path, capsys):
    tuned = tmp_path / "tuned"
    command = ["train", *coordinates, "--from", str(model), "--output", str(tuned), "--device", "cpu"]
    assert main([*command, "--no-background", "--hold-out", "m3"]) == 0
    config = load_config(tuned)
    assert config.network == "unet"
    assert config.views[-1].kind == "texture"
    assert config.metrics["test_auc"] > 0.9
    old, new = (load_detector(folder).network.state_dict() for folder in (model, tuned))
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {"head.weight", "head.bias"}
    wider = new["head.weight"][:, old["head.weight"].shape[1] :]
    assert wider.shape[1] == TEXTURE_CHANNELS and bool(wider.any())
    # Each labelled place is predicted once, by a layer that was fitted without its micrograph.
    assert config.trained_on["validation"].startswith("cross-validation over 3 micrographs")
    assert (config.metrics["validation_good"], config.metrics["validation_bad"]) == (24, 24)
    assert (config.metrics["test_good"], config.metrics["test_bad"]) == (8, 8)
    chosen = config.trained_on["last layer"]
    assert "cross-validated log loss over 3 micrographs: combined" in chosen
    assert f"- last layer: {chosen}" in (tuned / "card.md").read_text(encoding="utf-8")
    assert main(["evaluate", "--model", str(tuned), *coordinates, "--no-background", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert f"last layer: {chosen}" in said.out + said.err and "auc" in said.out


def test_a_tuned_model_can_be_tuned_again(model, coordinates, tmp_path):
    """Its last layer reads the texture already."""
    before = model
    for name in ("once", "twice"):
        command = ["train", *coordinates, "--from", str(before), "--output", str(tmp_path / name), "--device", "cpu"]
        assert main([*command, "--no-background", "--hold-out", "m3"]) == 0
        before = tmp_path / name
    once, twice = (load_config(tmp_path / name) for name in ("once", "twice"))
    assert once.network_options == twice.network_options
    assert twice.metrics["before_auc"] == once.metrics["test_auc"] > 0.9


def test_a_tuned_model_keeps_how_much_sessions_differ(model, coordinates, tmp_path):
    """One project does not tell."""
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    shutil.copytree(model, base)
    config = json.loads((base / "model.json").read_text(encoding="utf-8"))
    (base / "model.json").write_text(json.dumps({**config, "offset_tolerance": 5.5}), encoding="utf-8")
    write_sums(base)
    command = ["train", *coordinates, "--from", str(base), "--output", str(tuned), "--device", "cpu"]
    assert main([*command, "--no-background"]) == 0
    assert load_config(tuned).offset_tolerance == 5.5


def test_a_tuned_model_says_what_it_was_like_before_and_whether_it_got_worse(model, coordinates, tmp_path, capsys):
    """These labels are the other way round: the model that it started from has them all wrong."""
    tuned, back = tmp_path / "tuned", tmp_path / "back"
    command = ["train", *coordinates, "--no-background", "--hold-out", "m3", "--device", "cpu"]
    assert main([*command, "--from", str(model), "--output", str(tuned)]) == 0
    said = capsys.readouterr()
    assert "before tuning: auc 0.0" in said.out
    assert "ranked these positions better" not in said.err + said.out
    assert load_config(tuned).metrics["before_auc"] < 0.1
    assert "before tuning" in (tuned / "card.md").read_text(encoding="utf-8")
    # Now the labels of the held-out micrograph are as the model has learned them, those to tune on are not.
    tables = {name: read_picks(Path(coordinates[place])).table for name, place in (("good", 1), ("bad", 3))}
    for name, other in (("good", "bad"), ("bad", "good")):
        parts = [tables[name][tables[name]["rlnMicrographName"] != "m3.mrc"]]
        parts.append(tables[other][tables[other]["rlnMicrographName"] == "m3.mrc"])
        write_star(tmp_path / f"{name}.star", pd.concat(parts, ignore_index=True))
    wrong = ["--good", str(tmp_path / "good.star"), "--bad", str(tmp_path / "bad.star"), *coordinates[4:]]
    command = ["train", *wrong, "--no-background", "--hold-out", "m3", "--device", "cpu"]
    assert main([*command, "--from", str(model), "--output", str(back)]) == 0
    said = capsys.readouterr()
    assert "the model before fine-tuning ranked these positions better (AUC 1.000" in said.err + said.out


def test_hundreds_of_places_on_one_bad_micrograph_do_not_spoil_the_others(model, tmp_path):
    """Nothing in the features says why that micrograph is bad: a crystal all over looks like ice."""
    from cryoice_scipion.core.config import TrainConfig
    from cryoice_scipion.core.training.fine_tuning import fit_head, load_base
    from cryoice_scipion.core.training.patches.fit import bad_log_odds, predict

    rng = np.random.default_rng(0)
    size = load_base(str(model)).network.head.weight.shape[1]
    direction = rng.normal(size=size)

    def places(name, number, bad, shift):
        features = np.abs(rng.normal(size=(number, size))) + 0.5 * shift * direction
        return features.astype(np.float32), pd.DataFrame(
            {"micrograph": name, "label": ["bad" if bad else "good"] * number}
        )

    parts = [places(f"m{i}", 8, bad, 1.0 if bad else -1.0) for i in range(6) for bad in (True, False)]
    parts.append(places("all bad", 800, True, -1.0))
    table = pd.concat([part for _, part in parts], ignore_index=True)
    table["split"] = np.where(table["micrograph"].isin(["m4", "m5"]), "validation", "train")
    views = {"embedding": np.concatenate([features for features, _ in parts])}
    fitted = fit_head(views, table, TrainConfig(base=str(model)), "cpu", print, False)
    fresh = {"embedding": places("others", 400, False, -1.0)[0]}
    odds = bad_log_odds(torch.from_numpy(predict(fitted.network, fresh, np.arange(400), "cpu"))).numpy()
    assert (odds > 0).mean() < 0.3  # .98, were each place worth as much as another


def test_what_is_nearly_silent_in_a_few_places_does_not_decide_where_it_is_loud(model):
    """A feature that a few good places show, faintly, and that bad places elsewhere show clearly."""
    from cryoice_scipion.core.config import TrainConfig
    from cryoice_scipion.core.training.fine_tuning import fit_head, load_base
    from cryoice_scipion.core.training.patches.fit import bad_log_odds, predict

    rng = np.random.default_rng(0)
    size = load_base(str(model)).network.head.weight.shape[1]
    direction = rng.normal(size=size)

    def places(number, bad, silent):
        features = np.abs(rng.normal(size=(number, size))) + (0.5 if bad else -0.5) * direction
        features[:, 0] = silent
        return features.astype(np.float32)

    few = [(places(12, True, 0.0), "bad"), (places(36, False, 0.0), "good")]
    few[1][0][::4, 0] = 0.02
    labels = [label for features, label in few for _ in features]
    table = pd.DataFrame({"micrograph": [f"m{i % 6}" for i in range(len(labels))], "label": labels})
    table["split"] = np.where(np.arange(len(labels)) % 4 == 1, "validation", "train")
    views = {"embedding": np.concatenate([features for features, _ in few])}
    fitted = fit_head(views, table, TrainConfig(base=str(model)), "cpu", print, False)
    fresh = {"embedding": places(400, True, 10.0)}
    odds = bad_log_odds(torch.from_numpy(predict(fitted.network, fresh, np.arange(400), "cpu"))).numpy()
    assert (odds > 0).mean() > 0.8  # .05, were each feature measured by its own spread


def test_a_model_is_tuned_as_what_it_is(model, coordinates, tmp_path, capsys):
    for words in (["--from", str(model), "--network", "patch_spectrum"], ["--from", "spots"]):
        assert main(["train", *coordinates, *words, "--output", str(tmp_path / "x")]) == 2
        assert "start from a trained model, and leave --network out" in capsys.readouterr().err


def test_fine_tuning_needs_micrographs_not_patches(model, coordinates, tmp_path, capsys):
    patches = tmp_path / "patches"
    assert main(["patches", "--output", str(patches), *coordinates]) == 0
    command = ["train", "--patches", str(patches), "--from", str(model), "--output", str(tmp_path / "x")]
    assert main(command) == 2
    assert "give the micrographs and coordinates" in capsys.readouterr().err
