# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a run: where its files lie, the journal, and readers for viewers and reports."""
