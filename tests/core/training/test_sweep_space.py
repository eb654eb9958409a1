# SPDX-License-Identifier: GPL-3.0-or-later
"""The search space of a sweep: what may vary, what is refused with one line, and the ranges of each kind."""

import json

import pytest

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.kinds import trained_kinds
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.sweep.space import SearchSpace, sweepable, with_settings


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"learning_rat": {"low": 1, "high": 2}}, "learning_rat: is no setting that .* did you mean learning_rate"),
        ({"zzz": {"low": 1, "high": 2}}, "zzz: is no setting .* the settings are patches.sampling, "),
        ({"seed": {"low": 1, "high": 2}}, "seed: is no setting that a sweep can vary"),
        ({"width": {"low": 8, "high": 4}}, r"width: low \(8\) is not below high \(4\)"),
        ({"width": {"low": 8}}, "width: needs 'low' and 'high', or 'values'"),
        ({"width": {"low": 8, "hihg": 16}}, "width: hihg is not a setting"),
        ({"width": {"low": 2.5, "high": 16}}, "width: takes whole numbers only"),
        ({"width": {"low": 1, "high": 16}}, r"width: must be 2 or more \(1.0 is given\)"),
        ({"width": {"values": [8, "x"]}}, "width: must be a whole number"),
        ({"width": {"values": [8]}}, "width: needs at least two 'values'"),
        ({"width": {"values": [8, 16], "low": 4}}, "width: has 'values' and 'low'"),
        ({"width": 8}, "width: is no range"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, r"low \(0\) must be above 0 with 'log'"),
        ({"learning_rate": {"low": 0, "high": 1}}, "learning_rate: must be above 0"),
        ({"weight_decay": {"low": 0.0, "high": 1, "step": 2}}, "step .* at most high - low"),
        ({"views": {"low": 0, "high": 1}}, "views: is no number, so it needs 'values'"),
        ({}, "names no settings"),
        ([], "names no settings"),
    ],
)
def test_a_wrong_space_is_one_line_with_file_and_setting(ranges, message, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(ranges))
    with pytest.raises(SettingsError, match=message) as error:
        SearchSpace.load(path, TrainConfig())
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", trained_kinds(), ids=lambda kind: kind.name)
def test_the_ranges_of_each_kind_are_valid_and_contain_its_usual_settings(kind):
    config = TrainConfig.make(network=kind.name, **kind.defaults)
    space = SearchSpace(kind.space, config, kind.name)
    assert set(space.start()) == set(space.ranges)
    assert space.to_json() == {name: dict(values) for name, values in kind.space.items()}


def test_settings_of_groups_are_named_with_a_dot():
    config = with_settings(TrainConfig(), {"augment.noise": 0.1, "width": 32})
    assert (config.augment.noise, config.width) == (0.1, 32)
    assert {"augment.noise", "patches.jitter_copies", "learning_rate", "views"} <= set(sweepable())
