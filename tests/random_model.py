# SPDX-License-Identifier: GPL-3.0-or-later
"""A small network of random weights in a model folder: all that a screening needs, in milliseconds a micrograph."""

from cryoice_scipion.constants import BAD, GOOD
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.model_folder import write_sums

_LEVEL = 2.2  # log-odds: noise (noise.py) then lies about the level of the model, and has good and bad places


def write_random_model(folder, threshold=0.5, width=2, level=_LEVEL, classes=(GOOD, BAD)):
    """Write the model folder and return it. P(BAD) spreads over the whole range."""
    import torch

    from cryoice_scipion.core.detectors.loading import build_network
    from cryoice_scipion.core.detectors.network_detector import save_weights

    folder.mkdir(parents=True)
    views = [ViewConfig(kind="patch", sampling=4.0), ViewConfig(kind="fft", sampling=4.0)]
    options = {"classes": list(classes), "network_options": {"width": width}}
    config = ModelConfig(name="random", views=views, recommended_threshold=threshold, **options)
    torch.manual_seed(3)
    network = build_network(config)
    for part in network.modules():  # so that the log-odds spread: fresh weights say .5 everywhere
        if isinstance(part, torch.nn.Conv2d):
            part.weight.data *= 3
    network.head[-1].bias.data[1] += level
    (folder / "model.json").write_text(config.to_text())
    (folder / "card.md").write_text("# random\nFor tests.\n")
    save_weights(network, folder / "weights.safetensors")
    write_sums(folder)
    return folder
