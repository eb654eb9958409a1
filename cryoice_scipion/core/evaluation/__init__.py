# SPDX-License-Identifier: GPL-3.0-or-later
"""How good maps are, against label images: the same judge for models and for classical maps. Imports no torch.

A room of its own beside training: it takes what the screening makes of a data set (reference, judging), and works on
any detector, trained or not.
"""
