# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare maps with label images, by the same rules for models and for classical maps. Imports no torch.

A room of its own beside training: it takes what the screening makes of a data set (reference, scoring), and works on
any detector, trained or not.
"""
