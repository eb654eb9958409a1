# SPDX-License-Identifier: GPL-3.0-or-later
"""Training learns what can be learned, from one seed, and never across a micrograph."""

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from cryoice_scipion.core.config import AugmentConfig, ModelConfig, PatchConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.choice import kind_to_train, views_of
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import write_sums
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.augment import augment
from cryoice_scipion.core.training.patches.fit import allowed_classes, bad_log_odds, classes_of, fit, loss_of, predict
from cryoice_scipion.core.training.patches.train import as_sessions, baseline_logit
from cryoice_scipion.core.training.splits import split_micrographs
from cryoice_scipion.core.views.patch_spectrum import coarse_view, local_view
from cryoice_scipion.core.views.spectrum_features import FEATURES, feature_frequencies

QUICK = TrainConfig(epochs=8, patience=8, batch=32, width=4, learning_rate=5e-3)


def fringes(number, seed):
    """Patches of noise, every second one with fringes: only their spectrum tells."""
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(number, 64, 64)).astype(np.float32)
    labels = np.where(np.arange(number) % 2, "bad", "good")
    x = np.arange(64)
    for patch in real[1::2]:
        patch += np.cos(2 * np.pi * rng.uniform(10, 25) * x / 64 + rng.uniform(0, 6)).astype(np.float32)
    table = pd.DataFrame({"label": labels, "copy": 0, "micrograph": [f"m{i % 6}" for i in range(number)]})
    table["micrograph"] = [f"m{(i // 2) % 6}" for i in range(number)]
    table["split"] = np.where(table["micrograph"].isin(["m0", "m1"]), "validation", "train")
    return real, table


def test_learns_and_is_reproducible():
    real, table = fringes(240, 0)
    runs = [fit({"patch": real}, table, QUICK, "cpu", print, progress=False) for _ in range(2)]
    assert runs[0].history[-1]["validation_auc"] > 0.95
    assert runs[0].history == runs[1].history
    assert np.array_equal(*(predict(run.network, {"patch": real}, np.arange(8), "cpu") for run in runs))


def test_interrupt_keeps_the_best_weights(monkeypatch):
    """Ctrl-C in the fourth epoch ends training; of the three before, the first was the best."""
    from cryoice_scipion.core.training.patches import fit as module

    real, table = fringes(120, 0)
    calls = []
    validate = module._Run.validate

    def interrupting(patches, config, generator):
        calls.append(1)
        if len(calls) > 3 * 3:  # 80 patches in batches of 32
            raise KeyboardInterrupt
        return augment(patches, config, generator)

    def rising(run, rows, bad):
        found = validate(run, rows, bad)
        return {**found, "validation_loss": found["validation_loss"] + 10.0 * (len(calls) > 3)}

    monkeypatch.setattr(module, "augment", interrupting)
    monkeypatch.setattr(module._Run, "validate", rising)
    said = []
    fitted = fit({"patch": real}, table, QUICK, "cpu", said.append, progress=False)
    assert fitted.interrupted
    assert len(fitted.history) == 3
    assert any("interrupted" in line for line in said)
    rows = np.flatnonzero(table["split"] == "validation")
    allowed = torch.from_numpy(allowed_classes(table["label"].iloc[rows].tolist(), fitted.classes))
    loss = float(loss_of(torch.from_numpy(predict(fitted.network, {"patch": real}, rows, "cpu")), allowed))
    assert loss == pytest.approx(fitted.history[0]["validation_loss"], rel=1e-5)


