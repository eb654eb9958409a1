# SPDX-License-Identifier: GPL-3.0-or-later
"""The card says in words what a model was trained with."""

import pandas as pd
import pytest

from cryoice_scipion.core.config import ModelConfig, PatchConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.training.card import write_card


@pytest.fixture
def card(tmp_path):
    """Return a function that writes the card of a model, and what it says of its settings."""

    def write(settings):
        model = ModelConfig(name="m", views=[ViewConfig()], trained_on={"seen": "gold", "settings": settings})
        columns = ["label", "split", "origin", "p_bad"]
        write_card(tmp_path / "card.md", model, pd.DataFrame(columns=columns), [], "by hand")
        lines = (tmp_path / "card.md").read_text().splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("- settings"))
        return lines[start : lines.index("", start)]

    return write


def test_settings_that_are_not_the_usual_ones_are_listed(card):
    config = TrainConfig.make(
        epochs=3, hold_out=["a*", "b"], class_weights=True, patches=PatchConfig.make(background=False)
    )
    assert card(config.model_dump_json()) == [
        "- settings: the usual ones, but",
        "  - patches.background: no",
        "  - epochs: 3",
        "  - hold_out: a*, b",
        "  - class_weights: yes",
    ]
    assert card(TrainConfig().model_dump_json()) == ["- settings: the usual ones"]


def test_settings_that_are_words_stay_words(card):
    assert card("as in the paper") == ["- settings: as in the paper"]
