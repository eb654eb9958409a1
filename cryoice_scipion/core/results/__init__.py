# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a micrograph, the run folder with its journal, and the readers for viewers and reports."""
