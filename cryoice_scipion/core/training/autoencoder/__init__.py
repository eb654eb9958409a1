# SPDX-License-Identifier: GPL-3.0-or-later
"""Train an autoencoder on clean micrographs, and calibrate it on clean micrographs that were left out."""
