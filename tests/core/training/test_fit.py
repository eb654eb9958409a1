# SPDX-License-Identifier: GPL-3.0-or-later
"""Training learns what can be learned, from one seed, and never across a micrograph."""

import numpy as np
import pandas as pd
import pytest
import torch

from cryoice_scipion.core.config import AugmentConfig, TrainConfig
from cryoice_scipion.core.data.augment import augment
from cryoice_scipion.core.data.splits import split_micrographs
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.fit import allowed_classes, classes_of, fit, loss_of, predict
from cryoice_scipion.core.training.train import as_sessions

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
    runs = [fit(real, table, QUICK, "cpu", print, progress=False) for _ in range(2)]
    assert runs[0].history[-1]["validation_auc"] > 0.95
    assert runs[0].history == runs[1].history
    assert np.array_equal(predict(runs[0].network, real[:8], "cpu"), predict(runs[1].network, real[:8], "cpu"))


def test_interrupt_keeps_the_best_weights(monkeypatch):
    """Ctrl-C in the third epoch ends training; what two epochs gave is kept."""
    from cryoice_scipion.core.training import fit as module

    real, table = fringes(120, 0)
    calls = []

    def interrupting(patches, config, generator):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return augment(patches, config, generator)

    monkeypatch.setattr(module, "augment", interrupting)
    said = []
    fitted = fit(real, table, QUICK, "cpu", said.append, progress=False)
    assert fitted.interrupted
    assert len(fitted.history) >= 1
    assert any("interrupted" in line for line in said)
    rows = (table["split"] == "validation").to_numpy()
    allowed = torch.from_numpy(allowed_classes(table["label"][rows].tolist(), fitted.classes))
    loss = float(loss_of(torch.from_numpy(predict(fitted.network, real[rows], "cpu")), allowed))
    assert loss == pytest.approx(min(row["validation_loss"] for row in fitted.history), rel=1e-5)


def test_interrupt_before_the_first_epoch_makes_no_model(monkeypatch):
    from cryoice_scipion.core.training import fit as module

    real, table = fringes(24, 0)
    monkeypatch.setattr(module, "augment", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(real, table, QUICK, "cpu", print, progress=False)


def test_a_rate_at_which_the_weights_run_away_is_one_line():
    real, table = fringes(24, 0)
    with pytest.raises(SettingsError, match="--learning-rate"):
        fit(real, table, QUICK.model_copy(update={"learning_rate": 1e30}), "cpu", print, progress=False)


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
    once, again = (augment(patches, config, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(once.flatten(1).sort(dim=1).values, patches.flatten(1).sort(dim=1).values)
    inverted = augment(
        patches, AugmentConfig(noise=0.0, scale=0.0, shift=0.0, invert=True), torch.Generator().manual_seed(4)
    )
    signs = (inverted / once).flatten(1).mean(dim=1).round().tolist()
    assert set(signs) == {-1.0, 1.0}
