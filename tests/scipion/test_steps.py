# SPDX-License-Identifier: GPL-3.0-or-later
"""What Scipion keeps of a run's steps: a kill while it is written must not end Continue for good."""

import os
import sqlite3

import pytest
from pyworkflow.mapper.sqlite_db import Config, SqliteDb
from pyworkflow.protocol import MODE_RESUME, FunctionStep
from random_model import write_random_model
from scipion_data import Scipion

from cryoice_scipion.protocols import CryoIceProtImportModel, CryoIceProtSimulate

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def main():
    return Scipion.begin("StepsProject")


@pytest.fixture
def finished(main):
    return main.run_here(main.newProtocol(CryoIceProtImportModel))


def resume(protocol):
    protocol.runMode.set(MODE_RESUME)
    protocol._steps = []
    protocol.run()
    assert protocol.isFinished(), protocol.getErrorMessage()
    return [step.isFinished() for step in protocol.loadSteps()]


def test_continue_with_other_values_in_the_form_does_everything_again(main, finished, tmp_path):
    model = write_random_model(tmp_path / "model")
    finished.modelFolder.set(str(model))
    resume(finished)
    assert "random" in str(finished.outputModel) and "random" in finished.summary()[0]
    simulation = main.run_here(main.newProtocol(CryoIceProtSimulate, number=2, size=256))
    for number in (3, 1):
        simulation.number.set(number)
        resume(simulation)
        assert simulation.outputMicrographs.getSize() == number


def ends(protocol):
    """Return when each step ended."""
    return [step.endTime.get() for step in protocol.loadSteps()]


def killed_while_storing(protocol, command):
    """Store a protocol's steps in a process that ends before one of sqlite's commands; return whether it did end."""
    child = os.fork()
    if child:
        return os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
    try:
        seen = iter(range(command))

        def counted(db, *arguments):
            if next(seen, None) is None:
                os._exit(9)
            return db.cursor.execute(*arguments)

        Config.debugSQLOn = lambda: True
        SqliteDb._debugExecute = counted
        protocol._storeSteps()
    finally:
        os._exit(0)


def test_killed_at_any_moment_of_writing_the_steps_the_run_goes_on_and_does_none_again(finished):
    before, command = ends(finished), 0
    assert len(before) == 2
    while killed_while_storing(finished, command):
        finished.loadSteps()  # as the window does, at any time
        assert resume(finished) == [True, True]
        assert ends(finished) == before
        command += 1
    assert command > 10  # tables, columns, rows


@pytest.mark.parametrize("damage", ["a table is gone", "no database"])
def test_a_run_whose_steps_cannot_be_read_goes_on(finished, damage, caplog):
    path = finished.getStepsFile()
    if damage == "no database":
        with open(path, "wb") as file:
            file.write(b"power cut" * 1000)
    else:
        with sqlite3.connect(path) as connection:  # as Scipion's own way of writing leaves it
            connection.execute("DROP TABLE Classes")
    assert finished.loadSteps() == []
    assert f"{path}: damaged" in caplog.text
    assert resume(finished) == [True, True]


def test_what_is_done_is_known_after_a_resume(finished):
    before = ends(finished)
    assert all(isinstance(step, FunctionStep) for step in finished.loadSteps())
    assert resume(finished) == [True, True]
    assert ends(finished) == before
