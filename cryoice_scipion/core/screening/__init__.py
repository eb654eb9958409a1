# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a screening: read the inputs, order the micrographs, call the workers, write the outputs, and resume."""
