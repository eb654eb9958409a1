# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare maps with label images, by the same rules for models and for classical maps. Imports no torch.

It uses the session reference and the scoring of the screening, and works for any detector, trained or not.
"""
