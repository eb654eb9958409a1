# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the Scipion protocols: they pass the form to the core and register the outputs. No torch, no computation."""

from cryoice_scipion.protocols.protocol_filter import CryoIceProtFilter
from cryoice_scipion.protocols.protocol_import_coordinates import CryoIceProtImportCoordinates
from cryoice_scipion.protocols.protocol_import_cryoppp import CryoIceProtImportCryoPPP
from cryoice_scipion.protocols.protocol_import_model import CryoIceProtImportModel
from cryoice_scipion.protocols.protocol_regions import CryoIceProtRegions
from cryoice_scipion.protocols.protocol_screen import CryoIceProtScreen
from cryoice_scipion.protocols.protocol_simulate import CryoIceProtSimulate
from cryoice_scipion.protocols.protocol_train import CryoIceProtTrain
from cryoice_scipion.protocols.protocol_train_micrographs import CryoIceProtTrainMicrographs

__all__ = [
    "CryoIceProtFilter",
    "CryoIceProtImportCoordinates",
    "CryoIceProtImportCryoPPP",
    "CryoIceProtImportModel",
    "CryoIceProtRegions",
    "CryoIceProtScreen",
    "CryoIceProtSimulate",
    "CryoIceProtTrain",
    "CryoIceProtTrainMicrographs",
]
