# SPDX-License-Identifier: GPL-3.0-or-later
"""Run as a job of other programs: RELION, CCP-EM Pipeliner and cryoSPARC. Thin: the work is done by the rooms below."""
