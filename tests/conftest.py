# SPDX-License-Identifier: GPL-3.0-or-later
"""A Scipion of its own for the tests, in a temporary folder, before anything imports pyworkflow."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"
HOME = Path(tempfile.mkdtemp(prefix="cryoice_tests_"))

(HOME / "config").mkdir()
# The text of pyworkflow.protocol.HostConfig.writeBasic, which cannot be called before the variables are set.
(HOME / "config" / "hosts.conf").write_text(
    "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d --map-by node %_(COMMAND)s\n"
)
os.environ.update(
    SCIPION_DOMAIN="pwem",
    SCIPION_HOME=str(HOME),
    SCIPION_USER_DATA=str(HOME / "user_data"),
    SCIPION_PYTHON=sys.executable,
    SCIPION_NOTIFY="False",
    SCIPION_TEST_NOSYNC="True",
)


def pytest_unconfigure():
    """Remove the tests' Scipion."""
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
