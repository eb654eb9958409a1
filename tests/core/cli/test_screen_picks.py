# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule for picks through the command line: margins, diameters, classes, and what the record says."""

import json

import gemmi
import mrcfile
import numpy as np
import pytest
from random_model import write_random_model

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.workers.local_executor import LocalExecutor

SIDE, PIXEL = 256, 4.0


class HalfBad:
    """A detector for which the left half is support and a patch on the right is thick ice."""

    def __init__(self, config):
        self.config = config.model_copy(update={"classes": ["good", "support", "thick"], "pick_threshold": None})

    def map(self, image, pixel_size, border, inverted):
        logits = np.zeros((3, 32, 32), np.float32)
        logits[1:] = -12
        logits[1, :, :16] = 12
        logits[2, 10:13, 24:27] = 12
        return ClassMap(logits, np.zeros((32, 32), bool), self.config.classes, 32.0, 0.0)


@pytest.fixture
def screen(tmp_path, monkeypatch):
    """Return what screens one micrograph with picks on a line across it, and returns which are kept."""
    model = write_random_model(tmp_path / "model")
    loaded = LocalExecutor.load(model, "cpu")
    monkeypatch.setattr(
        LocalExecutor, "load", lambda path, device: LocalExecutor(HalfBad(loaded.model), "half", device)
    )
    with mrcfile.new(tmp_path / "mic.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32))
        mrc.voxel_size = PIXEL
    rows = "".join(f"{x} 90 mic.mrc\n" for x in range(2, SIDE, 4))
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
    (tmp_path / "picks.star").write_text(head + rows)
    runs = iter(range(99))

    def run(*options):
        output = tmp_path / f"run{next(runs)}"
        command = ["screen", str(tmp_path / "mic.mrc"), "--coordinates", str(tmp_path / "picks.star")]
        assert main([*command, "--output", str(output), "--model", str(model), *map(str, options)]) == 0
        block = gemmi.cif.read(str(output / "coordinates" / "kept.star"))[0]
        return {float(x) for x in block.find_loop("_rlnCoordinateX")}, output

    return run


def test_a_larger_margin_or_diameter_or_threshold_keeps_fewer_and_only_some_of_the_same(screen):
    steps = [screen("--particle-diameter", 100, "--margin", margin)[0] for margin in (0, 50, 100, 200)]
    assert all(more < less for less, more in zip(steps, steps[1:]))
    wide = [screen("--particle-diameter", size)[0] for size in (50, 150, 400)]
    assert all(more < less for less, more in zip(wide, wide[1:]))
    cuts = [screen("--particle-diameter", 100, "--threshold", cut)[0] for cut in (-1, 0, 0.5, 1)]
    assert len(cuts[0]) == len(cuts[1]) == SIDE // 4 > len(cuts[2]) > 0 and cuts[3] == set()


def test_the_margin_is_measured_from_the_particles_edge(screen):
    kept, _ = screen("--particle-diameter", 100, "--margin", 80)
    film = [x for x in kept if x < 180]  # the film ends at 512 Å
    assert min(film) * PIXEL == pytest.approx(512 + 50 + 80, abs=16 + 2 * PIXEL)


def test_classes_have_margins_of_their_own_and_can_be_ignored(screen):
    every, _ = screen("--particle-diameter", 60)
    far_from_film, _ = screen("--particle-diameter", 60, "--margin", "support=150")
    assert {x for x in every - far_from_film if x > 190} == set()
    assert any(x < 175 for x in every - far_from_film)
    anything, output = screen("--particle-diameter", 60, "--ignore", "support", "--ignore", "thick")
    assert len(anything) == SIDE // 4
    assert read_map(output / "masks" / "mic.mrc")[0].all()
    assert read_map(output / "probability" / "mic.mrc")[0].max() > 0.99  # the map is what the model says
    without_patch, output = screen("--particle-diameter", 60, "--min-area", 100)  # the patch has 92 nm²
    assert without_patch > every and min(without_patch - every) > 180
    assert json.loads((output / "summary.json").read_text())["areas"].keys() == {"good", "support"}


def test_the_record_says_which_diameter_was_used_and_why(screen):
    for options, diameter, origin in (
        (("--particle-diameter", 90), 90.0, "setting"),
        (("--box-size", 30), 80.0, "two thirds of the box size"),
    ):
        summary = json.loads((screen(*options)[1] / "summary.json").read_text())
        assert (summary["particle_diameter"], summary["diameter_from"]) == (diameter, origin)


@pytest.mark.parametrize(
    "options, words",
    [
        (("--margin", "wide"), "is not a number of Å; give for example 50 or support=100"),
        (("--margin", "carbon=50"), "unknown class carbon; the classes of bad area are crystalline"),
        (("--ignore", "good"), "unknown class good"),
        (("--margin", "-5"), "margin"),
        (("--particle-diameter", "nan"), "particle_diameter"),
    ],
)
def test_options_that_make_no_sense_are_one_line(screen, capsys, options, words):
    with pytest.raises(AssertionError):
        screen(*options)
    assert words in capsys.readouterr().err


def test_many_coordinates_outside_the_frame_are_a_warning_with_the_remedy(screen, capsys):
    _, output = screen("--particle-diameter", 60, "--coordinates-pixel-size", 8)  # the right half is outside then
    (warning,) = [line for line in json.loads((output / "summary.json").read_text())["warnings"] if "outside" in line]
    assert warning.startswith("32 of 64 coordinates lie outside the frame: check the pixel size of the coordinates")
    assert warning in " ".join(capsys.readouterr().err.split())
    _, output = screen("--particle-diameter", 60)
    assert "outside" not in (output / "summary.json").read_text()
