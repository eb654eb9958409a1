# SPDX-License-Identifier: GPL-3.0-or-later
"""A Scipion of its own for the tests, in a temporary folder, before anything imports pyworkflow."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from cryoice_scipion.demo import prepare

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"
HOME = Path(tempfile.mkdtemp(prefix="cryoice_tests_"))

prepare(HOME)
sys.path.insert(0, str(ROOT / "tests" / "scipion" / "plugin"))
os.environ.update(SCIPION_USER_DATA=str(HOME / "user_data"), SCIPION_TEST_NOSYNC="True")


#: The files that take longest. They begin first, so that no worker waits for another at the end.
LONGEST = ("test_installed.py", "test_train.py")


def pytest_configure(config):
    """Let pytest-xdist keep the order of the files."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_unconfigure():
    """Remove the tests' Scipion, and what a test that failed has left running in it."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(HOME) in word for word in process.info["cmdline"] or []):
            with contextlib.suppress(psutil.Error):
                process.kill()
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_runtest_setup(item):
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of real micrographs and picks, which are not part of the repository."""
    if not REAL.is_dir():
        pytest.skip("the real micrographs (../shared/real) are not here")
    return REAL
