# SPDX-License-Identifier: GPL-3.0-or-later
"""Small valid files that are no coordinates: micrographs, lists of them, models, settings, and a run's own files."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import tifffile
from PIL import Image
from reader_seeds import seeds_of

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.images.thumbnails import write_base
from cryoice_scipion.core.records import MicrographRecord, PickScore, Region, Summary, to_json
from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.journal_lines import parse

_GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def _mrc(mode: int, pixels: Any, order: str = "<") -> bytes:
    words = np.zeros(256, f"{order}i4")
    words[:4], words[7:10], words[52] = (8, 6, 1, mode), (8, 6, 1), 0x2050414D if order == "<" else 0x4D415020
    floats = words.view(f"{order}f4")
    floats[10:16] = 12, 9, 1.5, 90, 90, 90
    words[53] = 0x4144 if order == "<" else 0x11110000
    return words.tobytes() + pixels.tobytes()


def _tiff(pixels: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, resolution=(1.7e8, 1.7e8), resolutionunit=2, **options)
    return stream.getvalue()


def _picture(kind: str, pixels: Any = _GREY, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind, **options)
    return stream.getvalue()


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


_MEMBERS = {  # of a stored map
    "logits": _npy(np.linspace(-3, 3, 36, dtype="f4").reshape(3, 3, 4)),
    "border": _npy(np.zeros((3, 4), bool)),
    "classes": _npy(np.array(["good", "crystalline", "support"])),
    "sampling": _npy(np.float64(32)),
    "skewness": _npy(np.float64(-0.1)),
    "flags": _npy(np.array(["border"], dtype="U64")),
}


def as_map(data: bytes) -> bytes:
    """Return a stored map in which one member is replaced; the data begin with a line that names it."""
    line, _, content = data.partition(b"\n")
    name = line.decode("latin-1")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for key, value in {**_MEMBERS, name if name in _MEMBERS else "other": content}.items():
            packed.writestr(f"{key}.npy", value)
    return stream.getvalue()


def _stored_picture() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_base(Path(folder) / "base.jpg", _GREY)
        return (Path(folder) / "base.jpg").read_bytes()


def _journal() -> Tuple[bytes, bytes]:
    """Return a journal, and the same lines as earlier versions wrote them."""
    region = Region(1, "crystalline", "crystalline", 0.9, 1, 2, 30, 40, 5.5, 60)
    score = PickScore(1, 0.75, "good", True)
    record = MicrographRecord(1, "m1", "m1.mrc", "accepted", bad_area=0.25, scores=[score], regions=[region])
    lines = [
        ("head", {"records_version": 1, "config": ScreenConfig().model_dump(), "model": "a1"}),
        ("screened", {"record": to_json(record), "picks": "b2"}),
        ("thinned", {"ids": [1]}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl", parse, "c3")
        for kind, values in lines:
            journal.append(kind, waiting=False, **values)
        journal.close()
        sealed = journal.path.read_bytes()
    return sealed, "".join(json.dumps({"kind": kind, **values}) + "\n" for kind, values in lines).encode()


def _exposures() -> bytes:
    dtype = [("uid", "<u8"), ("micrograph_blob/path", "U20"), ("micrograph_blob/psize_A", "<f4")]
    return _npy(np.array([(1, ">a/m1.mrc", 1.5), (2, "m2.mrc", 1.5)], dtype=dtype))


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


_OPTICS = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 1.5\n\n"
_VIEWS: Any = [{"kind": "patch"}]
MODEL = _dumped(ModelConfig(name="m", views=_VIEWS, network="spot_test", classes=["good", "support"]).model_dump())
_GREYS = np.linspace(-2, 3, 48).reshape(6, 8)
_RGB = np.dstack([_GREY] * 3)
_MRC = _mrc(2, _GREYS.astype("<f4"))
_TIFFS = (
    _tiff(_GREY), _tiff(_GREYS.astype("<f4"), compression="zlib"), _tiff(_RGB, photometric="rgb"),
    _tiff(_GREY, bigtiff=True), _tiff(_GREY, tile=(16, 16)), _tiff(_GREYS.astype(">u2"), byteorder=">"),
    _picture("TIFF", compression="tiff_lzw"),
)  # fmt: skip
_NAMES = "data_micrographs\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\na/m1.mrc 1\n'b c.mrc' 1\n"
_OLD_LIST = "data_\nloop_\n_rlnMicrographName\n_rlnMagnification\n_rlnDetectorPixelSize\nm1.mrc 5e4 5\nm2.mrc 5e4 5\n"
_BOX = {"x": 10, "y": 20.5, "width": 80, "height": 60, "class": "frost"}
_VERDICTS = {"version": 1, "micrographs": {"m1": "accepted", "m2": "rejected"}}
#: Small valid files, by the name of the reader in fuzz_targets.py.
OTHER_SEEDS: Dict[str, Tuple[bytes, ...]] = {
    "micrograph.mrc": (
        _MRC, _mrc(0, _GREY), _mrc(1, _GREYS.astype(">i2"), ">"), _mrc(6, _GREYS.astype("<u2")),
        _mrc(12, _GREYS.astype("<f2")),
    ),
    "micrograph.mrc.gz": (_MRC,),
    "micrograph.mrc.bz2": (_MRC,),
    "micrograph.tif": _TIFFS,
    "micrograph.png": (_picture("PNG"), _picture("PNG", _RGB), _picture("PNG", _GREYS.astype("u2"))),
    "micrograph.jpg": (_picture("JPEG"), _picture("JPEG", _RGB)),
    "micrographs.star": ((_OPTICS + _NAMES).encode(), _OLD_LIST.encode()),
    "exposures.cs": (_exposures(),),
    "second.cs": seeds_of(".cs"),
    "labels.json": (_dumped({"version": 1, "micrographs": {"m1": [_BOX, {**_BOX, "class": "good", "good": True}]}}),),
    "review.json": (_dumped(_VERDICTS),),
    "settings.json": (_dumped(ScreenConfig(margins={"support": 50}).model_dump()),),
    "model.json": (MODEL,),
    "SHA256SUMS": (f"{hashlib.sha256(MODEL).hexdigest()}  model.json\n".encode(),),
    "summary.json": (_dumped(to_json(Summary(micrographs=3))),),
    "journal.jsonl": _journal(),
    "map.npz": tuple(name.encode() + b"\n" + content for name, content in _MEMBERS.items()),
    "features.npy": (_npy(_GREYS.reshape(2, 3, 8)),),
    "picture.jpg": (_stored_picture(), _picture("JPEG")),
}  # fmt: skip
