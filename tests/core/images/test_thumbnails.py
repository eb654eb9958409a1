# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails show what was screened, in its place."""

import numpy as np
import pytest
from PIL import Image

from cryoice_scipion.constants import CLASSES, UNCERTAIN
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images import thumbnails
from cryoice_scipion.core.images.caption import LEAST_WIDTH, Caption, bar_length
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.palette import CLASS_COLOURS, KEPT, REJECTED, rgb

CRYSTALLINE, SUPPORT = CLASSES.index("crystalline"), CLASSES.index("support")
SHAPE, PIXEL_SIZE, SAMPLING = (300, 400), 2.0, 40.0  # 20 px a cell: 15 × 20 cells


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(10, 3, SHAPE).astype(np.float32)


@pytest.fixture
def base(tmp_path, noise):
    path = tmp_path / "base.png"
    thumbnails.write_base(path, thumbnails.grey_base(noise, np.zeros(SHAPE, bool), PIXEL_SIZE))
    return path


def draw(base, cells=None, bad=None, picks=(), **caption):
    """Return the thumbnail as an array; nothing is bad unless said."""
    out = base.with_name("thumbnail.png")
    cells = np.zeros((15, 20), np.uint8) if cells is None else cells
    bad = cells > 0 if bad is None else bad
    areas = thumbnails.BadAreas(cells, bad, SAMPLING)
    thumbnails.draw_thumbnail(base, out, areas, Frame(SHAPE, PIXEL_SIZE), picks, Caption(**caption))
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


def distance(pixels, colour):
    """Return how far each pixel is from a colour, as the sum over the channels."""
    return np.abs(pixels - np.array(rgb(colour))).sum(axis=-1)


@pytest.mark.parametrize("shape", [(2048, 2048), (1025, 1500), (3000, 1024), (64, 64), (1, 7)])
def test_the_base_keeps_the_shape_and_fits_the_side(shape):
    base = thumbnails.grey_base(np.random.default_rng(1).random(shape, np.float32), np.zeros(shape, bool), 1.0)
    assert base.dtype == np.uint8
    assert max(base.shape) == min(1024, max(shape))
    assert base.shape[0] / base.shape[1] == pytest.approx(shape[0] / shape[1], abs=2 / min(base.shape))


def test_row_0_is_at_the_top(tmp_path):
    pixels = np.linspace(1, 0, 2000, dtype=np.float32)[:, None] * np.ones((1, 500), np.float32)
    thumbnails.write_base(tmp_path / "base.png", thumbnails.grey_base(pixels, np.zeros(pixels.shape, bool), 1.0))
    shown = np.asarray(Image.open(tmp_path / "base.png"))
    assert shown[0].min() > 240
    assert shown[-1].max() < 15


def test_the_border_does_not_take_part_in_the_stretch(noise):
    border = np.zeros(SHAPE, bool)
    border[:, :40] = True
    wild = np.where(border, np.float32(1e6), noise)
    inside = thumbnails.grey_base(wild, border, PIXEL_SIZE)[:, 100:]
    assert inside.min() < 30
    assert inside.max() > 225


def test_particles_beside_a_dark_foil_are_seen():
    rng, x = np.random.default_rng(0), np.arange(1024)
    pixels = rng.normal(0, 1, (1024, 1024)).astype(np.float32)
    pixels[:, :400] -= 300  # gold
    particles = (x[:, None] % 64 < 12) & (x[None, :] % 64 < 12) & (x[None, :] > 500)
    grey = thumbnails.grey_base(pixels - 5 * particles, np.zeros(pixels.shape, bool), 5.0).astype(float)
    ice = grey[:, 500:][~particles[:, 500:]]
    assert ice.mean() - grey[particles].mean() > 20, "of 255"
    assert ice.mean() - grey[:, :300].mean() > 40, "the foil is still darker"


def test_a_constant_micrograph_is_plain_grey():
    assert set(thumbnails.grey_base(np.ones((50, 60), np.float32), np.zeros((50, 60), bool), 1.0).ravel()) == {128}


