# SPDX-License-Identifier: GPL-3.0-or-later
"""Try: a dropped micrograph gives pictures, regions, counts and files; the server survives its worker."""

import io
import sys
import zipfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image
from serving import client_of, make_test_place, micrograph, mrc_bytes

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.serve import pictures, tries
from cryoice_scipion.core.workers.client import WorkerClient

IMAGE = micrograph()
STAR = b"data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n30 80\n150 80\n160 120\n"
TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    place = make_test_place(tmp_path_factory.mktemp("serve") / "own")
    with client_of(place) as client:
        client.place = place
        yield client


def screen(client, content, name="mic.mrc", coordinates=None, **fields):
    files = {"micrograph": (name, content)}
    if coordinates is not None:
        files["coordinates"] = ("picks.star", coordinates)
    answer = client.post("/api/try", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_micrograph_gives_areas_pictures_and_files(client, tmp_path):
    found = screen(client, mrc_bytes(tmp_path, IMAGE), coordinates=STAR, diameter="60")
    assert (found["name"], found["width"], found["height"], found["pixel_size"]) == ("mic.mrc", 208, 160, 4.0)
    assert found["bad_area"] == pytest.approx(64 / 208, abs=0.03)
    assert found["picks"] == [[30.0, 80.0, 0], [150.0, 80.0, 1], [160.0, 120.0, 1]] and found["diameter"] == 15.0
    (region,) = found["regions"]
    assert region["likeliest"] == "support" and region["box"][2] == pytest.approx(64, abs=8)
    assert region["path"].startswith("M") and found["mask"][0]["class"] == "support"
    assert found["grade"] and found["reason"].endswith(".")
    for name in ("picture.jpg", "mean.jpg", "spectrum.jpg", "probability.png", "thumbnail.png"):
        Image.open(io.BytesIO(client.get(found["url"] + name).content)).load()
    assert client.get(found["url"] + "shown.json").json() == found  # for a page that is loaded again
    for name in found["files"]:
        answer = client.get(found["url"] + name)
        assert answer.status_code == 200 and f'filename="mic_{name}"' in answer.headers["content-disposition"]
    (tmp_path / "mask.mrc").write_bytes(client.get(found["url"] + "mask.mrc").content)
    with mrcfile.open(tmp_path / "mask.mrc") as mask:
        assert 1 - mask.data.mean() == pytest.approx(found["bad_area"], abs=0.01)


def test_all_files_come_in_one(client, tmp_path):
    found = screen(client, mrc_bytes(tmp_path, IMAGE), coordinates=STAR, diameter="60")
    packed = zipfile.ZipFile(io.BytesIO(client.get(found["url"] + "all.zip").content))
    views = ["picture.jpg", "mean.jpg", "spectrum.jpg", "probability.png", "regions.json"]
    assert sorted(packed.namelist()) == sorted(f"mic/mic_{name}" for name in [*found["files"][1:], *views])
    assert not packed.testzip() and b"support" in packed.read("mic/mic_regions.csv")
    for name in packed.namelist():
        assert str(client.place.folder).encode() not in packed.read(name)


def test_a_finer_picture_is_made_from_an_upload(client, tmp_path):
    url = screen(client, mrc_bytes(tmp_path, IMAGE))["url"] + "picture.jpg"
    usual, sharp, smooth = (
        np.asarray(Image.open(io.BytesIO(client.get(url + words).content)), dtype=float)
        for words in ("", "?low_pass=10", "?low_pass=100")
    )
    assert usual.shape == sharp.shape == smooth.shape == (160, 208)
    rough = [np.abs(np.diff(one[:, 100:])).mean() for one in (smooth, usual, sharp)]
    assert rough[0] < rough[1] < rough[2]
    for words in ("low_pass=4", "low_pass=201", "low_pass=x", "low_pass=-5"):
        assert client.get(f"{url}?{words}").status_code == 422


def test_accepted_and_rejected_coordinates_are_star_files_of_the_micrograph(client, tmp_path):
    found = screen(client, mrc_bytes(tmp_path, IMAGE), coordinates=STAR, diameter="60")
    for name, expected in (("accepted.star", [[150, 80], [160, 120]]), ("rejected.star", [[30, 80]])):
        (tmp_path / name).write_bytes(client.get(found["url"] + name).content)
        table = read_picks(tmp_path / name).table
        assert table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy().tolist() == expected
        assert set(table["rlnMicrographName"]) == {"mic.mrc"}


def test_pixel_sizes_that_contradict_each_other_are_told(client, tmp_path):
    assert screen(client, mrc_bytes(tmp_path, IMAGE))["notes"] == []
    scaled = STAR.replace(b"_rlnCoordinateY\n", b"_rlnCoordinateY\n_rlnMicrographPixelSize\n").replace(b"0\n", b"0 8\n")
    found = screen(client, mrc_bytes(tmp_path, IMAGE), pixel_size="5", coordinates=scaled, diameter="60")
    assert found["notes"] == [
        "The file says 4 Å/px. The given 5 Å/px are used: check which is right.",
        "The coordinates are at 8 Å/px. They were scaled to 5 Å/px.",
    ]


def test_without_coordinates_there_are_no_files_of_them(client, tmp_path):
    assert "accepted.star" not in screen(client, mrc_bytes(tmp_path, IMAGE))["files"]


def test_coordinates_of_other_micrographs_are_refused(client, tmp_path):
    two = STAR.replace(b"_rlnCoordinateY\n", b"_rlnCoordinateY\n_rlnMicrographName\n").replace(b"80\n", b"80 a.mrc\n")
    two = two.replace(b"120\n", b"120 b.mrc\n")
    files = {"micrograph": ("mic.mrc", mrc_bytes(tmp_path, IMAGE)), "coordinates": ("picks.star", two)}
    answer = client.post("/api/try", files=files, data={"diameter": "60"})
    assert answer.status_code == 422 and "names other micrographs (a.mrc, b.mrc)" in answer.json()["error"]


@pytest.mark.parametrize("name", ["mic.tif", "mic.png", "mic.jpg"])
def test_other_formats_need_the_pixel_size(name, client):
    grey = np.clip(128 + 4 * IMAGE, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    if name.endswith("tif"):
        tifffile.imwrite(stream, grey)
    else:
        Image.fromarray(grey).save(stream, name.replace("jpg", "jpeg").split(".")[1])
    assert screen(client, stream.getvalue(), name, pixel_size="4,0")["pixel_size"] == 4.0


def test_only_the_last_results_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tries, "_MOST", 2)
    with client_of(make_test_place(tmp_path / "own")) as client:
        urls = [screen(client, mrc_bytes(tmp_path, IMAGE))["url"] for _ in range(3)]
        assert [client.get(url + "map.mrc").status_code for url in urls] == [404, 200, 200]
        assert client.get(urls[1] + "nothing").status_code == 404


def test_the_server_survives_its_worker(tmp_path):
    command = [sys.executable, str(TESTS / "standin.py"), "serve", str(tmp_path)]
    place = make_test_place(
        tmp_path / "own", make=lambda python, model, device, log: WorkerClient(python, model, device, log, command)
    )
    (tmp_path / "kill.txt").write_text("deadly deadly once")
    content = mrc_bytes(tmp_path, IMAGE)
    with client_of(place) as client:
        answer = client.post("/api/try", files={"micrograph": ("deadly.mrc", content)})
        assert answer.status_code == 422 and "the worker died of it" in answer.json()["error"]
        assert screen(client, content, "once.mrc")["bad_area"] > 0.2  # its second worker does it
        assert screen(client, content)["bad_area"] > 0.2


def test_the_device_is_refused_while_it_is_used(tmp_path):
    place = make_test_place(tmp_path / "own")
    with client_of(place) as other, place.screener.reserved("the training"):
        answer = other.post("/api/try", files={"micrograph": ("mic.mrc", mrc_bytes(tmp_path, IMAGE))})
    assert "the training is using it; try again when it has ended" in answer.json()["error"]


def test_the_spectrum_is_symmetric_and_shows_a_lattice():
    rows, columns = np.mgrid[:1024, :1024]
    image = np.cos(2 * np.pi * (rows / 8 + columns / 5)) + 0.1 * np.random.default_rng(0).normal(size=(1024, 1024))
    power = pictures.average_power(image.astype(np.float32), 1.0, np.zeros((1024, 1024), bool))
    shown = pictures.spectrum(power)
    middle = (pictures.HALF, pictures.HALF - 1)
    assert shown.shape == (2 * pictures.HALF, 2 * pictures.HALF - 1)
    spots = np.argwhere(shown == 255) - middle
    assert {(32, 51), (-32, -51)} <= {tuple(spot) for spot in spots}, "1/8 and 1/5 of 256"


def test_the_local_mean_shows_what_is_thick_and_not_the_border():
    image = np.random.default_rng(0).normal(0, 1, (400, 400)).astype(np.float32)
    image[:, 200:] -= 1
    border = np.zeros((10, 10), bool)
    border[0] = True
    image[:40] = 1000
    mean = pictures.local_mean(image, border, 4.0).astype(float)
    assert mean[100:, :120].mean() > mean[100:, 200:].mean() + 150
