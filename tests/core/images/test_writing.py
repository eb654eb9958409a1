# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps and masks are whole or not there, and say what they are."""

import errno
import os
import stat

import mrcfile
import numpy as np
import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images import atomic
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.writing import read_map, write_map, write_mask


def test_map_round_trip_with_any_sampling(tmp_path):
    array = np.random.default_rng(0).random((30, 41)).astype(np.float32)
    write_map(tmp_path / "new" / "a.mrc", array, 64.0)
    back, sampling = read_map(tmp_path / "new" / "a.mrc")
    np.testing.assert_array_equal(back, array)
    assert sampling == pytest.approx(64.0)


def test_mask_is_mode_0_and_says_its_sense(tmp_path):
    good = np.eye(20, dtype=bool)
    write_mask(tmp_path / "m.mrc", good, 28.32)
    with mrcfile.open(tmp_path / "m.mrc") as mrc:
        assert mrc.header.mode == 0 and mrc.header.nlabl == 1
        assert bytes(mrc.header.label[0]).strip() == b"cryoice mask: 1 = good, 0 = bad"
        np.testing.assert_array_equal(mrc.data, good)
    assert mrcfile.validate(tmp_path / "m.mrc")
    np.testing.assert_array_equal(read_map(tmp_path / "m.mrc")[0], good)


def test_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a.mrc", "b.mrc"):
        write_map(tmp_path / name, np.ones((9, 9)), 4.0)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError, match="mistake"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert (tmp_path / "a.txt").read_text() == "old"
        raise ValueError("mistake")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "new"


def test_a_file_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    """Otherwise a power cut after the renaming leaves an empty file."""
    synced, replaced, sync, replace = {}, [], os.fsync, os.replace

    def fsync(descriptor):
        sync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    def rename(source, target):
        status = os.stat(source)
        replaced.append(synced.get(status.st_ino) == status.st_size > 0)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    write_map(tmp_path / "a.mrc", np.ones((90, 90)), 4.0)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert replaced == [True, True]


def test_a_disk_that_cannot_take_it_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CryoIceError, match="cannot be written"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_files_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        write_map(tmp_path / "a.mrc", np.ones((9, 9)), 4.0)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.mrc").stat().st_mode) == 0o644


def test_a_full_disk_names_folder_and_remedy(tmp_path):
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with pytest.raises(CryoIceError, match="free disk space") as caught:
            write_map(tmp_path / "a.mrc", np.ones((500, 500)), 4.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert str(tmp_path) in str(caught.value) and os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CryoIceError, match="cannot be written") as caught:
        write_map(tmp_path / "file" / "a.mrc", np.ones((9, 9)), 4.0)
    assert caught.value.remedy
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o555)
        with pytest.raises(CryoIceError, match="may write"):
            write_map(tmp_path / "locked" / "a.mrc", np.ones((9, 9)), 4.0)


def test_the_temporary_file_is_new_and_readable_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda number: "0" * 2 * number)
    (tmp_path / "precious").write_text("data")
    (tmp_path / ".a.txt.000000000000.tmp").symlink_to(tmp_path / "precious")
    with pytest.raises(CryoIceError, match=r"a.txt cannot be written \(File exists\)"), replacing(tmp_path / "a.txt"):
        pytest.fail("the link was taken for a new file")
    assert (tmp_path / "precious").read_text() == "data"
