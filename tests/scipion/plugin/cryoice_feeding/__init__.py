# SPDX-License-Identifier: GPL-3.0-or-later
"""A Scipion plugin for tests and benchmarks: a protocol that streams to order, and one that watches what comes out."""

import os
import sys
from pathlib import Path

import pwem

FOLDER = Path(__file__).resolve().parents[1]


class Plugin(pwem.Plugin):
    """Needs nothing."""


def install(folder):
    """Let this Scipion, and the processes it starts, find the plugin; before Scipion looks for plugins.

    ``folder`` takes what an installed package would have beside it.
    """
    info = Path(folder) / "cryoice_feeding-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cryoice_feeding\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pyworkflow.plugin]\ncryoice_feeding = cryoice_feeding\n")
    paths = [str(folder), str(FOLDER)]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
