# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark that decides on a model: it runs on a small build folder and says where a classical map is better."""

import sys
from pathlib import Path

import mrcfile
import numpy as np
from random_model import write_random_model

from cryoice_scipion.constants import CLASSES

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import evaluate_maps  # noqa: E402
from evaluation_page import below_classical, page  # noqa: E402


def write_build(folder, names=("sim_0001", "sim_0002", "sim_0003", "sim_0120"), drawn="sim_1.5"):
    """Simulated sets by name only: noise whose left half is dark and labelled thick, but on the first."""
    rng = np.random.default_rng(0)
    for kind in ("micrographs", "labels"):
        (folder / drawn / kind).mkdir(parents=True)
    for name in names:
        pixels, codes = rng.normal(size=(256, 256)).astype(np.float32), np.zeros((128, 128), dtype=np.int8)
        if name != names[0]:
            pixels[:, :128] -= 1.0
            codes[:, :64] = CLASSES.index("thick")
        for kind, array, sampling in (("micrographs", pixels, 4.0), ("labels", codes, 8.0)):
            with mrcfile.new(folder / drawn / kind / f"{name}.mrc") as mrc:
                mrc.set_data(array)
                mrc.voxel_size = sampling
    return folder


def test_it_says_where_the_model_is_below_a_classical_map(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_maps, "SHARED", tmp_path / "nowhere")
    build, model = write_build(tmp_path / "build"), write_random_model(tmp_path / "model")
    result = evaluate_maps.evaluate(str(model), build, "cpu", None, 20)
    assert list(result["groups"]) == ["simulated, held out"]
    group = result["groups"]["simulated, held out"]
    assert group["model"]["micrographs"] == 3  # the one that is trained on is left out
    assert set(group["classical"]) == {"− local mean", "local deviation", "Mahalanobis"}
    assert group["classical"]["− local mean"]["by_class"]["thick"]["auc"]["value"] > 0.95
    assert any(text.startswith("thick by − local mean") for text in below_classical(group))
    text = page(result)
    assert "| thick" in text and "false-positive area" in text and "ECE" in text


def test_a_limit_is_of_all_simulated_micrographs_together(tmp_path):
    build = write_build(tmp_path / "build")
    assert [len(data.images) for data in evaluate_maps.simulated_sets(build, 2)] == [2]
    assert [len(data.images) for data in evaluate_maps.simulated_sets(build, None)] == [3]


def test_what_is_simulated_for_the_evaluation_alone_is_a_group_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_maps, "SHARED", tmp_path / "nowhere")
    build, model = write_build(tmp_path / "build"), write_random_model(tmp_path / "model")
    write_build(build, drawn="vacuum_1.6")
    groups = evaluate_maps.evaluate(str(model), build, "cpu", None, 20)["groups"]
    numbers = {name: group["model"]["micrographs"] for name, group in groups.items()}
    assert numbers == {"simulated, held out": 3, "simulated, vacuum": 4}
