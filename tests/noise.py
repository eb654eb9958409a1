# SPDX-License-Identifier: GPL-3.0-or-later
"""Small micrographs of noise that gets stronger from left to right: a random model finds good and bad places."""

import mrcfile
import numpy as np

NUMBER = 6  # micrographs in a folder of them
SHAPE = (200, 256)  # px
PIXEL_SIZE = 4.0  # Å/px


def write_image(path, image, pixel_size=PIXEL_SIZE):
    """Write any picture as a micrograph."""
    with mrcfile.new(str(path), overwrite=True) as mrc:
        mrc.set_data(image.astype(np.float32))
        mrc.voxel_size = pixel_size


def write_noise(path, seed, shape=SHAPE, pixel_size=PIXEL_SIZE):
    """Write one micrograph, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).normal(0, 1, shape) * np.linspace(0.2, 6, shape[1]), pixel_size)
    return path
