# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare each stage of a screening with the floor: reading a micrograph, and one float32 Fourier transform of it.

usage: python benchmarks/bench_floor.py [--micrographs 8 --sizes 4096x4096 5760x4092 --output floor.json]
The whole command ``cryoice screen`` runs on one thread, with coordinates and all outputs. A stage has the seconds of
processor that its functions take, without those of other stages inside them. Compare ratios: the floor is measured in
the same run. Everything runs twice and the second time counts, since the start has a benchmark of its own. The
simulated micrographs have contamination, since some stages look closer at suspicious places.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple
from unittest import mock

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before the libraries are loaded

import numpy as np  # noqa: E402
import scipy.fft  # noqa: E402
import torch  # noqa: E402
from about import about, record  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from cryoice_scipion.constants import DEFAULT_MODEL  # noqa: E402
from cryoice_scipion.core.cli import main as cryoice  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import resolve_model  # noqa: E402
from cryoice_scipion.core.images.loading import load_micrograph  # noqa: E402
from cryoice_scipion.core.images.reading import read_micrograph  # noqa: E402
from cryoice_scipion.core.views.session_features import session_features  # noqa: E402

PIXEL_SIZE = "1.05"  # Å/px
CORE = "cryoice_scipion.core."
REST = "journal, tables, report"
#: The functions of each stage: "module:function" or "module:Class.method".
STAGES: Dict[str, Tuple[str, ...]] = {
    "read": ("images.loading:read_micrograph", "images.reading:Micrograph.as_float32"),
    "check pixels, find the border": ("workers.local_executor:load_micrograph",),
    "views": ("views.micrograph:resample", "detectors.network_detector:NetworkDetector.map"),
    "local spectra": ("views.spectrum:Spectra.map",),
    "spot test": ("detectors.unet:spectral_view",),
    "network": ("detectors.unet:UNet.map", "detectors.unet:UNet.classify"),
    "session features": ("workers.local_executor:session_features", "results.outliers:measure"),
    "scoring": ("workers.local_executor:score_micrograph",),
    "grade": ("workers.local_executor:grade_micrograph",),
    "thumbnail": (
        "workers.local_executor:grey_base",
        "workers.local_executor:write_base",
        "results.result_files:draw_thumbnail",
    ),
    "maps and masks": (
        "detectors.class_map:ClassMap.save",
        "detectors.class_map:ClassMap.load",
        "results.result_files:write_map",
        "results.result_files:write_mask",
        "results.outliers:write_map",
    ),
}
#: Transforms that are counted.
TRANSFORMS = (torch.fft, scipy.fft)
NAMES = ("rfft", "rfft2", "irfft", "irfft2", "fft", "fft2", "ifft", "ifft2")


class Clock:
    """Adds up the seconds of processor of each stage, without those of stages that run inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = threading.local()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is timed."""

        @functools.wraps(function)
        def work(*args: Any, **kwargs: Any) -> Any:
            outer, self._inside.seconds = getattr(self._inside, "seconds", 0.0), 0.0
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - start
                self.seconds[stage] += spent - self._inside.seconds
                self._inside.seconds = outer + spent

        return work


def place_of(name: str) -> Tuple[Any, str]:
    """Return the module or class that holds a function of ``STAGES``, and the function's name in it."""
    module, _, path = name.partition(":")
    *holders, function = path.split(".")
    return functools.reduce(getattr, holders, importlib.import_module(CORE + module)), function


@contextlib.contextmanager
def clocked() -> Iterator[Clock]:
    """Time the functions of ``STAGES`` in the block."""
    clock = Clock()
    with contextlib.ExitStack() as stack:
        for stage, names in STAGES.items():
            for holder, function in map(place_of, names):
                held = vars(holder)[function]
                plain = held.__func__ if isinstance(held, classmethod) else held
                timed: Any = clock.timed(stage, plain)
                stack.enter_context(
                    mock.patch.object(holder, function, classmethod(timed) if plain is not held else timed)
                )
        yield clock


