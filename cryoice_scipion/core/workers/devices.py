# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``--device`` means on the command line."""

from __future__ import annotations

import re
from typing import List

from cryoice_scipion.core.errors import SettingsError


def devices_of(text: str) -> List[str]:
    """Return torch's names of the devices that ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1`` stands for.

    ``auto`` takes the first GPU if there is one; a GPU that is asked for by name must be there.

    Raises
    ------
    SettingsError
        When the text is none of these or the GPU is not there.
    """
    import torch  # slow: only when a command computes

    if text == "auto":
        return ["cuda:0" if torch.cuda.is_available() else "cpu"]
    if text == "cpu":
        return ["cpu"]
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", text)
    if not match:
        raise SettingsError("--device", f"'{text}' is no device", "give auto, cpu, cuda:0 or cuda:0,1")
    numbers = sorted({int(number) for number in (match.group(1) or "0").split(",")})
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if numbers[-1] >= seen:
        remedy = "give --device cpu" if not seen else f"give a number below {seen}"
        raise SettingsError("--device", f"GPU {numbers[-1]} is not there ({seen} seen)", remedy)
    return [f"cuda:{number}" for number in numbers]


def one_device(text: str) -> str:
    """Return the single device a command without several workers runs on."""
    return devices_of(text)[0]
