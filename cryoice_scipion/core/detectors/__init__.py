# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect bad areas: networks and tests that turn the views of a micrograph into class maps. Read model folders."""
