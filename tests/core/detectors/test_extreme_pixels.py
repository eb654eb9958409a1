# SPDX-License-Identifier: GPL-3.0-or-later
"""Single extreme pixels hardly change the map of the shipped model."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

import cryoice_scipion
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.maps import bad_area
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate

PIXEL_SIZE = 2.0


class Model:
    """The shipped model, and one simulated micrograph with a crystal."""

    def __init__(self, folder):
        self.folder = folder
        self.detector = load_detector(Path(cryoice_scipion.__file__).parent / "models" / "default")
        config = SceneConfig(rows=448, columns=512, pixel_size=PIXEL_SIZE, kinds=["poly"], areas=[0.3])
        self.image = simulate(config, np.random.default_rng(3)).pixels
        self.middle, self.deviation = np.median(self.image), self.image.std()
        self.area, self.probability, _ = self.screen(self.image)

    def screen(self, image):
        with mrcfile.new(self.folder / "a.mrc", overwrite=True) as mrc:
            mrc.set_data(image)
        loaded = load_micrograph(str(self.folder / "a.mrc"), PIXEL_SIZE)
        classmap = self.detector.map(loaded.image, PIXEL_SIZE, loaded.border)
        cells = bad_area.probabilities(classmap, 0.0)
        good = bad_area.good_mask(cells, self.detector.config.recommended_threshold)
        return bad_area.bad_area(cells, good), cells.probability, loaded.flags

    def changed(self, places, height, kind=np.float32):
        image = self.image.copy()
        with np.errstate(over="ignore"):
            for place in places:
                image[place] = self.middle + height * self.deviation
            limits = np.iinfo(kind) if np.issubdtype(kind, np.integer) else None
            image = image if limits is None else np.clip(np.round(image), limits.min, limits.max)
            area, probability, flags = self.screen(image.astype(kind))
        return abs(area - self.area), np.abs(probability - self.probability).mean(), flags


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("extreme"))


@pytest.mark.parametrize(
    ("height", "places", "kind", "flag"),
    [
        (1e2, [(200, 300)], np.float32, None),
        (3e2, [(200, 300)], np.float32, None),
        (1e3, [(200, 300)], np.float32, "clipped_pixels=1"),
        (1e5, [(200, 300)], np.float32, "clipped_pixels=1"),
        (1e12, [(200, 300)], np.float32, "clipped_pixels=1"),
        (-1e6, [(200, 300)], np.float32, "clipped_pixels=1"),
        (1e6, [(0, 0), (447, 250), (100, 100), (100, 101), (300, 511)], np.float32, "clipped_pixels=5"),
        (1e4, [(200, 300)], np.float16, "nan_pixels"),
        (1e4, [(200, 300)], np.int16, "clipped_pixels=1"),
    ],
)
def test_extreme_pixels_hardly_change_the_map(model, height, places, kind, flag):
    area, probability, flags = model.changed(places, height, kind)
    assert 0.1 < model.area < 0.9
    assert area <= 0.01 and probability < 0.02, (area, probability)
    assert flags == ([flag] if flag else [])
