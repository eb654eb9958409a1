# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare maps with label images, by the same rules for models and for classical maps. Imports no torch.

Evaluation is separate from training. It uses the scoring and the session reference of a screening, and works on any
detector, trained or not.
"""
