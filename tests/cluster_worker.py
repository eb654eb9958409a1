# SPDX-License-Identifier: GPL-3.0-or-later
"""Preloaded by the Dask workers of tests: they compute with the stand-in detector, and FOLDER/kill.txt kills them."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import standin  # noqa: E402

from cryoice_scipion.core.workers import cluster_task, worker  # noqa: E402


def load_stand_in(model, device, expected_version=""):
    """Return the stand-in instead of the model's detector."""
    worker.check_version(expected_version)
    return standin.fragile(os.environ["CRYOICE_TEST_FOLDER"])


cluster_task.load_executor = load_stand_in
