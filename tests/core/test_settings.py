# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that cannot be used are one sentence: the setting, what it must be, what it is."""

import pytest

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import PatchConfig, ScreenConfig, TrainConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.simulation.config import SceneConfig

EXTREMES = (-1.0, float("nan"), float("inf"), 1e9)
NUMBERS = {
    ScreenConfig: ("pixel_size", "particle_diameter", "coordinates_pixel_size", "box_size", "margin", "max_bad_area"),
    PatchConfig: ("sampling", "pixel_size", "jitter_copies", "seed"),
    TrainConfig: ("validation", "width"),
    SceneConfig: ("rows", "columns", "pixel_size"),
}


@pytest.mark.parametrize("kind", list(NUMBERS))
def test_a_number_out_of_range_is_one_sentence(kind):
    for name in NUMBERS[kind]:
        for value in EXTREMES if name != "seed" else (-1, 10**12):
            with pytest.raises(SettingsError, match=rf"{name} must be .* is given") as caught:
                kind.make(**{name: value})
            assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("command", ["screen", "filter", "simulate", "train", "patches"])
def test_each_command_refuses_it_at_once(command, tmp_path, capsys):
    output = ["--output", str(tmp_path / "o")]
    labels = ["--good", "g.star", "--bad", "b.star", "--micrographs", "m.mrc"]
    words = {
        "screen": ["m.mrc", "--pixel-size", "1e-5"],
        "filter": [str(tmp_path), "--coordinates", "c.star", "--particle-diameter", "1e9"],
        "simulate": ["--number", "1", "--size", "1000000x1000000"],
        "train": [*labels, "--sampling", "1e-5"],
        "patches": [*labels, "--jitter-copies", "1000000000"],
    }[command]
    assert main([command, *words, *output]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"cryoice {command}: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"epochs": 3',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[1]",
        b'{"epochs": "many"}',
        b'{"__class__": "os.system"}',
    ],
    ids=["empty", "cut off", "binary", "deep", "a list", "wrong type", "unknown name"],
)
def test_a_settings_file_that_cannot_be_used_is_one_sentence(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        TrainConfig.load(path)
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1
