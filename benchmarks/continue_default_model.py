# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the shipped model further when its views change: all layers, from its own weights, in four epochs.

usage: python benchmarks/continue_default_model.py [--model NAME|DIR] [--build DIR] [--epochs N] [--output DIR]
On the same micrographs, with the same split, as ``make default-model``, which trains a model from nothing in five times
the time. The last layer is fitted first, then all layers with a lower learning rate. The weights half way between the
old and the new ones are kept (Wortsman et al. 2022, CVPR), and the refinement head is fitted to them. With the new ones
alone, twice as much clean area was called bad on detectors that were not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from train_default_model import BUILD, REAL, REAL_CROPS, SETS, SHARED, add_notes, prepare, write_real  # noqa: E402

from cryoice_scipion.constants import DEFAULT_MODEL  # noqa: E402
from cryoice_scipion.core.config import ModelConfig, TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import HISTORY, load_config, resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.network_detector import read_weights  # noqa: E402
from cryoice_scipion.core.detectors.unet import UNet  # noqa: E402
from cryoice_scipion.core.evaluation.labels import find_labelled  # noqa: E402
from cryoice_scipion.core.training.patches.fit import Fitted  # noqa: E402
from cryoice_scipion.core.training.trainers import TrainRequest  # noqa: E402
from cryoice_scipion.core.training.unet.crops import Cropper, views_of_crops  # noqa: E402
from cryoice_scipion.core.training.unet.fit import UNetRun, map_loss  # noqa: E402
from cryoice_scipion.core.training.unet.refinement_head import HIDDEN, fit_refinement_head  # noqa: E402
from cryoice_scipion.core.training.unet.train import TrainingData, save_on_maps, validate  # noqa: E402
from cryoice_scipion.core.training.unet.training_micrographs import prepare_micrographs  # noqa: E402
from cryoice_scipion.core.training.unet.training_sets import TrainingSet  # noqa: E402

RATE = 5e-4  # a quarter of the first training's
HEAD_STEPS, HEAD_RATE = 150, 1e-2
SHARE = 0.5  # of the new weights
OTHER_CROPS = 100  # added to the number of an epoch: crops that the first training did not see


def settings_of(model: ModelConfig, epochs: int) -> TrainConfig:
    """Return the settings of the first training with another number of epochs and another learning rate."""
    values = json.loads(model.trained_on["settings"])
    return TrainConfig(**{**values, "epochs": epochs, "learning_rate": RATE})


def without_refinement(folder: Path, model: ModelConfig) -> UNet:
    """Return the U-Net of a model folder with a new last layer in the place of the refinement head."""
    network = UNet(len(model.classes), model.network_options["width"])
    body = {name: value for name, value in read_weights(folder).items() if not name.startswith(("refine", "head"))}
    network.load_state_dict({**network.state_dict(), **body})
    return network.to(memory_format=torch.channels_last)


def fit_last_layer(network: UNet, croppers: Sequence[Cropper], classes: Sequence[str], config: TrainConfig) -> None:
    """Fit the last layer of a network, in place, and nothing else; each micrograph is drawn as often as it is given."""
    network.eval()
    rng = np.random.default_rng(5)
    optimizer = torch.optim.Adam(network.head.parameters(), HEAD_RATE)
    for step in tqdm(range(HEAD_STEPS), desc="last layer", unit="step"):
        some = [croppers[index] for index in rng.choice(len(croppers), config.batch, replace=False)]
        side = min(item.side for item in some)
        crops = [item.cut(rng) for item in some if item.side == side]
        views, labels, weights = views_of_crops(crops, config.augment, rng)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=config.mixed_precision):
            features = network.features(views)
        loss = map_loss(network.head(features.float()), labels, classes, weights)
        for group in optimizer.param_groups:
            group["lr"] = HEAD_RATE * (1 - step / HEAD_STEPS) + 1e-4
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def fit_all_layers(network: UNet, data: TrainingData, config: TrainConfig, history: List[Dict[str, float]]) -> UNet:
    """Return the network with all layers fitted; a row for each epoch is appended to the history."""
    croppers = [Cropper(name, item, data.crops[name] > 1) for name, item in data.training()]
    repeated = [item for item in croppers for _ in range(data.crops[item.name])]
    fit_last_layer(network, repeated, data.classes, config)
    run = UNetRun(network, croppers, data.classes, config, data.crops, "cpu")
    first = len(history)
    for epoch in tqdm(range(1, config.epochs + 1), desc="all layers", unit="epoch"):
        loss = run.epoch(OTHER_CROPS + epoch, progress=True)
        history.append({"epoch": float(first + epoch), "train_loss": loss, **validate(run.averaged, data, "cpu")[0]})
        print(history[-1], flush=True)
    return run.averaged


def between(old: UNet, new: UNet) -> UNet:
    """Return a network whose weights are means of those of two networks, except in the last layer."""
    before, after = old.state_dict(), new.state_dict()
    means = {
        name: (1 - SHARE) * before[name] + SHARE * value
        for name, value in after.items()
        if value.dtype.is_floating_point and not name.startswith("head")
    }
    new.load_state_dict({**after, **means})
    return new


def training_sets(build: Path, workers: int) -> Sequence[TrainingSet]:
    """Return the sets of ``make default-model``, made as far as they are not there."""
    folders = [*prepare(build, SETS, workers), *([write_real(build)] if SHARED.is_dir() else [])]
    cache = build / "fields"
    return [
        TrainingSet(
            folder.name,
            prepare_micrographs(find_labelled(folder), cache / folder.name),
            REAL_CROPS if folder.name == REAL else 1,
        )
        for folder in folders
    ]


def main() -> None:
    """Prepare, train, calibrate, write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument(
        "--output", type=Path, help="model folder to write (default: model-continued, in the build folder)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="sets made at once (default: one a core)")
    args = parser.parse_args()
    folder = resolve_model(args.model)
    base = load_config(folder)
    config = settings_of(base, args.epochs)
    data = TrainingData.load(training_sets(args.build, args.workers), config)
    torch.manual_seed(0)
    history = pd.read_csv(folder / HISTORY).to_dict("records")
    network = fit_all_layers(without_refinement(folder, base), data, config, history)
    network = between(without_refinement(folder, base), network)
    refined = fit_refinement_head(
        network, dict(data.training()), data.crops, data.classes, config.seed, "cpu", progress=True
    )
    fitted = Fitted(refined, data.classes, history, options={"width": config.width, "hidden": HIDDEN})
    output = args.output or args.build / "model-continued"
    topics = {**base.trained_on, "settings": config.model_dump_json()}
    save_on_maps(refined, fitted, data, TrainRequest(config, output), topics)
    add_notes(output)
    print(f"model in {output}; install it with benchmarks/verdicts.py --model {output} --install")


if __name__ == "__main__":
    main()
