# SPDX-License-Identifier: GPL-3.0-or-later
"""Build and install scipion-em-cryoice. The version is that of constants.py, the dependencies those of the core."""

import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
CONSTANTS = runpy.run_path(str(HERE / "cryoice_scipion" / "constants.py"))
DOCS, SOURCE = CONSTANTS["DOCS_URL"], CONSTANTS["SOURCE_URL"]
LINES = [line.strip() for line in (HERE / "requirements-core.txt").read_text(encoding="utf-8").splitlines()]
CORE = [line for line in LINES if line and not line.startswith("#")]
# scipion-em and pyworkflow pin these to single versions. Without the upper bounds pip first takes the newest of each,
# and what goes with those (pandas with numpy 2), and then may find no way back.
PINNED = [
    "numpy<2",
    "scipy<1.12",
    "mrcfile<1.5",
    "matplotlib<3.9",
    "Pillow<10.2",
    "tifffile<2023.9.27",
]
SERVE = ["starlette>=0.40", "uvicorn>=0.23", "python-multipart>=0.0.13"]
CLUSTER = ["distributed>=2023.5", "dask-jobqueue>=0.8"]  # the newest for Python 3.8
DASHBOARD = [
    "tensorboard>=2.10; python_version < '3.9'",
    "tensorboard>=2.21; python_version >= '3.9'",  # older ones need pkg_resources, which setuptools 82 has not
]
TEST = [
    *CLUSTER,
    *DASHBOARD,
    *SERVE,
    "axe-core-python>=0.1; python_version >= '3.10'",  # holds axe-core, which checks the accessibility of the page
    "cryosparc-tools>=4.4",
    "httpx>=0.22",  # starlette.testclient
    "hypothesis>=6",
    "ipykernel>=6",
    "nbclient>=0.8",
    "optuna>=4.3",
    "psutil>=5",
    "pytest>=7",
    "pytest-xdist>=3",
    "starfile>=0.5; python_version < '3.9'",
    "starfile>=0.5.6; python_version >= '3.9'",  # reads quoted values
]
SCIPION = ["scipion-pyworkflow>=3.11", "scipion-em>=3.11", *PINNED]


def absolute(match):
    """Return a link of the README with an address instead of a path: the package index has no other files of ours."""
    before, path = match.groups()
    if re.match(r"[a-z]+:|#", path):
        return match.group()
    if not path.startswith("docs/"):
        return f"{before}{SOURCE}/blob/main/{path}"
    path = re.sub(
        r"\.md(#.*)?$", r".html\1", path[len("docs/") :]
    )  # as `use_directory_urls: false` of mkdocs.yml names them
    return f"{before}{DOCS}{path}"


README = (HERE / "README.md").read_text(encoding="utf-8")
README = re.sub(r"(\]\(|(?:src|href)=\"|^\[[^\]]+\]: )([^)\s\"]+)", absolute, README, flags=re.MULTILINE)

setup(
    name=CONSTANTS["DISTRIBUTION"],
    version=CONSTANTS["VERSION"],
    description="Scipion plugin that finds ice, contamination and support in cryo-EM micrographs, and cleans picks",
    long_description=README,
    long_description_content_type="text/markdown",
    url=DOCS,
    project_urls={"Documentation": DOCS, "Source": SOURCE, "Changes": f"{SOURCE}/blob/main/CHANGELOG.md"},
    author="The developers of scipion-em-cryoice",
    license="GPL-3.0-or-later",
    license_files=["LICENSE"],
    keywords="scipion cryo-em electron-microscopy ice contamination particle-picking",
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
    python_requires=">=3.8,<3.13",
    install_requires=CORE,
    extras_require={
        "scipion": SCIPION,
        "cryosparc": ["cryosparc-tools>=4.4"],  # reads the compressed .cs files of cryoSPARC 4.4 and later
        "pipeliner": ["ccpem-pipeliner>=1.6"],  # needs numpy 2 and Python 3.9, so not beside scipion-em
        "sweep": ["optuna>=4.3"],  # 4.2 and older wait forever for a lock whose process was killed
        "dashboard": DASHBOARD,
        "serve": SERVE,
        "cluster": CLUSTER,
        "proposals": ["selectivesearch>=0.4"],  # `cryoice regions --proposals selective_search`
        "test-core": TEST,
        "test": [*TEST, "scipion-em-relion>=5.0.2"],  # with RELION itself, a test runs the template with RELION
        "lint": ["ruff>=0.8", "mypy>=1.10", "import-linter>=2.0", "vermin>=1.6"],
    },
    # The explicit root makes an editable install a plain path entry. The import hook that setuptools would use
    # instead loses against a folder of the same name beside the caller (an empty namespace package).
    package_dir={"": "."},
    packages=find_packages(include=["cryoice_scipion", "cryoice_scipion.*"]),
    package_data={
        "": ["*.j2"],
        "cryoice_scipion": [
            "protocols.conf",
            "cryoice_logo.png",
            "models/*/*",
            "core/grades/*.json",
            "core/serve/pages/*",
            "core/serve/static/*",
            "core/regions/*.json",
            "templates/*.json.template",
        ]
        + ["templates/relion/*/*/*.star", "templates/relion/*/*/*/*.star"],
    },
    entry_points={
        "pyworkflow.plugin": ["cryoice_scipion = cryoice_scipion"],
        "pyworkflow.guiplugin": ["cryoice_scipion = cryoice_scipion.viewers.preferred"],
        "ccpem_pipeliner.jobs": [
            "cryoice.select.coordinates = cryoice_scipion.core.integrations.pipeliner_job:SelectCoordinates",
        ],
        "console_scripts": ["cryoice = cryoice_scipion.core.cli:program"],
    },
)
