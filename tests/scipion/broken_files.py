# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which the file of a micrograph can be broken."""

import os
import shutil

import numpy as np
from noise import SHAPE, write_image, write_noise


def _cut(path, size):
    write_noise(path, 1)
    os.truncate(path, size)


def _text(path):
    path.write_text("this is no image\n" * 100)


def _picture_signature(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)


#: Each writes its kind of broken file to a path where nothing is.
BROKEN = {
    "empty": lambda path: path.touch(),
    "100_bytes": lambda path: _cut(path, 100),
    "header_only": lambda path: _cut(path, 1024),
    "truncated": lambda path: _cut(path, 5000),
    "text": _text,
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "not_an_image": _picture_signature,
    "nan": lambda path: write_image(path, np.full(SHAPE, np.nan)),
    "constant": lambda path: write_image(path, np.full(SHAPE, 7.0)),
}


def remove(path):
    """Remove a file, folder, or nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def break_file(path, kind):
    """Replace a micrograph's file by a broken one that nobody is writing any more."""
    remove(path)
    BROKEN[kind](path)
    if path.exists():
        os.utime(path, (0, 0))
    return path
