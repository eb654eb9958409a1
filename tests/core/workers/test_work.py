# SPDX-License-Identifier: GPL-3.0-or-later
"""The work on one micrograph is counted, because seconds depend on the machine: reads, transforms, network calls."""

import contextlib
from unittest import mock

import pytest
import torch
from noise import write_noise
from scipy.fft import next_fast_len

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors import unet
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.images.reading import Micrograph
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.workers.local_executor import LocalExecutor

SIDE = 1200  # px
TRANSFORMS = ("fft", "rfft", "rfft2", "ifft", "irfft")


@pytest.fixture
def executor():
    """An executor with an untrained U-Net, which takes the same views as the shipped one."""
    config = ModelConfig(name="narrow", classes=["good", "bad"], views=list(unet.VIEWS), stride=unet.CELL)
    return LocalExecutor(NetworkDetector(config, unet.UNet(2, width=2, hidden=2), torch.device("cpu")))


class Transforms:
    """Count the pixels that are transformed, and note the sides of the windows."""

    def __init__(self):
        self.pixels, self.sides = 0, set()

    def counted(self, name):
        plain = getattr(torch.fft, name)

        def transform(values, *args, **kwargs):
            result = plain(values, *args, **kwargs)
            larger = max(values, result, key=torch.numel)
            self.pixels += larger.numel()
            if name == "rfft2":
                self.sides |= set(values.shape[-2:])
            return result

        return mock.patch.object(torch.fft, name, transform)


# Half-overlapping windows take each pixel four times, at 1.52 Å/px; the features of the session take each once.
@pytest.mark.parametrize(("pixel_size", "most"), [(0.83, 2.7), (1.05, 3.4), (1.77, 5.4)])
def test_a_micrograph_is_read_once_and_transformed_in_few_windows_of_quick_sizes(tmp_path, executor, pixel_size, most):
    path, folder = write_noise(tmp_path / "a.mrc", 0, (SIDE, SIDE), pixel_size), tmp_path / "run"
    RunFolder(folder).make()
    made = Transforms()
    with contextlib.ExitStack() as stack:
        read, network = (
            stack.enter_context(mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)))
            for owner, name in ((Micrograph, "as_float32"), (unet.UNet, "features"))
        )
        for name in TRANSFORMS:
            stack.enter_context(made.counted(name))
        executor.map(MicrographTask(id=1, path=str(path), stem="a"), ScreenConfig(), "dark", folder)
    assert read.call_count == 1
    assert network.call_count == 1
    assert made.pixels <= most * SIDE**2
    assert all(next_fast_len(side) == side for side in made.sides), made.sides