@pytest.mark.parametrize("contrast, inverted, bright", [("dark", False, False), ("dark", True, True)])
def test_the_reference_level_sees_inverted_micrographs_as_their_patches_were_cut(tmp_path, contrast, inverted, bright):
    with mrcfile.new(tmp_path / "m.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    places = pd.DataFrame(columns=["x", "y", "label", "origin"])
    micrograph = LabelledMicrograph(str(tmp_path / "m.mrc"), "m", 4.0, places, inverted=inverted)
    seen = []

    class Detector:
        def map(self, image, pixel_size, border, is_bright):
            seen.append(is_bright)
            logits = np.stack([np.zeros((2, 2)), np.full((2, 2), -3.0)]).astype(np.float32)
            return ClassMap(logits, np.zeros((2, 2), bool), ["good", "bad"], 32.0, 0.0)

    config = TrainConfig(patches=PatchConfig(contrast=contrast))
    assert baseline_logit(Detector(), [micrograph], config, None, print, progress=False) == -3.0
    assert seen == [bright]


def test_interrupt_before_the_first_epoch_makes_no_model(monkeypatch):
    from cryoice_scipion.core.training.patches import fit as module

    real, table = fringes(24, 0)
    monkeypatch.setattr(module, "augment", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit({"patch": real}, table, QUICK, "cpu", print, progress=False)


def test_a_rate_at_which_the_weights_run_away_is_one_line():
    real, table = fringes(24, 0)
    with pytest.raises(SettingsError, match="--learning-rate"):
        fit({"patch": real}, table, QUICK.model_copy(update={"learning_rate": 1e30}), "cpu", print, progress=False)


def test_bad_of_unknown_kind_can_be_any_bad_class():
    classes = classes_of(["good", "bad", "support", "thick"])
    assert classes == ["good", "thick", "support"]
    table = allowed_classes(["good", "support", "bad"], classes)
    assert table.tolist() == [[True, False, False], [False, False, True], [False, True, True]]
    assert classes_of(["good", "bad"]) == ["good", "bad"]


def test_loss_is_cross_entropy_where_one_class_is_allowed():
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    target = torch.arange(10) % 3
    allowed = torch.nn.functional.one_hot(target, 3).bool()
    assert loss_of(logits, allowed) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)), rel=1e-5)
    assert loss_of(logits, torch.ones(10, 3, dtype=torch.bool)) == pytest.approx(0.0, abs=1e-6)


def patches_table(counts):
    rows = [
        (stem, label)
        for stem, (good, bad) in counts.items()
        for label, n in (("good", good), ("bad", bad))
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=["micrograph", "label"])


def test_split_has_both_labels_on_both_sides_and_never_shares_a_micrograph():
    table = patches_table({f"m{i}": (10, 5 if i in (2, 7) else 0) for i in range(10)})
    split = split_micrographs(table, 0.25, [], seed=1)
    assert {split["m2"], split["m7"]} == {"train", "validation"}
    assert split == split_micrographs(table, 0.25, [], seed=1)


def test_held_out_micrographs_are_only_tested():
    table = patches_table({f"m{i}": (5, 5) for i in range(5)})
    split = split_micrographs(table, 0.25, ["m3.mrc"], seed=0)
    assert [stem for stem, name in split.items() if name == "test"] == ["m3"]
    split = split_micrographs(table, 0.25, ["m[12]*"], seed=0)
    assert [stem for stem, name in split.items() if name == "test"] == ["m1", "m2"]
    with pytest.raises(SettingsError, match="m9"):
        split_micrographs(table, 0.25, ["m9"], seed=0)


def test_one_micrograph_cannot_be_split():
    with pytest.raises(SettingsError, match="two micrographs"):
        split_micrographs(patches_table({"m": (20, 20)}), 0.25, [], seed=0)


def test_sessions_of_their_own_are_compared_at_one_level():
    """Two sessions whose clean level differs by 6: taken together they cannot be told apart, as sessions they can."""
    table = pd.DataFrame({"micrograph": ["a"] * 20 + ["b"] * 20, "label": (["good"] * 10 + ["bad"] * 10) * 2})
    odds = np.where(table["label"] == "bad", 3.0, 0.0) + np.where(table["micrograph"] == "b", 6.0, 0.0)
    level = as_sessions(odds, table, np.ones(40, dtype=bool))
    bad = (table["label"] == "bad").to_numpy()
    assert odds[bad].min() < odds[~bad].max()
    assert level[bad].min() > level[~bad].max()


