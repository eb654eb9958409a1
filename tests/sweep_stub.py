# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of detector whose training takes milliseconds, for tests of sweeps. As a program: run ``cryoice`` with it."""

import math
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.model_folder import write_sums
from cryoice_scipion.core.training.trainers import Epoch

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "width": {"values": [8, 16]}}
KIND = kinds.Kind("stub", __name__, "learns nothing", __name__ + ":train", has_weights=False, space=SPACE)
SOURCES = {"north": ["n1", "n2"], "south": ["s1", "s2"]}
EPOCHS = 4
BEST = 1e-3  # the learning rate with the highest score


def register():
    kinds.register(KIND)


def micrographs_by_source(request):
    return SOURCES


def train(request):
    """Score a learning rate; log each training in the file STUB_LOG, and take STUB_PAUSE seconds for an epoch."""
    config = request.config
    left_out = [name for name, members in SOURCES.items() if members == config.hold_out]
    file, pause = os.environ.get("STUB_LOG"), os.environ.get("STUB_PAUSE", "0")
    score = 0.9 - 0.1 * abs(math.log10(config.learning_rate / BEST)) - 0.001 * config.seed
    for epoch in range(1, EPOCHS + 1):
        time.sleep(float(pause))
        request.on_epoch(Epoch({"epoch": float(epoch), "train_loss": 1.0 / epoch, "validation_auc": score}))
    if file:
        with open(file, "a") as stream:
            stream.write(f"{left_out} {config.learning_rate} {config.width} {config.seed}\n")
    model = ModelConfig(
        name=config.name,
        network="stub",
        network_options={"width": config.width},
        views=[ViewConfig(kind="stub", window=None)],
        trained_on=request.describe({}, backgrounds=False),
    )
    (request.output / "model.json").write_text(model.to_text(), encoding="utf-8")
    write_sums(Path(request.output))
    test = {"auc": score + (0.05 if left_out == ["north"] else -0.05)} if left_out else {}
    return SimpleNamespace(folder=request.output, config=model, validation={}, test=test, interrupted=None, before={})


if __name__ == "__main__":
    sys.modules["sweep_stub"] = sys.modules["__main__"]
    kinds.register(kinds.Kind("stub", "sweep_stub", "", "sweep_stub:train", has_weights=False, space=SPACE))
    sys.exit(main(sys.argv[1:]))
