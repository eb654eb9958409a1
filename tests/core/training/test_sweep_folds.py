# SPDX-License-Identifier: GPL-3.0-or-later
"""What the trials of a sweep leave out: whole data sources, under the names that each trainer uses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_unet_training import write_labelled

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.patches.patch_set import PatchSet
from cryoice_scipion.core.training.sources import Sources
from cryoice_scipion.core.training.sweep.folds import Scored, groups_of, score_settings
from cryoice_scipion.core.training.trainers import TrainRequest
from cryoice_scipion.core.training.unet.training_sets import TrainingSet, split_micrographs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two data sets whose micrographs have the same names."""
    folder = tmp_path_factory.mktemp("folds")
    for seed, name in enumerate(("one", "two")):
        write_labelled(folder / name, number=3, seed=seed)
    return [folder / "one", folder / "two"]


def request_for(network, output, **values):
    config = TrainConfig.make(network=network, epochs=1, width=4, batch=2, learning_rate=0.01)
    return TrainRequest(config, output, progress=False, **values)


def test_the_names_are_those_of_the_trainer(folders, tmp_path):
    sources = Sources(simulated=folders, per_class=4)
    assert groups_of(request_for("unet", tmp_path, sources=sources)) == {
        "one": ["one/m0", "one/m1", "one/m2"],
        "two": ["two/m0", "two/m1", "two/m2"],
    }
    assert groups_of(request_for("patch_fft", tmp_path, sources=sources)) == {
        "one": ["m0", "m1", "m2"],
        "two": ["m0_2", "m1_2", "m2_2"],
    }


def test_patch_sets_are_sources_and_a_single_one_is_divided_by_its_bad_patches(tmp_path):
    labels = [("a", 1), ("b", 9), ("c", 5), ("d", 7)]
    table = pd.concat(
        pd.DataFrame({"micrograph": name, "label": ["bad"] * bad + ["good"] * 3}) for name, bad in labels
    ).assign(x=0.0, y=0.0, origin="coordinate", sampling=4.0, copy=0)
    for name in ("p/set", "q/set"):
        PatchSet(np.zeros((len(table), 64, 64), np.float32), table.reset_index(drop=True), 4.0).save(tmp_path / name)
    sets = [tmp_path / "p" / "set", tmp_path / "q" / "set"]
    assert groups_of(request_for("patch_fft", tmp_path, patch_sets=sets)) == {
        "set": ["b", "d", "c", "a"],
        "set_2": ["b_2", "d_2", "c_2", "a_2"],
    }
    single = groups_of(request_for("patch_fft", tmp_path, patch_sets=sets[:1]))
    assert single == {"set part 1": ["b", "a"], "set part 2": ["d"], "set part 3": ["c"]}
    mixed = request_for("patch_fft", tmp_path, patch_sets=sets, sources=Sources(simulated=[tmp_path]))
    with pytest.raises(SettingsError, match="--patches: cannot be mixed"):
        groups_of(mixed)
    with pytest.raises(SettingsError, match="labelled data: none given"):
        groups_of(request_for("patch_fft", tmp_path))


def test_set_and_stem_hold_out_one_of_several_micrographs_of_a_name():
    sets = [TrainingSet(name, [Path(f"m{index}.npz") for index in range(3)]) for name in ("one", "two")]
    split = split_micrographs(sets, TrainConfig.make(hold_out=["one/m0"]))
    assert [name for name, part in split.items() if part == "test"] == ["one/m0"]
    with pytest.raises(SettingsError, match="no labelled micrograph is called three/m0"):
        split_micrographs(sets, TrainConfig.make(hold_out=["three/m0"]))


def test_settings_are_scored_on_each_source_by_a_training_without_it(folders, tmp_path):
    sources = Sources(simulated=folders, per_class=4)
    seen = []
    request = request_for("patch_fft", tmp_path / "model", sources=sources)
    groups = groups_of(request)
    settings = {"width": 2, "batch": 32, "patches.jitter_copies": 0}
    scored = score_settings(
        request, settings, groups, tmp_path / "work", lambda *given: seen.append((given[0], len(given[2])))
    )
    assert list(scored.sources) == ["one", "two"]
    assert scored.score == pytest.approx(np.mean(list(scored.sources.values())))
    assert seen == [("one", 0), ("two", 1)]
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "model").exists()


def test_a_source_without_bad_positions_does_not_count():
    assert Scored({"one": 0.8, "two": float("nan"), "three": 0.6}).score == pytest.approx(0.7)
    with pytest.raises(SettingsError, match="no left-out source has both good and bad positions"):
        _ = Scored({"one": float("nan")}).score
