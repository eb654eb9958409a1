# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in detector and small micrographs with it, so that the screening is tested without training a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the children that tests start import standin as well
