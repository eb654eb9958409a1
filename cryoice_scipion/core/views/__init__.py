# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network sees of a micrograph: pure tensor functions, on CPU and CUDA."""
