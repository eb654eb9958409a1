# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pages of the site into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from site_builder.pages import build

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("target", type=Path, help="folder; it is emptied before")
parser.add_argument("--no-notebook", action="store_true", help="do not execute the notebook, and leave its page out")
options = parser.parse_args()
build(options.target, not options.no_notebook)
