# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``resnet``: grade a micrograph by its picture and its average power spectrum.

Two residual networks (He et al. 2016, doi 10.1109/CVPR.2016.90), one for each, whose mean features are classified
together. They are written here because torchvision has to match the build of torch exactly. The picture has 16 Å/px;
its size does not matter. There is no session in it: the grade of a micrograph depends on this micrograph alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.model_folder import fitting
from cryoice_scipion.core.detectors.network_detector import read_weights, with_weights
from cryoice_scipion.core.views.micrograph import micrograph_view
from cryoice_scipion.core.views.patches import normalise
from cryoice_scipion.core.views.power_spectrum import average_power

PICTURE, POWER = "picture", "power"  # the views
SAMPLING = 16.0  # Å/px of the picture
#: Residual blocks of each stage, by the number of layers with weights.
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_GROUPS = 4  # of channels that are normalised together
_POWER_UNIT = 2.0  # natural logarithm of power that counts as 1


class _Block(nn.Module):
    def __init__(self, channels: int, wanted: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wanted, 3, stride, 1, bias=False),
            nn.GroupNorm(_GROUPS, wanted),
            nn.ReLU(inplace=True),
            nn.Conv2d(wanted, wanted, 3, 1, 1, bias=False),
            nn.GroupNorm(_GROUPS, wanted),
        )
        same = stride == 1 and channels == wanted
        self.skip = nn.Identity() if same else nn.Conv2d(channels, wanted, 1, stride, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(values) + self.skip(values))


def _tower(channels: int, width: int, blocks: Sequence[int]) -> nn.Sequential:
    """Return layers that turn images (n, channels, rows, columns) into features (n, 8 width)."""
    layers: List[nn.Module] = [
        nn.Conv2d(channels, width, 7, 2, 3, bias=False),
        nn.GroupNorm(_GROUPS, width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    have = width
    for stage, number in enumerate(blocks):
        wanted = width * 2**stage
        for index in range(number):
            layers.append(_Block(have, wanted, 2 if stage and not index else 1))
            have = wanted
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ResNet(nn.Module):
    """Logits of the grades from the views of micrographs."""

    def __init__(self, depth: int, width: int) -> None:
        """Build the untrained network: ``depth`` layers, one of ``BLOCKS``, and ``width`` channels at first."""
        super().__init__()
        self.options = {"depth": depth, "width": width}
        self.picture = _tower(1, width, BLOCKS[depth])
        self.power = _tower(2, width, BLOCKS[depth])
        self.last = nn.Linear(16 * width, len(GRADES))

    def features(self, picture: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        """Return what the last layer reads, shape (n, 16 width)."""
        return torch.cat([self.picture(picture), self.power(power)], dim=1)

    def forward(self, picture: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        """Return the logits of the grades, shape (n, grades).

        Parameters
        ----------
        picture : torch.Tensor, shape (n, 1, rows, columns)
        power : torch.Tensor, shape (n, 2, rows, columns)
            As :func:`grade_views` returns them.
        """
        logits: torch.Tensor = self.last(self.features(picture, power))
        return logits


def grade_views(
    image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_]
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the views of a micrograph.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns), float32
    pixel_size : float
        Å/px.
    border : numpy.ndarray, bool, same shape
        True where there is no image.

    Returns
    -------
    picture : numpy.ndarray, shape (1, rows, columns), float32
        At 16 Å/px, less its median, in units of its robust deviation.
    power : numpy.ndarray, shape (2, rows, columns), float32
        The logarithm of the power at frequencies up to 1/2.9 Å⁻¹, 0 where it is not known; and where it is known.
    """
    view, inside = micrograph_view(image, pixel_size, border, SAMPLING, torch.device("cpu"))
    power = average_power(image, pixel_size, border)
    picture: NDArray[np.float32] = normalise(view, inside, False)[None].numpy()
    return picture, with_known(power)


def with_known(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a spectrum of ``average_power`` as two channels: its values, and where they are known."""
    values = np.nan_to_num(power) / _POWER_UNIT
    channels: NDArray[np.float32] = np.stack([values, np.isfinite(power)]).astype(np.float32)
    return channels


class ResNetGrader:
    """A trained network as a grader."""

    def __init__(self, config: ModelConfig, network: ResNet, device: str) -> None:
        """Put a network on a device, in evaluation mode."""
        self.config, self._device = config, torch.device(device)
        self._network = network.eval().to(self._device)

    @torch.inference_mode()
    def probabilities(
        self, image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_]
    ) -> Dict[str, float]:
        """Return the calibrated probability of each grade; see :func:`grade_views` for the parameters."""
        views = grade_views(image, pixel_size, border)
        picture, power = (torch.from_numpy(view)[None].to(self._device) for view in views)
        values = torch.softmax(self._network(picture, power)[0] / self.config.temperature, dim=0).tolist()
        return dict(zip(self.config.classes, values))


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the two views."""
    return [ViewConfig(kind=PICTURE, sampling=SAMPLING, window=None), ViewConfig(kind=POWER, sampling=1.0, window=None)]


def build(classes: int, views: Sequence[str], options: Mapping[str, int]) -> ResNet:
    """Return an untrained network."""
    return ResNet(options["depth"], options["width"])


def load(folder: Path, config: ModelConfig, device: str) -> ResNetGrader:
    """Load the grader of a model folder.

    Raises
    ------
    ModelError
        When the weights do not fit the network that model.json describes.
    """
    with fitting(folder, config):
        options = config.network_options
        network = with_weights(lambda: build(len(config.classes), [], options), read_weights(folder))
    return ResNetGrader(config, network, device)
