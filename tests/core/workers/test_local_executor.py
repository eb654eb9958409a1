# SPDX-License-Identifier: GPL-3.0-or-later
"""Scoring again: what cannot have changed is kept, what is missing or of another map is made again."""

import numpy as np
import pytest
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.thumbnails import write_base
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.records import Pick, Reference

CONFIG, FROZEN = ScreenConfig(full_size_masks=True), Reference(-4.0, 0.0, "dark")


class One:
    """One micrograph in a run's folder."""

    def __init__(self, folder):
        (self.task,) = make_tasks(folder / "m", 1)
        self.folder, self.executor = folder, executor()
        for name in ("probability", "masks", "thumbnails", ".maps"):
            (folder / name).mkdir()
        self.map()

    def map(self):
        self.mapped = self.executor.map(self.task, CONFIG, "dark", self.folder)

    def score(self):
        told = self.executor.score(self.task, self.mapped, FROZEN, CONFIG, self.folder)
        self.masks = [self.folder / name for name in (told.probability, told.mask, told.full_mask)]
        self.thumbnail = self.folder / told.thumbnail
        return told


@pytest.fixture
def one(tmp_path):
    return One(tmp_path)


def test_late_coordinates_change_the_thumbnail_and_leave_the_masks(one):
    one.score()
    before, thumbnail = [path.stat().st_ino for path in one.masks], one.thumbnail.read_bytes()
    one.task.picks.append(Pick(90000, 100.0, 100.0, 16.0))
    assert len(one.score().scores) == 7
    assert [path.stat().st_ino for path in one.masks] == before
    assert one.thumbnail.read_bytes() != thumbnail


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_or_empty_mask_is_made_again(one, number, damage):
    one.score()
    content = one.masks[number].read_bytes()
    damage(one.masks[number])
    one.score()
    assert one.masks[number].read_bytes() == content


def test_another_map_makes_other_masks(one):
    one.score()
    before = [read_map(path)[0] for path in one.masks]
    write_micrograph(one.task.path, bad_columns=0)
    one.map()
    one.score()
    for path, old in zip(one.masks, before):
        assert not np.array_equal(read_map(path)[0], old)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_large_stored_picture_that_ends_in_zeros_is_told_as_damaged(one, share):
    """What a power cut leaves on XFS; Pillow does not always raise an OSError for it."""
    path = one.folder / one.mapped.base_path
    write_base(path, np.random.default_rng(0).integers(0, 256, (900, 900), dtype=np.uint8))
    content = path.read_bytes()
    sound = int(share * len(content))
    path.write_bytes(content[:sound] + bytes(len(content) - sound))
    with pytest.raises(ImageError, match="the stored picture cannot be read"):
        one.score()
