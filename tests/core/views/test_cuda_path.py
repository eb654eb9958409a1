# SPDX-License-Identifier: GPL-3.0-or-later
"""From the copy to the GPU to the vector that comes back, nothing mixes devices or waits for the GPU. Needs none.

Under ``FakeTensorMode`` tensors have a device and a shape but no values, also those of CUDA without a GPU. An operation
on tensors of two devices raises, and so does each one that needs a value on the host, such as ``item`` or ``bool``.
"""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors import network_detector, unet
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.patch_fft import PatchFftNet
from cryoice_scipion.core.detectors.patch_spectrum import PatchSpectrumNet
from cryoice_scipion.core.views import resample, spectrum_features, spot_bins, spot_statistics, spots, window_transforms
from cryoice_scipion.core.views.micrograph import DeviceImage

fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
if not hasattr(fake_tensor, "unset_fake_temporarily"):
    pytest.skip("needs a later torch", allow_module_level=True)
CUDA = torch.device("cuda", 0)
CLASSES = ["good", "crystalline", "support"]


class Bindings(TorchFunctionMode):
    """Call some functions of tensors by another way than Python's, which asks a build without CUDA for a GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__getitem__:
            return indexed(*args)
        if func is torch.Tensor.contiguous:
            return torch.ops.aten.contiguous(*args, **(kwargs or {}))
        if func is torch.Tensor.copy_:
            return torch.ops.aten.copy_(*args)
        if func is torch.Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is torch.Tensor.__setitem__:
            put = torch.ops.aten.copy_ if isinstance(args[2], torch.Tensor) else torch.Tensor.fill_
            put(indexed(*args[:2]), args[2])  # a view: the package sets only rows and columns
            return None
        return func(*args, **(kwargs or {}))


def indexed(values, key):
    """``values[key]`` for slices, numbers, None, Ellipsis and tensors of indices."""
    key = key if isinstance(key, tuple) else (key,)
    if Ellipsis in [part for part in key if not isinstance(part, torch.Tensor)]:
        at = key.index(Ellipsis)
        missing = values.dim() - sum(part is not None for part in key) + 1
        key = key[:at] + (slice(None),) * missing + key[at + 1 :]
    tensors, axis = [], 0
    for part in key:
        if isinstance(part, torch.Tensor):
            tensors += [None] * (axis - len(tensors)) + [part]
        elif part is None:
            values = values.unsqueeze(axis)
        elif isinstance(part, slice):
            values = torch.ops.aten.slice(values, axis, part.start, part.stop, part.step or 1)
        else:
            values, axis = values.select(axis, int(part)), axis - 1
        axis += 1
    return torch.ops.aten.index(values, tensors) if tensors else values


class Transfers(TorchDispatchMode):
    """Count the copies to the GPU; refuse those that the host waits for."""

    def __init__(self):
        super().__init__()
        self.uploads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_):
            source = args[1] if func.overloadpacket is torch.ops.aten.copy_ else args[0]
            if source.device != result.device and source.dim():
                assert source.device.type == "cpu", "a copy to the host"
                assert kwargs.get("non_blocking") or True in args[1:], "a copy to the GPU that the host waits for"
                self.uploads += 1
        return result


@pytest.fixture
def gpu(monkeypatch):
    """Imitate a GPU; tables that are made once are made anew, and forgotten."""
    tables = (
        resample._parts,
        spectrum_features.spectrum_plan,
        spot_bins.spot_bins,
        spots.searched,
        window_transforms._places,
        window_transforms._phases,
        window_transforms.joining,
        spot_statistics._clustering_table,
    )
    for table in tables:
        table.cache_clear()
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    with fake_tensor.FakeTensorMode(), Bindings(), torch.inference_mode():
        yield
    for table in tables:
        table.cache_clear()


def detector(kind, views):
    """A detector on the imitated GPU, with random weights."""
    views = [ViewConfig(kind=name, required=False) for name in views]
    config = ModelConfig(name="fake", classes=CLASSES, views=views, stride=kind.stride)
    options = {"width": 4, "hidden": 8, "texture": 1} if kind is unet.UNet else {"width": 4}
    with fake_tensor.unset_fake_temporarily():
        found = NetworkDetector(config, kind(len(CLASSES), **options), torch.device("cpu"))
    found.device = CUDA
    for part in [*found.network.modules(), *found._folded.modules()]:
        for kept in (part._parameters, part._buffers):
            for name, value in kept.items():
                kept[name] = None if value is None else torch.empty(value.shape, dtype=value.dtype, device=CUDA)
    return found


def compute(found, pixel_size, border):
    """Do what a detector does with a small micrograph before the host waits; return the names of the flags."""
    image = np.zeros((262, 280), dtype=np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    mask[:, : 20 if border else 0] = True
    computed, shapes, flags, _ = found._compute(DeviceImage(image, pixel_size, mask, CUDA), inverted=False)
    assert computed.device == CUDA and len(computed) == sum(np.prod(shape) for shape in shapes)
    return flags


@pytest.mark.parametrize(
    ("kind", "views", "pixel_size", "border", "uploads"),
    [
        (unet.UNet, ["context"], 1.0, False, 1),
        (unet.UNet, ["context"], 0.9, True, 8),  # indices of pixels and cells that are not border
        (PatchFftNet, ["patch", "fft"], 1.0, False, 1),
        (PatchSpectrumNet, ["patch", "local", "coarse", "spectrum"], 1.0, False, 1),
    ],
)
def test_a_micrograph_is_copied_once_and_nothing_waits(gpu, kind, views, pixel_size, border, uploads):
    found = detector(kind, views)
    flags = compute(found, pixel_size, border)  # makes the tables
    with Transfers() as transfers:
        assert compute(found, pixel_size, border) == flags
    assert 0 < transfers.uploads <= uploads


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        (lambda view: view.sum().item(), "_local_scalar_dense"),
        (lambda view: 1.0 if view.any() else 0.0, "_local_scalar_dense"),
        (lambda view: torch.zeros(1), "same device|Device Propagation"),
        (lambda view: view.sum(dim=0).to("cpu").to(CUDA), "a copy to the host"),
        (lambda view: torch.zeros(1).to(CUDA), "that the host waits for"),
    ],
)
def test_a_wait_or_a_mix_of_devices_is_noticed(gpu, monkeypatch, planted, message):
    monkeypatch.setattr(network_detector, "normalise", lambda view, *_: view - planted(view))
    with pytest.raises(Exception, match=message), Transfers():
        compute(detector(PatchFftNet, ["patch", "fft"]), 1.0, border=False)
