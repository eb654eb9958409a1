# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m cryoice_scipion.core``: the command line, for an interpreter that has no ``cryoice`` command."""

from __future__ import annotations

import sys

from cryoice_scipion.core.cli import program

if __name__ == "__main__":
    sys.exit(program())
