# SPDX-License-Identifier: GPL-3.0-or-later
"""Grey levels of pictures."""

import numpy as np

from cryoice_scipion.core.images.grey_levels import grey_levels


def test_values_between_black_and_white_become_grey_levels_in_proportion():
    assert grey_levels(np.array([-5.0, 0.0, 1.0, 2.0, 9.0]), 0.0, 2.0).tolist() == [0, 0, 128, 255, 255]
    assert grey_levels(np.array([3.0, 4.0]), 3.0, 3.0).tolist() == [0, 255]
