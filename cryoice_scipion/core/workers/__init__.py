# SPDX-License-Identifier: GPL-3.0-or-later
"""Map and score micrographs: in this process, or in a child process per device."""
