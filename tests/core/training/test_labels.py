# SPDX-License-Identifier: GPL-3.0-or-later
"""Labelled patches: the right places, the right labels, nothing lost silently."""

import dataclasses
import shutil

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.config import PatchConfig, TrainConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph
from cryoice_scipion.core.formats.coordinates import PickTable, write_star
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.training.patches.background import draw_background
from cryoice_scipion.core.training.patches.joining import join
from cryoice_scipion.core.training.patches.patch_set import PatchSet, cut_patches
from cryoice_scipion.core.training.points import cell_labels, from_coordinates, from_label_images
from cryoice_scipion.core.training.sources import Sources
from cryoice_scipion.core.training.trainers import TrainRequest
from cryoice_scipion.core.views.micrograph import micrograph_spectra
from cryoice_scipion.core.views.spectrum_features import FEATURES


def write_mrc(path, pixels, pixel_size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(pixels)
        mrc.voxel_size = pixel_size
    return path


def noise(shape=(600, 700), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def table(rows, source="t"):
    names = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    return PickTable(pd.DataFrame(rows, columns=names), source=source)


def labelled(path, points, **values):
    frame = pd.DataFrame(points, columns=["x", "y", "label"]).assign(origin="coordinate")
    return LabelledMicrograph(str(path), path.stem, None, frame, **values)


def test_patch_is_cut_around_its_coordinate(tmp_path):
    pixels = noise()
    pixels[300:320, 400:420] += 40.0  # a 40 Å square around x = 410, y = 310 at 2 Å/px
    path = write_mrc(tmp_path / "a.mrc", pixels, 2.0)
    config = PatchConfig(background=False, jitter_copies=0)
    patches = cut_patches([labelled(path, [(410, 310, "bad"), (100, 100, "good")])], config, progress=False)
    by_label = dict(zip(patches.table["label"], patches.real))
    y, x = np.unravel_index(by_label["bad"].argmax(), (64, 64))
    assert abs(y - 32) <= 5
    assert abs(x - 32) <= 5
    assert by_label["good"].max() < 8


def test_places_outside_the_frame_or_on_a_border_are_left_out_and_counted(tmp_path):
    pixels = noise()
    pixels[:, :80] = 0.0
    path = write_mrc(tmp_path / "a.mrc", pixels, 2.0)
    points = [(300, 300, "good"), (-5, 20, "good"), (300, 600, "bad"), (20, 300, "bad")]
    patches = cut_patches([labelled(path, points)], PatchConfig(background=False, jitter_copies=0), progress=False)
    assert len(patches.real) == 1
    assert any("2 coordinates outside the frame" in line for line in patches.messages)
    assert any("1 coordinate on the border" in line for line in patches.messages)


@pytest.mark.parametrize("views", [["patch"], ["patch", "spectrum"]])
def test_a_micrograph_without_a_position_left_does_not_stop_the_others(tmp_path, views):
    one, two = (write_mrc(tmp_path / name, noise(), 2.0) for name in ("a.mrc", "b.mrc"))
    items = [labelled(one, [(-5, 20, "good")]), labelled(two, [(300, 300, "bad")])]
    patches = cut_patches(items, PatchConfig(background=False), views=views, progress=False)
    assert set(patches.table["micrograph"]) == {"b"}
    assert patches.messages == ["a: 1 coordinate outside the frame left out"]


def test_places_beyond_the_most_of_a_micrograph_are_counted(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise(), 2.0)
    config = PatchConfig(background=False, jitter_copies=0, max_per_micrograph=2)
    patches = cut_patches([labelled(path, [(300, y, "good") for y in (100, 200, 300)])], config, progress=False)
    assert (len(patches.real), patches.messages) == (2, ["a: 1 coordinate beyond 2 left out, at random"])


def test_rare_bad_ones_are_not_thinned_out_with_the_good_ones(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise(), 2.0)
    places = [(300, 100 + i, "good") for i in range(40)] + [(200, 100 + i, "bad") for i in range(4)]
    config = PatchConfig(background=False, jitter_copies=0, max_per_micrograph=10)
    patches = cut_patches([labelled(path, places)], config, progress=False)
    assert patches.counts() == {"coordinate bad": 4, "coordinate good": 6}


def test_a_broken_micrograph_does_not_stop_the_rest(tmp_path):
    whole = write_mrc(tmp_path / "a.mrc", noise(), 2.0)
    broken = tmp_path / "b.mrc"
    broken.write_bytes(whole.read_bytes()[:5000])
    points = [(300, 300, "good")]
    config = PatchConfig(background=False, jitter_copies=0)
    patches = cut_patches([labelled(broken, points), labelled(whole, points)], config, progress=False)
    assert patches.table["micrograph"].tolist() == ["a"]
    assert any("b.mrc" in line for line in patches.messages)


def test_backgrounds_are_good_and_are_drawn_on_clean_micrographs_where_there_are_any(tmp_path):
    one, two = (write_mrc(tmp_path / name, noise((900, 900), i), 3.0) for i, name in enumerate(("a.mrc", "b.mrc")))
    items = [labelled(one, [(400, 400, "good")] * 6), labelled(two, [], clean=True)]
    patches = cut_patches(items, PatchConfig(jitter_copies=0), progress=False)
    background = patches.table[patches.table["origin"] == "background"]
    assert set(background["micrograph"]) == {"b"}
    assert set(background["label"]) == {"good"}
    everywhere = cut_patches(items[:1], PatchConfig(jitter_copies=0), progress=False)
    assert (everywhere.table["origin"] == "background").sum() == 6


def test_background_keeps_away_from_coordinates_and_from_what_stands_out():
    view = torch.randn(1200, 1200, generator=torch.Generator().manual_seed(0))
    view[:300] += 3.0  # a region unlike the rest
    taken = np.array([[700.0, 700.0]])
    bad = np.array([[700.0, 700.0]])
    inside = torch.ones(1200, 1200, dtype=torch.bool)
    places = draw_background(view, inside, taken, bad, 500, 64, np.random.default_rng(0))
    assert len(places) > 100
    assert np.hypot(*(places - bad[0]).T).min() > 50
    assert places[:, 1].min() > 290


def test_label_cells_are_pure_or_left_out():
    codes = np.zeros((40, 40), dtype=np.uint8)
    codes[:, 20:] = CLASSES.index("support")
    codes[:10, :4] = CLASSES.index("thick")
    cells = cell_labels(codes, 10)
    assert cells[2, 0] == 0
    assert cells[2, 3] == CLASSES.index("support")
    assert cells[0, 0] == -1  # 40 % thick: neither good nor bad
    codes[30:, :5] = 127  # nobody is sure
    assert cell_labels(codes, 10)[3, 0] == -1


def test_label_images_give_places_of_every_class(tmp_path):
    codes = np.zeros((120, 150), dtype=np.int8)  # 8 Å/px
    codes[:, 90:] = CLASSES.index("crystalline")
    write_mrc(tmp_path / "micrographs/s.mrc", noise((480, 600)), 2.0)
    write_mrc(tmp_path / "labels/s.mrc", codes, 8.0)
    write_star(tmp_path / "good.star", table([("micrographs/s.mrc", 50, 50), ("micrographs/other.mrc", 9, 9)]).table)
    (item,) = from_label_images(tmp_path, per_class=5, seed=0)
    points = item.points
    assert item.pixel_size == pytest.approx(2.0)
    assert points["label"].value_counts().to_dict() == {"good": 11, "crystalline": 5}
    assert points[points["origin"] == "particle"][["x", "y"]].to_numpy().tolist() == [[50, 50]]
    assert (points[points["label"] == "crystalline"]["x"] > 340).all()
    assert (points[points["label"] == "good"]["x"] < 370).all()


def test_coordinates_of_unknown_micrographs_are_counted():
    tasks = [MicrographTask(1, "x/a.mrc", "a")]
    good, bad = table([("a.mrc", 1, 1), ("zz.mrc", 2, 2)]), table([("a_DW.mrc", 3, 3)])
    (item,) = from_coordinates(tasks, good, bad)
    assert item.points["label"].tolist() == ["good", "bad"]
    assert any("1 good coordinate belongs" in line and "zz" in line for line in good.warnings)
    with pytest.raises(SettingsError, match="no bad coordinate"):
        from_coordinates(tasks, good, table([("zz.mrc", 2, 2)]))
    with pytest.raises(SettingsError, match="empty.star: holds no bad coordinate; label bad places"):
        from_coordinates(tasks, good, table([], "empty.star"))


def test_a_column_names_the_kind_of_bad():
    bad = table([("a.mrc", 1, 1), ("a.mrc", 2, 2), ("a.mrc", 3, 3)])
    bad.table["cryoiceClass"] = ["support", "good", "nonsense"]
    (item,) = from_coordinates([MicrographTask(1, "a.mrc", "a")], table([("a.mrc", 9, 9)]), bad)
    assert item.points["label"].tolist() == ["good", "support", "bad", "bad"]


@pytest.mark.parametrize(("header", "given", "scale"), [(3.0, None, 0.5), (1.5, None, 1.0), (1.5, 3.0, 1.0)])
def test_coordinates_at_another_pixel_size_are_scaled_as_in_a_screening(tmp_path, header, given, scale):
    pixels = noise()
    pixels[300:320, 400:420] += 40.0
    path = write_mrc(tmp_path / "a.mrc", pixels, header)
    good, bad = table([("a.mrc", 100, 100), ("a.mrc", 50, 50)]), table([("a.mrc", 410 / scale, 310 / scale)])
    bad.table["cryoicePixelSize"] = 1.5  # Å/px: of the file of coordinates
    items = from_coordinates([MicrographTask(1, str(path), "a", given)], good, bad)
    patches = cut_patches(items, PatchConfig(background=False, jitter_copies=0), progress=False)
    assert patches.table[["x", "y"]].to_numpy().tolist() == [[100, 100], [50, 50], [410, 310]]
    assert "cryoicePixelSize" not in patches.table
    y, x = np.unravel_index(patches.real[2].argmax(), (64, 64))
    assert abs(y - 32) <= 8 and abs(x - 32) <= 8


def test_a_micrograph_of_two_sources_has_one_name_and_another_one_of_that_name_has_its_own(tmp_path):
    found = []
    for seed, folder in enumerate(("one", "two")):
        path = write_mrc(tmp_path / folder / "micrographs/s.mrc", noise(seed=seed), 2.0)
        codes = np.zeros((150, 175), dtype=np.int8)
        codes[:, 90:] = CLASSES.index("crystalline")
        write_mrc(tmp_path / folder / "labels/s.mrc", codes, 8.0)
        found.append(path.parents[1])
    found.append(shutil.copytree(found[0], tmp_path / "copy of one"))  # written anew, its header has another time
    assert [item.stem for item in Sources(simulated=found).labelled(0)] == ["s", "s_2", "s"]
    (tmp_path / "link").symlink_to(found[0])
    twice = Sources(simulated=[*found, tmp_path / "link"])
    assert len(twice.labelled(0)) == 3 and twice.messages == [f"{tmp_path}/link: is given more than once and used once"]


def test_a_patch_set_that_is_given_by_two_paths_is_used_once(tmp_path):
    (tmp_path / "link").symlink_to("patches")
    said = []
    given = [tmp_path / name for name in ("patches", "link", "other", "other")]
    request = TrainRequest(TrainConfig(name="t"), tmp_path / "model", patch_sets=given, warn=said.extend)
    assert request.patch_sets == [tmp_path / "patches", tmp_path / "other"]
    assert said == [f"{tmp_path / name}: is given more than once and used once" for name in ("link", "other")]


def test_half_of_the_sources_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="belong together"):
        Sources(good=tmp_path).labelled(0)
    with pytest.raises(SettingsError, match="none given"):
        Sources().labelled(0)


def test_clean_micrographs_alone_are_an_error(tmp_path):
    with pytest.raises(SettingsError, match="goes with --good"):
        Sources(clean=[str(tmp_path)], simulated=[tmp_path]).labelled(0)


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = write_mrc(tmp_path / "0007.mrc", noise(), 2.0)
    cut_patches([labelled(path, [(300, 300, "good")])], PatchConfig(background=False), progress=False).save(tmp_path)
    assert set(PatchSet.load(tmp_path).table["micrograph"]) == {"0007"}


def test_patch_set_survives_the_folder(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise(), 2.0)
    patches = cut_patches(
        [labelled(path, [(300, 300, "good"), (200, 200, "bad")])], PatchConfig(background=False), progress=False
    )
    assert len(patches.real) == 4  # two places, and their copies at another sampling
    patches.save(tmp_path / "set")
    again = PatchSet.load(tmp_path / "set")
    assert np.array_equal(again.real, patches.real)
    assert again.table["label"].tolist() == patches.table["label"].tolist()
    assert np.load(tmp_path / "set/fft.npy").shape == (4, 64, 64)
    both = join([again, patches])
    assert both.counts() == {"coordinate bad": 2, "coordinate good": 2}
    assert set(both.table["micrograph"]) == {"a"}  # so that it is not both trained and validated on
    other = write_mrc(tmp_path / "other/a.mrc", noise(seed=1), 2.0)
    more = cut_patches([labelled(other, [(300, 300, "good")])], PatchConfig(background=False), progress=False)
    older = dataclasses.replace(again, contents={})  # of a version that did not store them
    joined = join([again, more, patches, more, older, older])
    assert list(joined.table.groupby("micrograph").size().items()) == [("a", 8), ("a_2", 4), ("a_3", 4), ("a_4", 4)]
    (tmp_path / "set/patches.csv").unlink()
    with pytest.raises(SettingsError, match="no patch set"):
        PatchSet.load(tmp_path / "set")


def test_patches_hold_the_views_of_the_patch_spectrum_network(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise((900, 800)), 1.5)
    points = [(10.5 * 64 / 1.5, 7.5 * 64 / 1.5, "good"), (700, 60, "bad")]  # the first is the centre of a cell
    config = PatchConfig(background=False)
    patches = cut_patches([labelled(path, points)], config, progress=False)
    assert {kind: array.shape for kind, array in patches.further.items()} == {
        "local": (4, 64, 64),
        "coarse": (4, 2, 64, 64),
        "spectrum": (4, len(FEATURES)),
    }
    image = load_micrograph(str(path)).image
    grid = micrograph_spectra(image, 1.5, np.zeros(image.shape, dtype=bool), torch.device("cpu")).map()
    assert np.allclose(patches.further["spectrum"][0], grid[:, 7, 10].numpy(), atol=1e-4, equal_nan=True)
    # A copy at a jittered sampling is of the same frequencies: they are Å⁻¹, whatever the context view looks at.
    assert np.array_equal(patches.further["spectrum"][2], patches.further["spectrum"][0], equal_nan=True)
    patches.save(tmp_path / "set")
    again = PatchSet.load(tmp_path / "set")
    for kind, array in patches.further.items():
        assert np.array_equal(again.further[kind], array, equal_nan=True)
    seed_only = cut_patches([labelled(path, points)], config, progress=False, views=["patch", "fft"])
    assert np.array_equal(seed_only.real, patches.real)
    assert join([again, seed_only]).further == {}
    with pytest.raises(SettingsError, match="no local and no spectrum view"):
        seed_only.views(["patch", "local", "spectrum"])
