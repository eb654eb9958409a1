# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the shipped model on a GPU in at most 8 minutes: equality with the CPU, speed, memory, several workers.

usage: python benchmarks/gpu_check.py [--device cuda:0] [--quick] [--output gpu_check.json]
Needs no network. ``--device cpu --quick`` rehearses it where there is no GPU. A part that fails is recorded, and the
next one starts; parts that would start after the time limit are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple
from unittest import mock

import numpy as np
import torch
from about import about, record

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.detectors import network_detector
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.maps.bad_area import probability
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate
from cryoice_scipion.core.views import patches
from cryoice_scipion.core.views.micrograph import DeviceImage

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 420.0  # s after which no further part starts
SIZES = {
    "2048²": (2048, 2048, 1.0),
    "4096²": (4096, 4096, 1.0),
    "K3": (4092, 5760, 1.0),
    "K3, 0.5 Å/px": (8184, 11520, 0.5),
}
QUICK_SIZES = {"640²": (640, 640, 1.0)}
BATCHES = (2**20, 2**22, 2**24, 2**26)  # px of windows at once
WORKERS = (1, 2, 4)
TESTS = ["tests/core/views/test_cuda_path.py", "tests/core/detectors", "-m", "gpu or not slow"]
TOLERANCE = 0.03  # of P(BAD), in any cell: the accuracy pages were made in bfloat16 on a CPU, which differs by less


class Check:
    """The parts of the check on one device."""

    def __init__(self, device: torch.device, quick: bool) -> None:
        self.device, self.quick = device, quick
        self.detector = self.load(device)

    def load(self, device: torch.device) -> NetworkDetector:
        """Return the shipped model on a device, in full precision also on a CPU."""
        with mock.patch.object(network_detector, "multiplies_bfloat16", lambda: False):
            found = load_detector(resolve_model(DEFAULT_MODEL), str(device))
        assert isinstance(found, NetworkDetector)
        return found

    def parts(self) -> Dict[str, Callable[[], Any]]:
        """Return the parts by name, in the order in which they run."""
        return {
            "equality": self.equality,
            "waits": self.waits,
            "throughput": self.throughput,
            "batches": self.batches,
            "out_of_memory": self.out_of_memory,
            "workers": self.workers,
            "tests": self.tests,
        }

    def equality(self) -> Dict[str, Any]:
        """Compare P(BAD) with that of the CPU in full precision, for each precision of the network."""
        side = 512 if self.quick else 2048
        host = self.load(torch.device("cpu"))
        scenes = []
        for seed, pixel_size in enumerate((1.0,) if self.quick else (0.7, 1.0, 1.2, 1.8)):
            rng = np.random.default_rng(seed)
            scenes.append((simulate(SceneConfig.random(rng, side, side, pixel_size), rng).pixels, pixel_size))
        expected = [probability_of(host, *scene) for scene in scenes]
        found = {}
        for name, precision in self.precisions().items():
            with precision:
                maps = [probability_of(self.detector, *scene) for scene in scenes]
            differences = np.concatenate([np.abs(one - other).ravel() for one, other in zip(maps, expected)])
            limit = host.config.recommended_threshold
            flips = sum(int(((one > limit) != (other > limit)).sum()) for one, other in zip(maps, expected))
            found[name] = {
                "largest": float(differences.max()),
                "mean": float(differences.mean()),
                "cells": int(differences.size),
                "flipped": flips,
                "usable": bool(differences.max() <= TOLERANCE),
            }
        return found

    def precisions(self) -> Dict[str, Any]:
        """Return the precisions of the network, as contexts."""
        kind = self.device.type
        half = {"bfloat16": self.autocast(torch.bfloat16)}
        if kind == "cpu":
            return {"float32": contextlib.nullcontext(), **half}
        return {"float32": tf32(False), "tf32": tf32(True), **half, "float16": self.autocast(torch.float16)}

    @contextlib.contextmanager
    def autocast(self, dtype: torch.dtype) -> Iterator[None]:
        """Compute the network's layers, and only these, in another precision."""
        whole = self.detector._folded._whole

        def half(seen: Dict[str, torch.Tensor]) -> torch.Tensor:
            with torch.autocast(self.device.type, dtype):
                return whole(seen).float()

        self.detector._folded._whole = half
        try:
            yield
        finally:
            del self.detector._folded._whole

    def waits(self) -> str:
        """Fail if the host waits for the GPU before the result is copied back."""
        if self.device.type == "cpu":
            return "not on a CPU"
        image, pixel_size = noise(*next(iter(self.sizes().values())))
        source = DeviceImage(image, pixel_size, np.zeros(image.shape, dtype=bool), self.device)
        with torch.inference_mode():
            self.detector._compute(source, False)  # makes the tables
            torch.cuda.set_sync_debug_mode("error")
            try:
                self.detector._compute(source, False)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return "none"

    def sizes(self) -> Dict[str, Tuple[int, int, float]]:
        """Return rows, columns and pixel size by name."""
        return QUICK_SIZES if self.quick else SIZES

    def throughput(self) -> List[Dict[str, Any]]:
        """Measure time and memory of one process by size, from pixels in memory to the map."""
        return [{"size": name, **self.timed(*noise(*size))} for name, size in self.sizes().items()]

    def batches(self) -> List[Dict[str, Any]]:
        """Measure time and memory by the number of windows that are worked on at once."""
        kind, kept = self.device.type, patches._AT_ONCE[self.device.type]
        image = noise(*list(self.sizes().values())[-1 if self.quick else 1])
        found = []
        for number in BATCHES:
            patches._AT_ONCE[kind] = number
            found.append({"pixels": number, **self.timed(*image)})
        patches._AT_ONCE[kind] = kept
        return found

    def timed(self, image: np.ndarray, pixel_size: float) -> Dict[str, Any]:
        """Return the shortest of some times for one map, and the most memory that it takes on a GPU."""
        border = np.zeros(image.shape, dtype=bool)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = []
        for _ in range(2 if self.quick else 5):
            start = time.perf_counter()
            self.detector.map(image, pixel_size, border)
            seconds.append(time.perf_counter() - start)
        most = torch.cuda.max_memory_allocated(self.device) / 2**20 if on_gpu else None
        return {"seconds": min(seconds), "per_hour": 3600 / min(seconds), "mebibytes": most}

    def out_of_memory(self) -> Dict[str, Any]:
        """Map a micrograph with less and less memory of the GPU, until it does not fit."""
        if self.device.type == "cpu":
            return {"skipped": "not on a CPU"}
        image, pixel_size = noise(*SIZES["4096²"])
        border = np.zeros(image.shape, dtype=bool)
        expected = self.detector.map(image, pixel_size, border).logits
        total = torch.cuda.get_device_properties(self.device).total_memory / 2**20
        found = {}
        kept = patches._AT_ONCE["cuda"]
        for mebibytes in (2048, 1024, 768, 512, 256):
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(min(1.0, mebibytes / total), self.device)
            patches._AT_ONCE["cuda"] = kept
            try:
                logits = self.detector.map(image, pixel_size, border).logits
                largest = float(np.abs(logits - expected).max())
                found[mebibytes] = {"pixels": patches._AT_ONCE["cuda"], "largest difference": largest}
            except Exception as error:  # which one it is, is the result
                found[mebibytes] = {"error": f"{type(error).__name__}: {error}"}
        torch.cuda.set_per_process_memory_fraction(1.0, self.device)
        patches._AT_ONCE["cuda"] = kept
        return found

    def workers(self) -> List[Dict[str, Any]]:
        """Measure several processes on the device at the same time."""
        found = []
        for number in WORKERS[: 2 if self.quick else 3]:
            command = [sys.executable, __file__, "--device", str(self.device), "--worker", *(["--quick"] * self.quick)]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
            spans = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in running]
            together = max(span["end"] for span in spans) - min(span["start"] for span in spans)
            found.append({"workers": number, "per_hour": 3600 * sum(span["maps"] for span in spans) / together})
        return found

    def work(self) -> Dict[str, Any]:
        """Map one micrograph again and again, as one of several workers."""
        image, pixel_size = noise(*list(self.sizes().values())[-1 if self.quick else 1])
        border, maps = np.zeros(image.shape, dtype=bool), 2 if self.quick else 40
        self.detector.map(image, pixel_size, border)
        start = time.time()
        for _ in range(maps):
            self.detector.map(image, pixel_size, border)
        return {"start": start, "end": time.time(), "maps": maps}

    def tests(self) -> Dict[str, Any]:
        """Run the tests of what computes on the device."""
        words = TESTS[:1] if self.quick else TESTS
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
        return {"status": done.returncode, "last line": (done.stdout.strip().splitlines() or [done.stderr[-500:]])[-1]}


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let convolutions round their factors to 10 bits, or not."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept


def noise(rows: int, columns: int, pixel_size: float) -> Tuple[np.ndarray, float]:
    """Return a micrograph of noise and its pixel size."""
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32), pixel_size


def probability_of(detector: NetworkDetector, image: np.ndarray, pixel_size: float) -> np.ndarray:
    """Return P(BAD) of each cell of a micrograph without border."""
    return probability(detector.map(image, pixel_size, np.zeros(image.shape, dtype=bool)), 0.0)


def table(result: Dict[str, Any]) -> str:
    """Return the result as a table: one line for each row of each part."""
    lines = ["| part | seconds | result |", "|---|---|---|"]
    for name, part in result["parts"].items():
        found = part.get("result", part.get("error"))
        rows = [f"{key}: {value}" for key, value in found.items()] if isinstance(found, dict) else found
        for row in rows if isinstance(rows, list) else [rows]:
            lines.append(f"| {name} | {part['seconds']:.1f} | {row} |")
    return "\n".join(lines)


def main() -> int:
    """Run all parts, print and write what they found; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--quick", action="store_true", help="small micrographs and few repeats: a rehearsal")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    started = time.monotonic()
    check = Check(torch.device(args.device), args.quick)
    if args.worker:
        print(json.dumps(check.work()))
        return 0
    name = torch.cuda.get_device_name(check.device) if check.device.type == "cuda" else "CPU"
    result: Dict[str, Any] = {**about(name), "torch": torch.__version__, "numpy": np.__version__, "parts": {}}
    for title, part in check.parts().items():
        begun = time.monotonic()
        try:
            found = {"result": part()} if begun - started < LIMIT else {"error": "left out: no time"}
        except Exception as error:  # the next part may still say something
            found = {"error": f"{type(error).__name__}: {error}"}
        result["parts"][title] = {**found, "seconds": round(time.monotonic() - begun, 2)}
        print(f"{title}: {found}", flush=True)
    record(result, args.output)
    print(table(result))
    return int(any("error" in part for part in result["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