def test_only_bad_areas_are_tinted_each_with_the_colour_of_its_class(base):
    cells = np.full((15, 20), SUPPORT, np.uint8)
    cells[:, :5] = CRYSTALLINE
    bad = np.zeros((15, 20), bool)
    bad[:10, :5], bad[:10, 15:] = True, True
    pixels = draw(base, cells, bad)
    grey = pixels.max(axis=-1) == pixels.min(axis=-1)
    assert not grey[:200, :100].any() and not grey[:200, 300:].any()
    assert grey[:200, 100:300].all() and grey[200:250].all()
    crystal, support = pixels[20:180, 20:80].mean(axis=(0, 1)), pixels[20:180, 320:380].mean(axis=(0, 1))
    assert crystal[2] > crystal[0] + 30, "blue"
    assert support[0] > support[2] + 30, "yellow"


def test_cells_that_reach_over_the_edge_are_shown_in_part(tmp_path):
    shape = (90, 110)  # 2.25 × 2.75 cells of 80 Å at 2 Å/px
    base, out = tmp_path / "base.png", tmp_path / "out.png"
    thumbnails.write_base(base, np.full(shape, 128, np.uint8))
    bad = np.zeros((3, 3), bool)
    bad[2, 2] = True
    areas = thumbnails.BadAreas(bad * np.uint8(CRYSTALLINE), bad, 80.0)
    thumbnails.draw_thumbnail(base, out, areas, Frame(shape, 2.0))
    left = (LEAST_WIDTH - 110) // 2
    shown = np.asarray(Image.open(out).convert("RGB")).astype(int)[:90, left : left + 110]
    tinted = shown.max(axis=-1) != shown.min(axis=-1)
    assert tinted[80:, 80:].all()
    assert tinted.sum() == 10 * 30


def test_kept_and_rejected_picks_are_marked_in_their_places(base):
    pixels = draw(base, picks=[(100, 60, True), (300, 200, False), (-50, 20, True), (5000, 5000, False)])
    kept, rejected = distance(pixels[:250], KEPT) < 60, distance(pixels[:250], REJECTED) < 60
    for marks, x, y in ((kept, 100, 60), (rejected, 300, 200)):
        rows, columns = np.nonzero(marks)
        assert rows.size > 20
        assert (rows.mean(), columns.mean()) == pytest.approx((y, x), abs=1.5)
    assert not kept[60, 100], "a circle leaves the particle to be seen"
    assert rejected[200, 300], "a cross has a centre"


def test_the_legend_names_what_is_shown(base):
    def footer(**options):
        return draw(base, **options)[SHAPE[0] :]

    bare = footer()
    assert footer(title="mic.mrc").sum() < bare.sum(), "ink for the name"
    assert footer(bad_area=0.25).sum() < bare.sum()
    with_picks = footer(picks=[(10, 10, True), (20, 20, False)])
    assert (distance(with_picks, KEPT) == 0).any() and (distance(with_picks, REJECTED) == 0).any()
    with_class = footer(cells=np.full((15, 20), CRYSTALLINE, np.uint8))
    assert (distance(with_class, CLASS_COLOURS["crystalline"]) == 0).sum() > 50


def test_a_long_name_leaves_the_bad_area_readable(base):
    width = SHAPE[1]
    long = draw(base, title="a_very_long_name_" * 20, bad_area=0.5)[SHAPE[0] : SHAPE[0] + 26, width - 100 :]
    short = draw(base, title="a", bad_area=0.5)[SHAPE[0] : SHAPE[0] + 26, width - 100 :]
    assert np.array_equal(long, short)


def test_a_thumbnail_that_cannot_be_drawn_leaves_the_old_one(base):
    before = draw(base)
    out = base.with_name("thumbnail.png")
    base.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="the stored picture cannot be read"):
        draw(base)
    assert np.array_equal(np.asarray(Image.open(out).convert("RGB")), before)
    assert sorted(path.name for path in base.parent.iterdir()) == ["base.png", "thumbnail.png"]


@pytest.mark.parametrize(("width", "scale"), [(1024, 7.08), (494, 8.0), (64, 1.0), (1024, 0.5)])
def test_the_scale_bar_is_a_round_number_that_fits(width, scale):
    length = bar_length(width, scale)
    assert str(length)[0] in "125"
    assert length * 10 / scale <= max(width / 4, 10 / scale)


def test_classes_can_be_told_apart():
    assert set(CLASS_COLOURS) == set(CLASSES) - {"good"} | {UNCERTAIN}
    colours = np.array([rgb(colour) for colour in CLASS_COLOURS.values()])
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 1000 * np.eye(len(colours), dtype=int)
    assert apart.min() > 80
