# SPDX-License-Identifier: GPL-3.0-or-later
"""A detector without a network: bad is where the local variance is high. Also run as a child process by tests."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.records import MicrographTask, Pick
from cryoice_scipion.core.workers.local_executor import LocalExecutor

SAMPLING = 32.0  # Å of a cell
PIXEL = 4.0  # Å/px of the micrographs
SIDE = (160, 208)


class VarianceDetector:
    """Log-odds of BAD = 4 × (log10 of the cell's variance - 1); the unit variance of clean noise gives -4."""

    def __init__(self, pause=0.0, classes=("good", "support")):
        self.pause = pause
        self.config = ModelConfig(
            name="variance",
            classes=list(classes),
            views=[ViewConfig(sampling=4.0, window=8)],
            stride=8,
            recommended_threshold=0.5,
            baseline_logit=-4.0,
        )

    def map(self, image, pixel_size, border, inverted):
        time.sleep(self.pause)
        rows, columns = (int(np.ceil(side * pixel_size / SAMPLING)) for side in image.shape)
        y = np.minimum((np.arange(image.shape[0]) + 0.5) * pixel_size // SAMPLING, rows - 1).astype(int)
        x = np.minimum((np.arange(image.shape[1]) + 0.5) * pixel_size // SAMPLING, columns - 1).astype(int)
        cell = (y[:, None] * columns + x[None, :]).ravel()
        count = np.maximum(np.bincount(cell, minlength=rows * columns), 1)
        mean = np.bincount(cell, image.ravel(), rows * columns) / count
        variance = np.bincount(cell, (image.ravel() - mean[cell]) ** 2, rows * columns) / count
        share = np.bincount(cell, border.ravel(), rows * columns) / count
        odds = (4 * (np.log10(variance + 1e-6) - 1)).reshape(rows, columns)
        odds += 0.5 if inverted else 0.0  # so that a map of the wrong contrast is told from the right one
        others = [np.full_like(odds, -30.0)] * (len(self.config.classes) - 2)  # never found
        low_passed = mean - np.median(mean)
        return ClassMap(
            logits=np.stack([np.zeros_like(odds), odds, *others]).astype(np.float32),
            border=(share > 0.5).reshape(rows, columns),
            classes=list(self.config.classes),
            sampling=SAMPLING,
            skewness=float((low_passed**3).mean() / (low_passed**2).mean() ** 1.5),
        )


def executor(**options):
    return LocalExecutor(VarianceDetector(**options), "variance-1", "cpu")


def write_micrograph(path, seed=0, bad_columns=64, bright=False, pixel_size=PIXEL):
    """Write clean noise with dark blobs, and a strip of ``bad_columns`` px on the left whose variance is high."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, SIDE).astype(np.float32)
    image[:, :bad_columns] *= 30
    image[80:96, 120:136] -= 20 + seed % 3
    with mrcfile.new(str(path), overwrite=True) as mrc:
        mrc.set_data(-image if bright else image)
        mrc.voxel_size = pixel_size
    return Path(path)


def make_tasks(folder, number, picks=6, **options):
    """Return tasks of ``number`` new micrographs; every second pick lies in the bad strip."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = []
    for i in range(number):
        path = write_micrograph(folder / f"mic{i + 1:03d}.mrc", seed=i, **options)
        points = [Pick(1000 * i + k, 32.0 if k % 2 else 170.0, 20.0 + 20 * k, 16.0) for k in range(picks)]
        tasks.append(MicrographTask(i + 1, str(path), path.stem, None, points))
    return tasks


def serve_stand_in(folder):
    """Be a worker that :func:`fragile` computes for."""
    from cryoice_scipion.core.workers.worker import serve

    return serve(lambda: fragile(folder))


def fragile(folder):
    """Return an executor; a micrograph named in FOLDER/kill.txt kills its process, as often as its name is there."""
    kills = Path(folder) / "kill.txt"

    class Fragile(LocalExecutor):
        def map(self, task, config, contrast, into):
            print("a library that prints on stdout")
            names = kills.read_text().split() if kills.exists() else []
            if task.stem in names:
                names.remove(task.stem)
                kills.write_text("\n".join(names))
                os.kill(os.getpid(), signal.SIGKILL)
            return super().map(task, config, contrast, into)

    return Fragile(VarianceDetector(), "variance-1", "stand-in")


def screen_stand_in(folder, micrographs, number, resume):
    """Screen in this process, slowly, for tests that kill it."""
    from cryoice_scipion.core.screening.options import RunOptions
    from cryoice_scipion.core.screening.run import ScreeningRun

    tasks = make_tasks(Path(micrographs), int(number)) if not Path(micrographs).exists() else None
    tasks = tasks or load_tasks(Path(micrographs), int(number))
    log = logging.getLogger("standin")
    with ScreeningRun(
        Path(folder), ScreenConfig(reference=4), [executor(pause=0.03)], RunOptions(resume == "resume"), log
    ) as run:
        for record in run.process(tasks):
            print(json.dumps(record.stem), flush=True)
    return 0


def load_tasks(folder, number):
    """Return the tasks of micrographs that :func:`make_tasks` wrote."""
    tasks = []
    for i in range(number):
        points = [Pick(1000 * i + k, 32.0 if k % 2 else 170.0, 20.0 + 20 * k, 16.0) for k in range(6)]
        path = folder / f"mic{i + 1:03d}.mrc"
        tasks.append(MicrographTask(i + 1, str(path), path.stem, None, points))
    return tasks


if __name__ == "__main__":
    sys.exit({"serve": serve_stand_in, "screen": screen_stand_in}[sys.argv[1]](*sys.argv[2:]))
