# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow template with RELION, with the real plugin and program: the kept picks become particles."""

import json
import os
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from noise import PIXEL_SIZE, SHAPE, write_noise
from pwem import Domain
from random_model import write_random_model
from scipion_data import Scipion, items

from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.formats.star import read_star

pytestmark = pytest.mark.scipion
BOX, EXTRACTED = 30, 32  # px


@pytest.fixture(scope="module")
def relion(tmp_path_factory):
    """The protocol of scipion-em-relion that extracts particles, with the RELION of this machine."""
    pytest.importorskip("relion", reason="needs scipion-em-relion")
    program = shutil.which("relion_preprocess")
    if program is None:
        pytest.skip("needs RELION")
    home = tmp_path_factory.mktemp("em") / "relion-5.0"
    (home / "bin").mkdir(parents=True)
    for path in Path(program).parent.glob("relion_*"):
        (home / "bin" / path.name).symlink_to(path)
    os.environ["RELION_HOME"] = str(home)  # for the process that extracts
    plugin = Domain.importFromPlugin("relion", "Plugin", doRaise=True)
    before = plugin._vars.get("RELION_HOME")
    plugin._vars["RELION_HOME"] = str(home)
    yield Domain.importFromPlugin("relion.protocols", "ProtRelionExtractParticles", doRaise=True)
    plugin._vars["RELION_HOME"] = before
    del os.environ["RELION_HOME"]


def write_session(folder):
    """Write micrographs and picks with scores, some at the edge; return the picks by micrograph."""
    rng, rows = np.random.default_rng(4), []
    for number in (1, 2, 3):
        write_noise(folder / "mics" / f"mic_{number}.mrc", number)
        places = zip(rng.integers(0, SHAPE[1], 40), rng.integers(0, SHAPE[0], 40), rng.random(40))
        rows += [(float(x), float(y), f"mic_{number}.mrc", score) for x, y, score in places]
    columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnAutopickFigureOfMerit"]
    write_star(folder / "picks.star", pd.DataFrame(rows, columns=columns))


def test_relion_extracts_the_kept_picks_with_their_scores(relion, tmp_path):
    write_session(tmp_path)
    model = write_random_model(tmp_path / "model", level=0.0)
    project = Scipion.begin("RelionProject")
    described = template(tmp_path)
    described[0]["dataStreaming"] = described[1]["dataStreaming"] = False  # all data are there
    described[2].update(modelSource=2, modelFolder=str(model), contrast=1, threshold=0.5, useGpu=False)
    imported, picked, screening, extraction = project.proj.loadProtocols(jsonStr=json.dumps(described)).values()
    assert type(extraction) is relion
    for protocol in (imported, picked, screening):
        project.run_here(protocol)
    kept = items(screening.outputCoordinates)
    assert 20 < len(kept) < 120
    project.launchProtocol(extraction)
    particles = items(extraction.outputParticles)
    assert set(particles) == set(kept)  # RELION fills boxes that reach over the edge with the nearest pixels
    assert any(reaches_over_the_edge(item) for item in kept.values())
    with mrcfile.open(next(iter(particles.values())).getFileName()) as stack:
        assert stack.data.shape[1:] == (EXTRACTED, EXTRACTED)
    picks = {key: item._pickScore.get() for key, item in items(picked.outputCoordinates).items()}
    for key, particle in particles.items():
        coordinate = particle.getCoordinate()
        assert (coordinate.getX(), coordinate.getY()) == (kept[key].getX(), kept[key].getY())
        assert coordinate._pickScore.get() == picks[key]
    writer = Domain.importFromPlugin("relion.convert", "writeMicCoordinates", doRaise=True)
    writer(None, list(kept.values()), str(tmp_path / "given.star"))  # what the extraction gives to RELION
    scores = read_star(tmp_path / "given.star")[0].table["rlnAutopickFigureOfMerit"].astype(float).tolist()
    assert scores == pytest.approx([picks[key] for key in kept], abs=1e-6)


def reaches_over_the_edge(item):
    half = EXTRACTED // 2
    return not (half <= item.getX() <= SHAPE[1] - half and half <= item.getY() <= SHAPE[0] - half)


def template(folder):
    """Return the protocols of the template, filled in as the command line does it."""
    plugin = Domain.getPlugins()["cryoice_scipion"].Plugin()
    (one,) = [found for found in plugin.getTemplates() if found.getObjId() == "cryoice_scipion-streaming_relion"]
    one.replaceEnvVariables()
    one.parseContent()
    values = {"micrographs": str(folder / "mics"), "picks": str(folder / "picks.star"), "pixelsize": str(PIXEL_SIZE),
              "boxsize": str(BOX), "extractbox": str(EXTRACTED), "gpu": "false"}  # fmt: skip
    for alias, value in values.items():
        one.setParamValue(alias, value)
    path = Path(one.createTemplateFile())
    protocols = json.loads(path.read_text())
    path.unlink()
    return protocols
