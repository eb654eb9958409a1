# SPDX-License-Identifier: GPL-3.0-or-later
"""The local page of ``cryoice serve``: try a micrograph, review a run, teach the model. Imports no torch."""
