# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide the labelled micrographs by data source, and score settings on the sources that a training leaves out."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import math
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Mapping

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.detectors.choice import kind_to_train
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.images.identity import content_of
from cryoice_scipion.core.training.sweep.space import Value, with_settings
from cryoice_scipion.core.training.trainers import Epoch, TrainRequest, train_model

Groups = Dict[str, List[str]]  # by source: the names of its micrographs, as --hold-out takes them
METRIC = "auc"
PARTS = 3  # into which the micrographs of a single source are divided


def groups_of(request: TrainRequest) -> Groups:
    """Return the groups of micrographs that the trials leave out in turn: data sources, or parts of a single one.

    A trainer that names micrographs in its own way has a function ``micrographs_by_source`` in its module.

    Raises
    ------
    SettingsError
        When no labels are given, or too few micrographs.
    """
    trainer = importlib.import_module(kind_to_train(request.config).trainer.partition(":")[0])
    find: Callable[[TrainRequest], Groups] = getattr(trainer, "micrographs_by_source", micrographs_by_source)
    groups = find(request)
    if len(groups) != 1:
        if not groups:
            raise SettingsError("labelled data", "none given", "give labels that this network learns from")
        return groups
    ((source, names),) = groups.items()
    if len(names) < PARTS:
        reason = f"has {counted(len(names), 'labelled micrograph')}, at least {PARTS} are needed"
        raise SettingsError(source, reason, "label more micrographs, or give a second data source")
    return {f"{source} part {part + 1}": names[part::PARTS] for part in range(PARTS)}


def is_divided(groups: Groups) -> bool:
    """Return whether groups are the parts of a single source."""
    return len(groups) == PARTS and all(f" part {part + 1}" in name for part, name in enumerate(groups))


def micrographs_by_source(request: TrainRequest) -> Groups:
    """Return the names that a training on labelled positions gives to the micrographs of each source.

    Within a source, they are in the order of the number of BAD positions, so that dealing them out balances the parts.
    """
    from cryoice_scipion.core.training.patches.patch_set import PatchSet
    from cryoice_scipion.core.training.splits import with_unique_names

    counts: Dict[str, Dict[str, int]] = {}
    sources = request.sources
    if not request.patch_sets:
        for item in sources.labelled(request.config.seed):
            counts.setdefault(item.source, {})[item.stem] = int((item.points["label"] != GOOD).sum())
    else:
        if sources.has_positions or sources.simulated:
            raise SettingsError(
                "--patches", "cannot be mixed with other labels in a sweep", "cut these with 'cryoice patches' too"
            )
        sets = [PatchSet.load(folder) for folder in request.patch_sets]
        tables = with_unique_names([one.table for one in sets], [one.contents for one in sets])
        for number, (folder, table) in enumerate(zip(request.patch_sets, tables)):
            name = folder.resolve().name
            name = f"{name}_{number + 1}" if name in counts else name
            bad = (table["label"] != GOOD).groupby(table["micrograph"].astype(str)).sum()
            counts[name] = {str(stem): int(value) for stem, value in bad.items()}
    return {source: sorted(number, key=lambda stem: (-number[stem], stem)) for source, number in counts.items()}


def digest_of_labels(request: TrainRequest) -> str:
    """Return a text that differs if the files with labels differ: scores on other labels cannot be compared."""
    sources = request.sources
    given = [path for path in (sources.good, sources.bad, sources.boxes, sources.grades) if path]
    files = [file for path in given for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files += [file for folder in sources.cryoppp for file in sorted(folder.rglob("*.csv"))]
    files += [file for folder in sources.simulated for file in sorted((folder / "labels").glob("*.mrc"))]
    files += [file for folder in request.patch_sets for file in sorted(folder.glob("*.csv"))]
    words = [str(sources.per_class), *(content_of(str(file)) for file in files)]
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()


@dataclasses.dataclass
class Scored:
    """The scores of one combination of settings and seed on each left-out source."""

    sources: Dict[str, float]  # AUC; NaN where a source lacks good or bad positions

    @property
    def score(self) -> float:
        """Return the mean over the sources that can be scored.

        Raises
        ------
        SettingsError
            When none can.
        """
        known = [value for value in self.sources.values() if math.isfinite(value)]
        if not known:
            reason = "no left-out source has both good and bad positions that the training can be measured on"
            raise SettingsError("labelled data", reason, "label both on each source")
        return sum(known) / len(known)


def score_settings(
    request: TrainRequest,
    settings: Mapping[str, Value],
    groups: Groups,
    folder: Path,
    watch: Callable[[str, Epoch, Dict[str, float]], None] = lambda source, epoch, scores: None,
) -> Scored:
    """Train once for each source without it, and measure there.

    Parameters
    ----------
    request : TrainRequest
    settings : mapping
        Replace those of the request.
    groups : dict
        Of :func:`groups_of`.
    folder : Path
        For the models; emptied before and deleted afterwards.
    watch : callable
        Receives the left-out source, each epoch, and the scores of the sources before; may raise to end the trial.

    Raises
    ------
    SettingsError
        When the settings do not fit each other or the data.
    """
    scores: Dict[str, float] = {}
    try:
        for source, names in groups.items():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            fold = dataclasses.replace(
                request,
                config=with_settings(request.config, {**settings, "hold_out": names}),
                output=folder,
                log=lambda message: None,
                warn=lambda messages: None,
                progress=False,
                on_epoch=lambda epoch, source=source: watch(source, epoch, scores),  # type: ignore[misc]
            )
            result = train_model(fold)
            if result.interrupted:
                raise result.interrupted
            scores[source] = result.test.get(METRIC, math.nan)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Scored(scores)
