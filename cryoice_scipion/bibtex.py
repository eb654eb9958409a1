# SPDX-License-Identifier: GPL-3.0-or-later
"""
@article{SanchezGarcia2020,
title = {MicrographCleaner: A python package for cryo-EM micrograph cleaning using deep learning},
author = {Sanchez-Garcia, R. and Segura, J. and Maluenda, D. and Sorzano, C. O. S. and Carazo, J. M.},
journal = {Journal of Structural Biology},
volume = {210},
number = {3},
pages = {107498},
year = {2020},
doi = {https://doi.org/10.1016/j.jsb.2020.107498}
}

@article{Dhakal2023,
title = {A large expert-curated cryo-EM image dataset for machine learning protein particle picking},
author = {Dhakal, A. and Gyawali, R. and Wang, L. and Cheng, J.},
journal = {Scientific Data},
volume = {10},
pages = {392},
year = {2023},
doi = {https://doi.org/10.1038/s41597-023-02280-2}
}

@inproceedings{Guo2017,
title = {On Calibration of Modern Neural Networks},
author = {Guo, C. and Pleiss, G. and Sun, Y. and Weinberger, K. Q.},
booktitle = {Proceedings of the 34th International Conference on Machine Learning},
volume = {70},
pages = {1321--1330},
year = {2017},
url = {https://proceedings.mlr.press/v70/guo17a.html}
}

@article{Youden1950,
title = {Index for rating diagnostic tests},
author = {Youden, W. J.},
journal = {Cancer},
volume = {3},
number = {1},
pages = {32--35},
year = {1950},
doi = {https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3}
}
"""
