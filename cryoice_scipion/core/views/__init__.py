# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the views of a micrograph, which are the inputs of detectors: pure tensor functions, on CPU and CUDA.

Names of the views, as model.json lists them:

"patch"
    The image at the model's sampling, in windows, normalised by median and deviation of the whole micrograph.
"fft"
    The logarithm of the power of the patch's Fourier transform.
"context"
    Like "patch", but the whole micrograph at once.
"local"
    The image at the model's sampling, normalised by mean and deviation of the 260 Å around each pixel.
"coarse"
    Mean and deviation of 4 × 4 px of the image, for the wider surroundings of a patch.
"relative"
    Mean and deviation of the image around each cell, relative to all cells of the micrograph.
"outliers"
    How much mean and deviation of each cell stand out of the micrograph, at four scales.
"texture"
    Power by octave, means and extremes of the image around each cell; for fine-tuned models.
"spectrum"
    Features of the local power spectrum, at the micrograph's own sampling or about 1.5 Å/px.
"grey_levels"
    Mean, variance and power by band of each cell, in the grey levels of the micrograph (``session_features``).
"features"
    The same in standard deviations of the clean micrographs of the training.
"pixels"
    The image at the model's sampling, in standard deviations of the clean micrographs of the training.
"picture"
    The image of the whole micrograph at 16 Å/px.
"power"
    The average power spectrum of the whole micrograph (``power_spectrum``), and where it is known.
"spots"
    P-values of the test for lattice fringes, in windows of one size.
"""
