# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full while a training stores an epoch: one line, and the epoch before it is still there."""

import gc
import types

import pytest
import torch
from faults import ERRORS, FailingDisk

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.training.unet.checkpoint import Checkpoint


class Run(types.SimpleNamespace):
    """What a checkpoint needs of a run."""

    device = "cpu"

    def state_dict(self):
        return {"weights": torch.full((100,), self.value)}

    def load_state_dict(self, state):
        self.value = float(state["weights"][0])


def test_an_epoch_that_cannot_be_stored_leaves_the_earlier_one(tmp_path):
    kept = Checkpoint(tmp_path, TrainConfig(), {"micrographs": 3})
    with FailingDisk(tmp_path) as disk:
        kept.save(Run(value=1.0), [{"epoch": 1.0}])
    assert disk.calls >= 4  # made, written, on the disk, in its place
    for first in range(1, disk.calls + 1):
        with FailingDisk(tmp_path, first, ERRORS[first % len(ERRORS)]), pytest.raises(CryoIceError, match="cannot be"):
            kept.save(Run(value=2.0), [{"epoch": 1.0}, {"epoch": 2.0}])
        restored = Run(value=0.0)
        assert kept.restore(restored, print) == [{"epoch": 1.0}]
        assert restored.value == 1.0
        assert len(list(tmp_path.iterdir())) == 1
    gc.collect()  # Python 3.12.1 crashes in a cycle of an error and a buffer of BytesIO
