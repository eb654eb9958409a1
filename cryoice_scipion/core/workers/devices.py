# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the name of a device into torch's names of CPU and GPUs, and check that torch sees them."""

from __future__ import annotations

import os
import re
import sys
from typing import List

from cryoice_scipion.core.errors import SettingsError, WorkerError, one_line


def find_devices(name: str) -> List[str]:
    """Return torch's names of the devices that ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1`` stands for.

    ``auto`` is the first GPU, or the CPU if there is no GPU. A GPU that is named must exist: nothing falls back to the
    CPU.

    Raises
    ------
    SettingsError
        If the name is none of these, or torch does not see the GPU.
    WorkerError
        If torch cannot be imported.
    """
    # Threads of OpenMP that wait for work sleep. By default they spin, which on a busy machine multiplies the CPU time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # slow, therefore not at the top
    except Exception as error:  # a broken installation raises anything
        remedy = "install this package for this interpreter (python -m pip install .)"
        raise WorkerError(sys.executable, one_line(f"torch cannot be imported ({error})"), remedy) from None
    if name == "cpu":
        return ["cpu"]
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return ["cuda:0" if seen else "cpu"]
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", name)
    if not match:
        raise SettingsError("device", f"'{name}' is no device", "choose auto, cpu, cuda:0 or cuda:0,1")
    numbers = sorted({int(number) for number in (match.group(1) or "0").split(",")})
    if numbers[-1] >= seen:
        remedy = f"choose a GPU number below {seen}, or cpu" if seen else "choose cpu"
        reason = f"GPU {numbers[-1]} is not there (torch {torch.__version__} sees {seen} GPUs)"
        raise SettingsError("device", reason, remedy)
    return [f"cuda:{number}" for number in numbers]


def find_device(name: str) -> str:
    """Return the first of :func:`find_devices`, for work that takes one device."""
    return find_devices(name)[0]
