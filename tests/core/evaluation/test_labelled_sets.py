# SPDX-License-Identifier: GPL-3.0-or-later
"""A labelled data set is evaluated as a screening of it would be, and the command says both tables."""

import json
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
from random_model import write_random_model

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.evaluation.labelled_sets import Settings, evaluate_set
from cryoice_scipion.core.evaluation.labels import find_labelled
from cryoice_scipion.core.evaluation.map_metrics import metrics_of_maps

SIDE, CELL = 256, 32.0  # px of 4 Å; Å
SUPPORT, UNSURE = CLASSES.index("support"), 127


class Darkness:
    """A detector whose log-odds are how dark a cell is, off by a constant; it notes what it is asked."""

    def __init__(self, offset=0.0):
        self.offset, self.asked = offset, []
        self.config = SimpleNamespace(recommended_threshold=0.5, baseline_logit=-2.0, offset_limit=9.0, sampling=CELL)

    def map(self, image, pixel_size, border, inverted):
        self.asked.append(inverted)
        step = int(CELL / pixel_size)
        cells = image.reshape(SIDE // step, step, SIDE // step, step).mean(axis=(1, 3)) * (-1 if inverted else 1)
        logits = np.stack([np.zeros_like(cells), -2.0 + self.offset - 4 * cells]).astype(np.float32)
        outside = border.reshape(SIDE // step, step, SIDE // step, step).mean(axis=(1, 3)) > 0.5
        third = float(np.mean((image - image.mean()) ** 3) / image.std() ** 3)
        return ClassMap(logits, outside, ["good", "bad"], CELL, third)


@pytest.fixture()
def labelled(tmp_path):
    return write_set(tmp_path / "set")


def write_set(folder, number=4, sign=1.0, pixel_size=4.0):
    """A dark, labelled quarter on each; a doubtful strip that is dark too."""
    rng = np.random.default_rng(0)
    for name in ("micrographs", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(number):
        pixels = rng.normal(0, 0.3, (SIDE, SIDE)).astype(np.float32)
        codes = np.zeros((SIDE // 2, SIDE // 2), dtype=np.int8)
        pixels[: SIDE // 2, : SIDE // 2] -= 1.5
        codes[: SIDE // 4, : SIDE // 4] = SUPPORT
        pixels[SIDE // 2 : SIDE // 2 + 16] -= 1.5
        codes[SIDE // 4 : SIDE // 4 + 8] = UNSURE
        for kind, array, sampling in (("micrographs", sign * pixels, pixel_size), ("labels", codes, 2 * pixel_size)):
            with mrcfile.new(folder / kind / f"m{index}.mrc") as mrc:
                mrc.set_data(array.astype(array.dtype if kind == "labels" else np.float32))
                mrc.voxel_size = sampling
    return folder


def evaluated(folder, detector, **settings):
    return list(evaluate_set(detector, find_labelled(folder), Settings(**settings), log=lambda line: None))


def test_a_detector_that_is_right_is_found_right(labelled):
    result = metrics_of_maps([item.counts for item in evaluated(labelled, Darkness())])
    assert result["by_class"]["support"]["auc"]["value"] == 1.0
    assert result["iou"]["value"] == 1.0 and result["false_positive_area"]["value"] == 0.0
    assert result["bad_area_error"]["value"] == 0.0


def test_the_reference_of_the_set_takes_a_constant_off(labelled):
    """Log-odds 5 too high on the whole set: with the reference nothing changes, without it all is called bad."""
    right, shifted = evaluated(labelled, Darkness()), evaluated(labelled, Darkness(offset=5.0))
    assert shifted[0].reference.logit_offset - right[0].reference.logit_offset == pytest.approx(5.0, abs=1e-4)
    assert metrics_of_maps([item.counts for item in shifted]) == metrics_of_maps([item.counts for item in right])
    raw = metrics_of_maps([item.counts for item in evaluated(labelled, Darkness(offset=5.0), reference=0)])
    assert raw["false_positive_area"]["value"] == 1.0


def test_each_micrograph_is_mapped_once_when_the_reference_holds_it(labelled):
    detector = Darkness()
    assert len(evaluated(labelled, detector, contrast="dark")) == 4 and len(detector.asked) == 4
    detector = Darkness()
    assert len(evaluated(labelled, detector, contrast="dark", reference=3)) == 4 and len(detector.asked) == 4


def test_a_bright_set_is_inverted_by_vote(tmp_path):
    result = metrics_of_maps([item.counts for item in evaluated(write_set(tmp_path / "bright", sign=-1.0), Darkness())])
    assert result["by_class"]["support"]["auc"]["value"] == 1.0


def test_a_pixel_size_of_one_is_believed_of_a_data_set(tmp_path):
    images = find_labelled(write_set(tmp_path / "one", number=1, pixel_size=1.0))
    assert images[0].pixel_size == 1.0


def test_a_damaged_micrograph_is_left_out_and_named(labelled):
    (labelled / "micrographs" / "m1.mrc").write_bytes(b"no image")
    said = []
    done = list(evaluate_set(Darkness(), find_labelled(labelled), Settings(), said.append))
    assert [item.image.stem for item in done] == ["m0", "m2", "m3"]
    assert len(said) == 1 and "m1.mrc" in said[0]


def test_only_the_wanted_micrographs_and_none_is_an_error(labelled, tmp_path):
    assert [image.stem for image in find_labelled(labelled, ["m[0-1]", "m3"])] == ["m0", "m1", "m3"]
    with pytest.raises(SettingsError, match="simulate"):
        find_labelled(tmp_path)


def test_the_command_prints_all_tables_and_writes_them(labelled, tmp_path, capsys):
    model = write_random_model(tmp_path / "model")
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n_cryoiceDiameter\n"
    (labelled / "picks.star").write_text(head + "30 30 m0.mrc 20\n200 200 m1.mrc 20\n")
    words = ["evaluate", "--model", str(model), "--simulated", str(labelled), "--per-class", "5", "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "area good: number" in out and "| support" in out and "false-positive area" in out
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["all"]["bad"] > 0  # of patches
    assert written["maps"]["by_class"]["support"]["micrographs"] == 4
    assert [row["micrograph"] for row in written["maps"]["by_micrograph"]] == ["m0", "m1", "m2", "m3"]
    assert {kind: row["picks"] for kind, row in written["maps"]["picks"].items()} == {
        "all on bad area or border": 1, "support": 1, "clean": 1,
    }  # fmt: skip
    assert written["maps"]["sessions"]["set"]["unusual"] is False
    head += "_rlnMicrographPixelSize\n"  # twice that of the micrographs
    (labelled / "picks.star").write_text(head + "15 15 m0.mrc 10 8.0\n100 100 m1.mrc 10 8.0\n")
    assert main([*words, "--output", str(tmp_path / "binned")]) == 0
    binned = json.loads((tmp_path / "binned" / "evaluation.json").read_text())
    assert binned["maps"]["picks"] == written["maps"]["picks"]
    assert "under the centre" in out and "session set: session logit" in out
    assert "| support" in (tmp_path / "out" / "evaluation.md").read_text()
    assert main([*words, "--output", str(tmp_path / "only.json")]) == 0
    assert "maps" in json.loads((tmp_path / "only.json").read_text())
