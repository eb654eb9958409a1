# SPDX-License-Identifier: GPL-3.0-or-later
"""The card says in words what a model was trained with."""

import numpy as np
import pandas as pd
import pytest

from cryoice_scipion.core.config import ModelConfig, PatchConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.model_card import MEASURES, write_card


def written(folder, view=None, **values):
    """Return the lines of the card of a model."""
    model = ModelConfig(name="m", views=[view or ViewConfig()], **values)
    predictions = pd.DataFrame(columns=["label", "split", "origin", "p_bad"])
    write_card(folder / "card.md", model, predictions, [], "by hand")
    return (folder / "card.md").read_text().splitlines()


@pytest.fixture
def card(tmp_path):
    """Return a function that writes the card of a model, and what it says of its settings."""

    def write(settings):
        lines = written(tmp_path, trained_on={"seen": "gold", "settings": settings})
        start = next(number for number, line in enumerate(lines) if line.startswith("- settings"))
        return lines[start : lines.index("", start)]

    return write


def test_settings_that_are_not_the_usual_ones_are_listed(card):
    config = TrainConfig.make(
        epochs=3, hold_out=["a*", "b"], class_weights=True, patches=PatchConfig.make(background=False)
    )
    assert card(config.model_dump_json()) == [
        "- settings: the defaults, except",
        "  - patches.background: no",
        "  - epochs: 3",
        "  - hold_out: a*, b",
        "  - class_weights: yes",
    ]
    assert card(TrainConfig().model_dump_json()) == ["- settings: the defaults"]


def test_samplings_are_rounded(tmp_path, card):
    config = TrainConfig.make(patches=PatchConfig.make(sampling=64 / 42))
    assert card(config.model_dump_json()) == ["- settings: the defaults, except", "  - patches.sampling: 1.52381"]
    text = "\n".join(written(tmp_path, ViewConfig(kind="spots", window=42, sampling=64 / 42), stride=21))
    assert "spots (42 px at 1.524 Å/px); map cells of 32.0 Å." in text
    assert "- At 1.524 Å/px it sees nothing finer than 3.05 Å," in text


def test_settings_that_are_words_stay_words(card):
    assert card("as in the paper") == ["- settings: as in the paper"]


def test_figures_stand_side_by_side_and_places_are_counted_in_whole_numbers(tmp_path):
    metrics = {"validation_auc": 0.9876, "validation_good": 3755733.0, "test_auc": 0.5, "before_auc": 0.25}
    lines = written(tmp_path, metrics=metrics)
    start = lines.index("| measure | validation | test | before tuning |")
    assert lines[start + 1] == "|---|---|---|---|"
    assert "| AUC, BAD against GOOD | 0.9876 | 0.5000 | 0.2500 |" in lines
    assert "| GOOD positions | 3755733 | – | – |" in lines
    assert lines[start - 1] == ""


def test_every_figure_of_a_training_is_on_the_card():
    assert set(MEASURES) == set(measure(np.array([0.1, 0.9]), np.array([False, True]), 0.5))
