# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs that are screened again because their file changed: the outputs have their new verdicts only."""

import contextlib
import dataclasses
from functools import partial

import pytest
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Pointer
from scipion_data import items

from cryoice_scipion import convert, set_writing
from cryoice_scipion.constants import ACCEPTED, FAILED, FILE_CHANGED
from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED, ScreenOutputs

pytestmark = pytest.mark.scipion


class Protocol:
    """A protocol, as far as its outputs use it."""

    def hasAttribute(self, name):
        return hasattr(self, name)

    def _writing(self, name):
        return contextlib.nullcontext()

    def _updateOutputSet(self, name, output, state):
        output.setStreamState(state)
        output.write()
        setattr(self, name, output)

    def _defineSourceRelation(self, *_):
        pass


@pytest.fixture
def protocol(tmp_path):
    """A protocol with the outputs of two accepted micrographs, each with two kept coordinates."""
    seen, picked = (kind(filename=str(tmp_path / kind.__name__)) for kind in (SetOfMicrographs, SetOfCoordinates))
    for micrograph in (1, 2):
        seen.append(Micrograph(location=f"/a/m{micrograph}.mrc"))
        for x in (10, 20):
            item = Coordinate(x=x, y=5)
            item.setMicId(micrograph)
            picked.append(item)
    seen.write()
    picked.write()
    given = {MICROGRAPHS: seen, DISCARDED: seen, COORDINATES: picked, REJECTED: picked}
    sources = {name: Pointer(output) for name, output in given.items()}
    make = {name: partial(type(output), filename=str(tmp_path / f"{name}.sqlite")) for name, output in given.items()}
    protocol = Protocol()
    protocol.outputs = ScreenOutputs(protocol, str(tmp_path), sources, make, convert.CoordinateTransform())
    protocol.outputs.append([record(1, ACCEPTED, (0.9, 0.9)), record(2, ACCEPTED, (0.8, 0.8))])
    return protocol


def record(key, status, goodness, flags=(), cls="good"):
    scores = [PickScore(2 * key - 1 + index, one, cls, one > 0.5) for index, one in enumerate(goodness)]
    return MicrographRecord(key, f"m{key}", f"/a/m{key}.mrc", status, scores=scores, flags=[*flags], shape=[50, 60])


def contents(protocol):
    """Return the ids in each output, and the goodness of its coordinates."""
    found = {}
    for name in (MICROGRAPHS, DISCARDED, COORDINATES, REJECTED):
        output = getattr(protocol, name)
        found[name] = {key: item.getAttributeValue("_cryoiceGoodness") for key, item in items(output).items()}
        assert output.getSize() == len(found[name])
    return tuple(found.values())


def test_a_changed_micrograph_moves_with_its_coordinates(protocol):
    assert contents(protocol) == ({1: None, 2: None}, {}, {1: 0.9, 2: 0.9, 3: 0.8, 4: 0.8}, {})
    protocol.outputs.append([record(1, "discarded", (0.7, 0.1), [FILE_CHANGED])])
    assert contents(protocol) == ({2: None}, {1: None}, {1: 0.7, 3: 0.8, 4: 0.8}, {2: 0.1})
    protocol.outputs.append([record(1, ACCEPTED, (0.6, 0.6), [FILE_CHANGED])])  # and back
    assert contents(protocol) == ({1: None, 2: None}, {}, {1: 0.6, 2: 0.6, 3: 0.8, 4: 0.8}, {})


def test_a_micrograph_that_cannot_be_read_any_more_keeps_no_coordinate(protocol):
    protocol.outputs.append([record(2, FAILED, (0.0, 0.0), [FILE_CHANGED], FAILED)])
    assert contents(protocol) == ({1: None}, {2: None}, {1: 0.9, 2: 0.9}, {3: 0.0, 4: 0.0})


def test_without_a_change_the_items_stay_as_they_are(protocol, monkeypatch):
    before = contents(protocol)
    monkeypatch.setattr(set_writing, "remove_ids", None)  # would fail
    protocol.outputs.append([record(1, ACCEPTED, (0.9, 0.9))])
    assert contents(protocol) == before


def test_coordinates_that_moved_have_their_new_position_and_verdict(protocol):
    picked = protocol.outputs._sources[COORDINATES].get()
    for key, x in ((1, 30), (2, 40)):
        item = picked[key]
        item.setX(x)
        picked.update(item)
    picked.write()
    protocol.outputs.append([record(1, ACCEPTED, (0.7, 0.1))])
    assert contents(protocol)[2:] == ({1: 0.7, 3: 0.8, 4: 0.8}, {2: 0.1})
    assert items(protocol.outputCoordinates)[1].getPosition() == (30, 5)
    assert items(protocol.outputCoordinatesRejected)[2].getPosition() == (40, 5)


def test_a_move_that_a_killed_run_had_not_written_is_put_right(protocol):
    picked = protocol.outputs._sources[COORDINATES].get()
    item = picked[1]
    item.setX(30)
    picked.update(item)
    picked.write()
    journal = [record(1, ACCEPTED, (0.7, 0.9)), record(2, ACCEPTED, (0.8, 0.8))]
    protocol.outputs.reconcile(lambda: iter(journal))
    assert contents(protocol)[2:] == ({1: 0.7, 2: 0.9, 3: 0.8, 4: 0.8}, {})
    assert items(protocol.outputCoordinates)[1].getPosition() == (30, 5)


def test_a_changed_micrograph_that_a_killed_run_had_not_written_is_put_right(protocol):
    journal = [record(1, ACCEPTED, (0.7, 0.6), [FILE_CHANGED]), record(2, ACCEPTED, (0.8, 0.8))]
    protocol.outputs.reconcile(lambda: iter(journal))
    assert contents(protocol) == ({1: None, 2: None}, {}, {1: 0.7, 2: 0.6, 3: 0.8, 4: 0.8}, {})


def test_a_changed_micrograph_is_written_again_once_and_not_at_each_continue(protocol, monkeypatch, caplog):
    caplog.set_level("INFO")
    removed = []
    remove = set_writing.remove_ids
    monkeypatch.setattr(set_writing, "remove_ids", lambda output, keys: remove(output, removed.extend(keys) or keys))
    again = dataclasses.replace(record(1, ACCEPTED, (0.9, 0.9), [FILE_CHANGED]), bad_area=0.25)
    for expected in ([1], []):
        removed.clear()
        caplog.clear()
        protocol.outputs.reconcile(lambda: iter([again, record(2, ACCEPTED, (0.8, 0.8))]))
        assert removed == expected
        assert items(protocol.outputMicrographs)[1].getAttributeValue("_cryoiceBadArea") == 0.25
        assert ("writing them again" in caplog.text) == bool(expected)


def test_a_disabled_coordinate_is_screened_like_others_and_stays_disabled(protocol):
    picked = protocol.outputs._sources[COORDINATES].get()
    item = picked[1]
    item.setEnabled(False)
    picked.update(item)
    picked.write()
    protocol.outputs.append([record(1, ACCEPTED, (0.7, 0.9))])
    assert [one.isEnabled() for one in protocol.outputCoordinates] == [False, True, True, True]  # clones forget it
