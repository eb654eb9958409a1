# SPDX-License-Identifier: GPL-3.0-or-later
"""The spot test is a detector like any other, and a model without weights."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, resolve_model
from cryoice_scipion.core.detectors.spots import FALSE_ALARMS, FLOOR, SpotDetector, log_odds
from cryoice_scipion.core.images.writing import write_map
from cryoice_scipion.core.maps import bad_area, session_baseline
from cryoice_scipion.core.records import MapResult
from cryoice_scipion.core.workers.local_executor import LocalExecutor
from cryoice_scipion.core.workers.worker import problems


def noise(rows=900, columns=1100, seed=0):
    return np.random.default_rng(seed).normal(100, 10, (rows, columns)).astype(np.float32)


def with_crystal(image, spacing=3.67, contrast=0.01):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    wave = np.cos(2 * np.pi * (0.8 * x + 0.6 * y) / spacing)
    return (image + 100 * contrast * wave * (x > 500)).astype(np.float32)


def detector():
    found = load_detector(resolve_model("spots"))
    assert isinstance(found, SpotDetector)
    return found


def test_the_shipped_folder_is_a_model():
    folder = resolve_model("spots")
    config = load_config(folder)
    assert config.sampling == 64 and config.classes == ["good", "crystalline"]
    assert len(fingerprint(folder)) == 16
    assert problems("spots", "cpu") == []
    assert LocalExecutor.load(folder, "cpu").fingerprint == fingerprint(folder)


def test_a_map_of_a_crystal_and_of_none():
    image = with_crystal(noise(), contrast=0.03)
    border = np.zeros(image.shape, dtype=bool)
    border[:, -120:] = True
    image[:, -120:] = 100
    result = detector().map(image, 1.0, border, False)
    assert result.logits.shape == (2, 15, 18) and result.flags == []
    bad = bad_area.probability(result, 0.0)
    assert (bad[:, 10:15] > 0.99).all()
    assert (bad[:, :4] > 0.5).mean() < 0.05  # the windows of 512 Å reach a quarter of that beyond the crystal
    assert bad[:, 16:].min() == 1  # border
    assert np.array_equal(detector().map(image, 1.0, border, True).logits, result.logits)


def test_half_is_where_one_clean_cell_in_a_thousand_is_called():
    p = np.full((3, 1), np.nan)
    for value, sign in ((FALSE_ALARMS * 1.01, -1), (FALSE_ALARMS * 0.99, 1)):
        p[0] = np.log(value)
        assert np.sign(log_odds(p)[0]) == sign
    assert log_odds(np.full((3, 4), np.nan)) == pytest.approx(FLOOR)
    assert FLOOR == pytest.approx(-3.93, abs=0.05)


def test_a_finer_micrograph_is_cropped_and_found_the_same():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:1024, :1024] * 0.5
    fine = 10 * rng.normal(size=x.shape) + 2 * np.cos(2 * np.pi * (0.8 * x + 0.6 * y) / 3.67)
    result = detector().map(fine.astype(np.float32), 0.5, np.zeros(x.shape, dtype=bool))
    assert result.logits.shape == (2, 8, 8) and (bad_area.probability(result, 0.0) > 0.99).all()


def test_a_data_set_that_is_crystalline_all_over_is_not_shifted_to_clean():
    image = with_crystal(noise(600, 600), contrast=0.05)
    level = detector().map(image, 1.0, np.zeros(image.shape, dtype=bool)).median_logit
    assert np.isnan(level)
    mapped = {k: MapResult([600, 600], 1.0, 64.0, None, 0.0, False, "", "") for k in range(5)}
    assert session_baseline.freeze(mapped, "auto", load_config(resolve_model("spots"))).logit_offset == 0


@pytest.mark.parametrize(
    ("pixel_size", "flag"), [(2.0, "spots_unavailable"), (8.0, "spots_unavailable"), (1.6, "spots_reduced")]
)
def test_coarse_pixels_are_said(pixel_size, flag):
    image = noise(400, 500)
    result = detector().map(image, pixel_size, np.zeros(image.shape, dtype=bool))
    assert result.flags == [flag]
    assert (bad_area.probability(result, 0.0) < 0.5).all() or flag == "spots_reduced"


def test_screening_with_it(tmp_path, capsys):
    for k in range(2):
        write_map(tmp_path / "in" / f"m{k}.mrc", with_crystal(noise(seed=k), contrast=0.03 * k), 1.06)
    out = tmp_path / "out"
    given = ["screen", str(tmp_path / "in" / "*.mrc"), "--output", str(out), "--device", "cpu"]
    assert main([*given, "--model", "spots"]) == 0
    rows = (out / "micrographs.csv").read_text().splitlines()
    assert len(rows) == 3 and "m1" in rows[2]
    assert ScreenConfig(model="spots").model == "spots"
    assert main(["info", "spots"]) == 0
    assert "lattice fringes" in capsys.readouterr().out


def test_it_cannot_be_shown_patches(tmp_path, capsys):
    assert main(["evaluate", "--model", "spots", "--patches", str(tmp_path)]) != 0
    assert "no network" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_cuda():
    image = with_crystal(noise(), contrast=0.01)
    border = np.zeros(image.shape, dtype=bool)
    config = load_config(resolve_model("spots"))
    one, other = (SpotDetector(config, torch.device(name)).map(image, 1.0, border).logits for name in ("cpu", "cuda:0"))
    assert np.abs(one - other).max() < 0.05
