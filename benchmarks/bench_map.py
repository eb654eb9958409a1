# SPDX-License-Identifier: GPL-3.0-or-later
"""How long one micrograph takes, step by step, and how much the fast map gains over cutting patches.

usage: python benchmarks/bench_map.py [--rows 4096 --columns 4096 --pixel-size 1.0 --device cpu --output results.json]
All figures of one run stand side by side on the same machine; compare ratios, not seconds, between machines.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict

import torch
from about import about, record
from trial import write_noise

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.patch_fft import PatchFftNet
from cryoice_scipion.core.images.borders import find_border
from cryoice_scipion.core.images.checks import check_pixels
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.views.micrograph import DeviceImage, micrograph_evidence, spectral_view
from cryoice_scipion.core.views.patch_spectrum import local_view
from cryoice_scipion.core.views.patches import fft_view, grid_shape, normalise, pad_for_grid, windows
from cryoice_scipion.core.views.spectrum import Spectra


def best_of(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the shortest of several times in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.inference_mode()
def measure(path: Path, pixel_size: float, device: torch.device, repeats: int) -> Dict[str, float]:
    """Return seconds by step for one micrograph on disk."""
    network = PatchFftNet(3).eval()
    config = ModelConfig(name="bench", classes=["good", "thick", "bad"], views=[ViewConfig(), ViewConfig(kind="fft")])
    detector = NetworkDetector(config, network, device)
    loaded = load_micrograph(str(path), pixel_size)
    image, border = loaded.image, loaded.border
    source = DeviceImage(image, pixel_size, border, device)
    view = normalise(*source.at(4.0))
    shape = grid_shape((int(view.shape[0]), int(view.shape[1])), 16)
    padded = pad_for_grid(view, 64, 16)

    def patch_by_patch() -> None:
        for row in range(shape[0]):
            network(windows(padded, 64, 16, row, 1))

    def branch(views: str) -> Callable[[], object]:
        single = PatchFftNet(3, (views,)).eval().to(device)
        return lambda: single.map(padded, shape)

    steps: Dict[str, Callable[[], object]] = {
        "read and check": lambda: check_pixels(read_micrograph(str(path)).as_float32(), str(path)),
        "find border": lambda: find_border(image),
        "resample": lambda: DeviceImage(image, pixel_size, border, device).at(4.0),
        "spectra of all windows": lambda: [fft_view(windows(padded, 64, 16, row, 1)) for row in range(shape[0])],
        "real branch": branch("patch"),
        "Fourier branch": branch("fft"),
        "map (fast)": lambda: network.map(padded, shape),
        "map (patch by patch)": patch_by_patch,
        "detector, whole": lambda: detector.map(image, pixel_size, border),
    }
    return {
        name: best_of(work, 1 if name == "map (patch by patch)" else repeats, device) for name, work in steps.items()
    }


@torch.inference_mode()
def measure_shipped(path: Path, pixel_size: float, device: torch.device, repeats: int) -> Dict[str, float]:
    """Return seconds by step of the shipped model for one micrograph on disk."""
    detector = load_detector(resolve_model(DEFAULT_MODEL), str(device))
    loaded = load_micrograph(str(path), pixel_size)
    seen = (loaded.image, pixel_size, loaded.border)
    fine = max(pixel_size, 1.0)
    source = DeviceImage(*seen, device)
    view, inside = source.at(fine)
    scaled = normalise(*source.at(4.0))
    size = (int(scaled.shape[0]), int(scaled.shape[1]))
    spectrum = spectral_view(source, grid_shape(size, 16)).features
    shape = grid_shape(size, detector.stride)

    def network() -> None:
        found = detector.network.map(torch.stack([scaled, local_view(scaled)]), spectrum, shape)
        detector.network.classify(found)

    steps: Dict[str, Callable[[], object]] = {
        "read, check, find border": lambda: load_micrograph(str(path), pixel_size),
        "copy to the device": lambda: DeviceImage(*seen, device),
        "context view (4 Å/px)": lambda: source.at(4.0),
        "view for spectra": lambda: source.at(fine),
        "local spectra": lambda: Spectra(view, fine, inside, grid_shape(size, 16)).map(),
        "spot test": lambda: micrograph_evidence(*seen, device),
        "network": network,
        "detector, whole": lambda: detector.map(*seen),
    }
    return {name: best_of(work, repeats, device) for name, work in steps.items()}


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--pixel-size", type=float, default=1.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.mrc"
        write_noise(path, args.rows, args.columns, args.pixel_size)
        seconds = measure(path, args.pixel_size, device, args.repeats)
        shipped = measure_shipped(path, args.pixel_size, device, args.repeats)
    ratio = seconds["map (patch by patch)"] / seconds["map (fast)"]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    result = {
        "micrograph": f"{args.rows}×{args.columns} px at {args.pixel_size} Å/px",
        **about(f"{name}, {torch.get_num_threads()} threads"),
        "torch": torch.__version__,
        "seconds": {
            **{f"seed: {name}": round(value, 4) for name, value in seconds.items()},
            **{f"shipped model: {name}": round(value, 4) for name, value in shipped.items()},
        },
        "fast map gains": round(ratio, 2),
        "shipped model takes, times the seed patch by patch": round(
            shipped["detector, whole"] / (seconds["resample"] + seconds["map (patch by patch)"]), 2
        ),
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