def floor(path: str, repeats: int = 3) -> Dict[str, float]:
    """Return the shortest seconds of processor that reading a micrograph and transforming it once take."""
    read, transform = [], []
    for _ in range(repeats):
        start = time.thread_time()
        image = read_micrograph(path).as_float32()
        middle = time.thread_time()
        scipy.fft.rfft2(image, workers=1)
        read.append(middle - start)
        transform.append(time.thread_time() - middle)
    return {"read": min(read), "one rfft2": min(transform)}


def operations(path: str) -> Dict[str, float]:
    """Return the operations on one micrograph, in units of 10⁹: products of matrices with convolutions, and transforms.

    A transform of n complex numbers counts 5 n log2(n) operations; of real numbers, half of them.
    """
    loaded = load_micrograph(path)
    detector = load_detector(resolve_model(DEFAULT_MODEL))
    counted = 0.0

    def counting(function: Callable[..., Any], real: bool, both: bool) -> Callable[..., Any]:
        def work(*args: Any, **kwargs: Any) -> Any:
            nonlocal counted
            result = function(*args, **kwargs)
            larger = max((args[0], result), key=lambda values: int(np.prod(values.shape)))
            axes = larger.shape[-2:] if both else larger.shape[-1:]
            counted += (2.5 if real else 5.0) * float(np.prod(larger.shape)) * float(np.log2(float(np.prod(axes))))
            return result

        return work

    with contextlib.ExitStack() as stack:
        for library in TRANSFORMS:
            for name in NAMES:
                made = counting(getattr(library, name), "r" in name, name.endswith("2"))
                stack.enter_context(mock.patch.object(library, name, made))
        with FlopCounterMode(display=False) as counter:
            detector.map(loaded.image, loaded.pixel_size, loaded.border)
            session_features(loaded.image, loaded.pixel_size, loaded.border)
    return {"matrices": counter.get_total_flops() / 1e9, "Fourier transforms": counted / 1e9}


def screened(folder: Path, size: str, micrographs: int) -> Dict[str, Any]:
    """Simulate and screen micrographs; return the figures of one micrograph on average."""
    words = ["--number", str(micrographs), "--size", size, "--pixel-size", PIXEL_SIZE, "--quiet"]
    cryoice(["simulate", "--output", str(folder / "data"), *words])
    images = sorted((folder / "data" / "micrographs").iterdir())
    words = ["--coordinates", str(folder / "data" / "picks.star"), "--particle-diameter", "150", "--device", "cpu"]
    words += ["--summary-every", str(micrographs)]
    cryoice(["screen", str(images[0].parent), "--output", str(folder / "warm"), *words])  # loads and tunes libraries
    with clocked() as clock:
        start = time.process_time()
        cryoice(["screen", str(images[0].parent), "--output", str(folder / "run"), *words])
        total = (time.process_time() - start) / micrographs
    stages = {stage: clock.seconds[stage] / micrographs for stage in STAGES}
    stages[REST] = total - sum(stages.values())
    lowest = floor(str(images[0]))
    written = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
    return {
        "floor (s)": {name: round(value, 4) for name, value in lowest.items()},
        "stages (s)": {name: round(value, 4) for name, value in stages.items()},
        "all (s)": round(total, 3),
        "times the floor": round(total / sum(lowest.values()), 1),
        "bytes read (MB)": round(images[0].stat().st_size / 1e6, 1),
        "bytes written (MB)": round(written / micrographs / 1e6, 2),
        "operations (10^9)": {name: round(value, 2) for name, value in operations(str(images[0])).items()},
    }


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--sizes", nargs="+", default=["4096x4096", "5760x4092"], metavar="ROWSxCOLUMNS")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes: Dict[str, Any] = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            sizes[size.replace("x", "×")] = screened(Path(folder), size, args.micrographs)
    result = {
        "micrographs": f"{args.micrographs} simulated ones of each size at {PIXEL_SIZE} Å/px, with coordinates",
        **about(),
        "torch": torch.__version__,
        "sizes": sizes,
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