def test_augmentation_is_seeded_and_keeps_values_without_noise():
    patches = torch.randn(6, 64, 64)
    config = AugmentConfig(noise=0.0, scale=0.0, shift=0.0)
    once, again = (augment({"patch": patches}, config, torch.Generator().manual_seed(4))["patch"] for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(once.flatten(1).sort(dim=1).values, patches.flatten(1).sort(dim=1).values)
    inverting = AugmentConfig(noise=0.0, scale=0.0, shift=0.0, invert=True)
    inverted = augment({"patch": patches}, inverting, torch.Generator().manual_seed(4))["patch"]
    signs = (inverted / once).flatten(1).mean(dim=1).round().tolist()
    assert set(signs) == {-1.0, 1.0}


def test_all_views_of_a_patch_are_changed_alike():
    """Views of a changed field are the changed views of the field, but for what the edges of a patch hide."""
    generator = torch.Generator().manual_seed(1)
    fields = torch.randn(8, 256, 256, generator=generator) + torch.linspace(-2, 2, 256)
    middle = slice(96, 160)
    batch = {
        "patch": fields[:, middle, middle],
        "local": torch.stack([local_view(field) for field in fields])[:, middle, middle],
        "coarse": coarse_view(fields),
    }
    changed = augment(batch, AugmentConfig(noise=0.0, invert=True), torch.Generator().manual_seed(4))
    whole = augment({"patch": fields}, AugmentConfig(noise=0.0, invert=True), torch.Generator().manual_seed(4))["patch"]
    assert torch.allclose(changed["patch"], whole[:, middle, middle], atol=1e-5)
    assert torch.allclose(changed["coarse"], coarse_view(whole), atol=0.02)  # it has a floor under the deviation
    assert torch.allclose(changed["local"], torch.stack([local_view(f) for f in whole])[:, middle, middle], atol=2e-3)


def test_noise_keeps_the_local_view_normalised():
    fields = torch.randn(40, 128, 128, generator=torch.Generator().manual_seed(1)) * 0.3
    local = torch.stack([local_view(field) for field in fields])[:, 32:96, 32:96]
    batch = {"patch": fields[:, 32:96, 32:96], "local": local}
    noisy = augment(batch, AugmentConfig(noise=1.0), torch.Generator().manual_seed(0))
    assert float(noisy["local"].std()) == pytest.approx(1.0, abs=0.03)
    assert not torch.allclose(noisy["local"], local, atol=0.1)


def test_spectra_are_cut_at_the_limits_of_coarser_pixels_or_left_out():
    spectrum = torch.zeros(2000, len(FEATURES))
    batch = {"patch": torch.zeros(2000, 8, 8), "spectrum": spectrum}
    cut = augment(batch, AugmentConfig(spectrum_dropout=0.4), torch.Generator().manual_seed(0))["spectrum"]
    known = torch.isfinite(cut)
    assert 0.33 < float((~known.all(dim=1)).float().mean()) < 0.47
    assert 0.08 < float((~known.any(dim=1)).float().mean()) < 0.18
    order = feature_frequencies().argsort()
    assert (known[:, order].long().diff(dim=1) <= 0).all()  # never a hole below what is known
    whole = augment(batch, AugmentConfig(spectrum_dropout=0.0), torch.Generator().manual_seed(0))["spectrum"]
    assert torch.isfinite(whole).all()


def test_the_patch_spectrum_network_learns_what_only_the_spectrum_tells_and_does_without():
    rng = np.random.default_rng(0)
    real, table = fringes(600, 0)
    spectrum = rng.normal(size=(600, len(FEATURES))).astype(np.float32)
    spectrum[1::2, 46:54] += 3.0
    spectrum[::5] = np.nan  # too coarse for any
    config = QUICK.model_copy(update={"network": "patch_spectrum", "views": ["spectrum"], "epochs": 16})
    fitted = fit({"patch": 0 * real, "spectrum": spectrum}, table, config, "cpu", print, progress=False)
    rows = np.flatnonzero(table["split"] == "validation")
    odds = bad_log_odds(torch.from_numpy(predict(fitted.network, {"spectrum": spectrum}, rows, "cpu"))).numpy()
    bad, known = (table["label"].iloc[rows] == "bad").to_numpy(), np.isfinite(spectrum[rows, 0])
    assert measure(1 / (1 + np.exp(-odds[known])), bad[known], 0.5)["auc"] > 0.9
    assert np.isfinite(odds).all()
    assert odds[~known].std() < 1e-4  # without a spectrum all are alike


def test_a_training_takes_network_and_views_of_the_model_it_starts_from(tmp_path):
    assert kind_to_train(TrainConfig()).name == "patch_fft"
    assert views_of(TrainConfig()) == ["patch", "fft"]
    assert views_of(TrainConfig(network="patch_spectrum")) == ["patch", "local", "spectrum"]
    assert views_of(TrainConfig(network="patch_spectrum", views=["fft"])) == ["spectrum"]
    assert views_of(TrainConfig(network="patch_spectrum", views=["spectrum", "patch"])) == ["patch", "spectrum"]
    with pytest.raises(SettingsError, match="patch, fft"):
        views_of(TrainConfig(views=["local"]))
    base = ModelConfig(name="b", network="patch_spectrum", views=[ViewConfig(), ViewConfig(kind="spectrum")])
    (tmp_path / "model.json").write_text(base.to_text())
    (tmp_path / "weights.safetensors").write_bytes(b"")
    write_sums(tmp_path)
    assert kind_to_train(TrainConfig(base=str(tmp_path))).name == "patch_spectrum"
    assert views_of(TrainConfig(base=str(tmp_path))) == ["patch", "spectrum"]
    with pytest.raises(SettingsError, match="not patch_fft"):
        kind_to_train(TrainConfig(base=str(tmp_path), network="patch_fft"))
