# SPDX-License-Identifier: GPL-3.0-or-later
"""Freed memory is kept for the next array, unless the user says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from cryoice_scipion.core.cli.memory import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else False
def work():
    torch.ones(3000, 3000, dtype=torch.float64)  # 72 MB: below 32 MB glibc may learn to keep them by itself
for _ in range(15):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    kept, number = done.stdout.split()
    return kept == "True", int(number)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_pages_of_large_arrays_are_faulted_in_once():
    assert faults("leave")[1] > 10_000  # 72 MB are 17,600 pages of 4 kB
    kept, number = faults("keep")
    assert kept
    assert number < 1_000


def test_what_the_user_asks_of_the_c_library_stays():
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] is False
