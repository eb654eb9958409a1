# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from scipy import ndimage

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.simulation.canvas import sample_labels
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.contaminants import KINDS
from cryoice_scipion.core.simulation.scene import render, simulate

EXPECTED = {
    "thick": "thick", "single": "crystalline", "poly": "crystalline", "vacuum": "vacuum", "carbon": "support",
    "gold": "support", "aggregate": "aggregate", "ethane": "contamination", "frost": "contamination",
    "dirt": "contamination",
}  # fmt: skip


def config(**values):
    return SceneConfig(**{"rows": 512, "columns": 640, "pixel_size": 4.0, "defocus_um": 1.0, **values})


def test_every_kind_has_a_class():
    assert set(EXPECTED) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_labelled_as_its_class_over_about_the_area_asked_for(kind):
    labels = simulate(config(kinds=[kind], areas=[0.2]), np.random.default_rng(3)).labels
    shares = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    assert shares[0] + shares[CLASSES.index(EXPECTED[kind])] == pytest.approx(1)
    assert 0.04 < shares[CLASSES.index(EXPECTED[kind])] < 0.5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("carbon", "gold")])
def test_the_image_changes_where_the_label_is_and_nowhere_else(kind):
    clean = render(config(), np.random.default_rng(5))
    drawn = render(config(kinds=[kind], areas=[0.2]), np.random.default_rng(5))
    window = (slice(0, drawn.geometry.fine[0]), slice(0, drawn.geometry.fine[1]))
    bad = sample_labels(drawn.canvas.labels, drawn.canvas.step, window, drawn.geometry.sampling) != 0
    change = np.abs(drawn.intensity - clean.intensity)
    away = ndimage.distance_transform_edt(~bad) * drawn.geometry.sampling
    top, left = (int(1.5 * margin) for margin in drawn.geometry.margin)  # beyond, the transform's periods meet
    recorded = (slice(top, top + 768), slice(left, left + 960))
    change, away, bad = change[recorded], away[recorded], bad[recorded]
    assert (change[away > 250] > 0.03).mean() < 0.002
    assert (change[bad] > 0.03).mean() > 10 * (change[away > 250] > 0.03).mean()


@pytest.mark.parametrize("kind", ["carbon", "gold"])
def test_a_film_is_darker_than_the_hole(kind):
    scene = simulate(config(kinds=[kind], areas=[0.4], coverage=0), np.random.default_rng(2))
    film = scene.labels == CLASSES.index("support")
    assert scene.pixels[film].mean() < 0.97 * scene.pixels[~film].mean()


def test_vacuum_is_brighter_than_ice():
    scene = simulate(config(kinds=["vacuum"], areas=[0.3], coverage=0), np.random.default_rng(2))
    vacuum = scene.labels == CLASSES.index("vacuum")
    assert scene.pixels[vacuum].mean() == pytest.approx(40 * 16, rel=0.03)
    assert scene.pixels[~vacuum].mean() < 0.95 * scene.pixels[vacuum].mean()


@pytest.mark.parametrize(
    "kind, hanging_over", [("ethane", 0), ("aggregate", 0), ("poly", 0), ("frost", 0.5), ("dirt", 0.5)]
)
def test_nothing_floats_in_vacuum(kind, hanging_over):
    empty = simulate(config(kinds=["vacuum"], areas=[0.35]), np.random.default_rng(2)).labels == CLASSES.index("vacuum")
    deep = ndimage.binary_erosion(empty, iterations=60)  # 240 Å from where a heap may begin
    assert deep.mean() > 0.05
    labels = simulate(config(kinds=["vacuum", kind], areas=[0.35, 0.4]), np.random.default_rng(2)).labels
    on_it = labels == CLASSES.index(EXPECTED[kind])
    assert on_it[deep].mean() < 0.02 + hanging_over * on_it[~empty].mean()


@pytest.mark.parametrize("kind", ["ethane", "aggregate", "poly"])
def test_what_was_in_the_ice_is_gone_where_the_ice_is(kind):
    scene = simulate(config(kinds=["vacuum", kind], areas=[0.35, 0.4]), np.random.default_rng(2))
    counts = scene.pixels[ndimage.binary_erosion(scene.labels == CLASSES.index("vacuum"), iterations=60)]
    assert counts.mean() == pytest.approx(40 * 16, rel=0.01)
    assert (np.abs(counts - 40 * 16) > 6 * np.sqrt(40 * 16)).mean() < 0.001


def spectrum(image, k_low, k_high):
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
    k = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None, :])
    return np.where((k > k_low) & (k < k_high), power, 0), k


@pytest.mark.parametrize("kind", ["single", "poly"])
def test_crystalline_ice_has_its_spots_at_lattice_spacings(kind):
    settings = config(
        rows=512, columns=512, pixel_size=1.0, coverage=0, kinds=[kind], areas=[1.0], b_factor=20, drift=0, dose=60
    )
    clean = settings.model_copy(update={"kinds": [], "areas": []})
    found = []
    for seed in range(4):
        power, k = spectrum(simulate(settings, np.random.default_rng(seed)).pixels, 0.23, 0.40)
        ground, _ = spectrum(simulate(clean, np.random.default_rng(seed)).pixels, 0.23, 0.40)
        if power.max() > 3 * ground.max():
            found.append(1 / k.ravel()[power.argmax()])
    assert len(found) >= 2
    for spacing in found:
        assert min(abs(spacing - d) for d in (3.90, 3.67, 3.44, 2.67)) < 0.08


def test_fringes_that_the_pixels_cannot_carry_are_not_drawn():
    drawn = render(config(kinds=["single"], areas=[1.0]), np.random.default_rng(0))
    assert drawn.canvas.detail is None


@pytest.mark.parametrize("kind, least", [("ethane", 0.02), ("frost", 0.01)])  # of the intensity
def test_there_is_something_to_be_seen_near_every_place_that_is_labelled(kind, least):
    shares = []
    for seed in range(8):
        clean = render(config(defocus_um=2), np.random.default_rng(seed))
        drawn = render(config(defocus_um=2, kinds=[kind], areas=[0.3]), np.random.default_rng(seed))
        window = (slice(0, drawn.geometry.fine[0]), slice(0, drawn.geometry.fine[1]))
        bad = sample_labels(drawn.canvas.labels, drawn.canvas.step, window, drawn.geometry.sampling) != 0
        change = np.abs(drawn.intensity - clean.intensity)
        near = ndimage.maximum_filter(change, size=int(350 / drawn.geometry.sampling)) > least
        shares.append(near[bad].mean())
    assert min(shares) > 0.999


def test_a_huge_crystal_is_dark_with_a_bright_fringe_that_belongs_to_it():
    drawn = {"huge": 700.0, "coverage": 0, "dose": 400.0}
    with_it, without = (simulate(config(**{**drawn, **more}), np.random.default_rng(4)) for more in ({}, {"huge": 0.0}))
    bad = with_it.labels == CLASSES.index("contamination")
    assert 0.3 * 700**2 * np.pi < bad.sum() * 16 < 2.5 * 700**2 * np.pi
    assert not without.labels.any()
    change = ndimage.uniform_filter(with_it.pixels - without.pixels, 5) / without.pixels.mean()
    assert change[bad].min() < -0.15
    assert change[bad].max() > 0.02
    assert np.abs(change[ndimage.distance_transform_edt(~bad) > 60]).max() < 0.05
