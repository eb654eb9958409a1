# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the items of Scipion sets: append without opening images, remove, and prepare empty sets. Imports no torch."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence

from pwem.objects import SetOfImages

from cryoice_scipion.core.errors import CryoIceError

Shape = Sequence[int]  # rows, columns, px

_UNKNOWN = (0, 0, 0)


def append_unread(output: Any, item: Any, shape: Optional[Shape] = None) -> None:
    """Append an item to a set without opening the item's image file.

    pwem reads the file of a set's first item to get the set's dimensions, and fails when that file is broken. Here the
    set keeps the dimensions it has; see :func:`give_dimensions`.
    """
    if not isinstance(output, SetOfImages):
        output.append(item)
        return
    give_dimensions(output, shape)
    output._setFirstDim = _keep_dimensions  # hides the method, of this one object only
    try:
        output.append(item)
    finally:
        del output._setFirstDim


def give_dimensions(output: Any, shape: Optional[Shape]) -> None:
    """Give a set of images its dimensions, unless it has some: 0 as long as no shape is known.

    Parameters
    ----------
    shape : sequence of int, optional
        Rows and columns of an image of the set, px.
    """
    if isinstance(output, SetOfImages) and not any(output.getDim() or ()):
        output.setDim((int(shape[1]), int(shape[0]), 1) if shape else _UNKNOWN)


def _keep_dimensions(_item: Any) -> None:
    """Replace pwem's method that opens the image of the first item."""


def remove_ids(output: Any, keys: Iterable[int]) -> None:
    """Take items out of a set; they are gone when it is written."""
    mapper = output._getMapper()
    for key in keys:
        mapper.db.deleteObject(key)
    output._size.set(mapper.count())


def enable_append(output: Any, item: Any) -> bool:
    """Make a set ready to take more items like this one; pyworkflow's own way needs one that is in it already.

    Returns
    -------
    bool
        False when the set is empty and its columns are others: it has to be made anew.

    Raises
    ------
    CryoIceError
        When it is not empty and its columns are others.
    """
    mapper, columns = output._getMapper(), item.getObjDict(includeClass=True)
    known = [] if mapper.doCreateTables else [row["label_property"] for row in mapper.db.getClassRows()]
    if known and known != list(columns):
        if mapper.count():
            raise CryoIceError(output.getFileName(), "its items have other attributes than new ones", "choose Restart")
        output.close()
        return False
    mapper.db.setupCommands(columns)
    output._idCount = output._idCount or 0  # None where the set is empty
    return True


def give_columns(output: Any, template: Any) -> None:
    """Give an empty set the columns of an item, so that it can be read like any other.

    pyworkflow makes the tables of a set with its first item; most readers fail on a set that never had one. An
    output that does not exist is worse still: protocols scheduled on it wait for ever.
    """
    if output.getSize() > 0:
        return
    item = template.clone()
    item.setObjId(1)
    append_unread(output, item)
    output._getMapper().delete(item)
    output._size.set(0)
    output._idCount = 0
