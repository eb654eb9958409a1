# SPDX-License-Identifier: GPL-3.0-or-later
"""Long names are shortened to the room that a picture or a window has."""

import pytest

from cryoice_scipion.core.images.shortening import shortened


@pytest.mark.parametrize(
    "room, expected",
    [(12, "FoilHole_123"), (11, "Foi…ole_123"), (4, "F…23"), (2, "…3"), (0, "…3")],
)
def test_a_name_is_shortened_in_the_middle_only_as_far_as_needed(room, expected):
    assert shortened("FoilHole_123", room) == expected


def test_the_width_may_be_that_of_a_font():
    assert shortened("abcdefghi", 80, width=lambda text: 10 * len(text)) == "ab…efghi"
