# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a torch that works on the GPUs of this machine into the environment of the running interpreter.

``python install_torch.py REQUIREMENT`` needs only pip. Scipion's installer runs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from typing import List, Sequence

BUILDS = "https://download.pytorch.org/whl/"
#: Builds for drivers and GPUs that the default build no longer supports, newest first.
OLDER_CUDA = ("cu128", "cu126", "cu118")
NO_BUILD = """No build of torch works on the GPUs of this machine. Update the NVIDIA driver, then install again.
The default build is installed now; it can use the processor."""
PROBE = """
import torch
assert torch.cuda.is_available()
for device in range(torch.cuda.device_count()):
    image = torch.ones(1, 1, 16, 16, device=f"cuda:{device}")
    torch.nn.functional.conv2d(image, image[..., :3, :3]).cpu()
"""


def main(requirement: str) -> int:
    """Install torch and return the exit status: 0 when there is a torch, even one that cannot use the GPU."""
    if not has_gpu():
        print("No NVIDIA GPU is found here: a build of torch for the processor is preferred.", flush=True)
        # Builds for the processor have a suffix to their version, so pip prefers them to those of the same version
        # without one. Where this index cannot be reached, the default build is taken.
        return pip("install", requirement, "--extra-index-url", f"{BUILDS}cpu")
    if pip("install", requirement) == 0 and works_on_gpus():
        return 0
    for build in OLDER_CUDA:
        print(f"This torch does not work on the GPUs of this machine: trying the build {build}.", flush=True)
        remove_torch()
        if pip("install", requirement, "--index-url", BUILDS + build) == 0 and works_on_gpus():
            return 0
    print(NO_BUILD, flush=True)
    remove_torch()
    return pip("install", requirement)


def has_gpu() -> bool:
    """Return whether the NVIDIA driver lists a GPU."""
    command = ["nvidia-smi", "-L"]  # wherever the driver's package put it
    try:
        listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and b"GPU" in listed.stdout


def works_on_gpus() -> bool:
    """Return whether the installed torch computes on each GPU; asked of a process of its own."""
    return subprocess.run([sys.executable, "-I", "-c", PROBE]).returncode == 0


def remove_torch() -> None:
    """Remove torch and the CUDA packages that came with it."""
    names = {str(found.metadata["Name"]) for found in metadata.distributions()}
    ours: List[str] = sorted(name for name in names if re.match(r"(torch|triton|nvidia-.*|cuda-.*)$", name.lower()))
    if ours:
        pip("uninstall", "-y", *ours)


def pip(*words: str) -> int:
    """Run pip and return its exit status."""
    command: Sequence[str] = [sys.executable, "-I", "-m", "pip", *words]
    print(" ".join(command), flush=True)
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
