# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a sweep: the trials, the best ones again with other seeds, and the training of the winner on all data.

The state is in OUTPUT/sweep. Any number of processes may work on it at once, and each may be killed at any moment.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import optuna

from cryoice_scipion.core.detectors.model_folder import DASHBOARD, write_sums
from cryoice_scipion.core.errors import CryoIceError, SettingsError, counted
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.reports.plots import importance
from cryoice_scipion.core.training.dashboard import Dashboard, train_with_dashboard
from cryoice_scipion.core.training.sweep.claims import Tasks
from cryoice_scipion.core.training.sweep.folds import (
    METRIC,
    PARTS,
    Groups,
    Scored,
    digest_of_labels,
    groups_of,
    is_divided,
    score_settings,
)
from cryoice_scipion.core.training.sweep.locks import Worker
from cryoice_scipion.core.training.sweep.search import Search
from cryoice_scipion.core.training.sweep.space import SearchSpace, Value, with_settings
from cryoice_scipion.core.training.sweep.table import (
    IMPORTANCE,
    TABLE,
    Candidate,
    Outcome,
    scores_in_words,
    settings_in_words,
    write_table,
)
from cryoice_scipion.core.training.trainers import Epoch, TrainRequest, train_model

FOLDER, SETTINGS = "sweep", "sweep.json"
_HOPELESS = 3  # failed trials, if all have failed, after which the sweep ends
_POLL = 2.0  # s between looks at what other processes have finished


@dataclasses.dataclass
class SweepRequest:
    """Everything that a sweep needs to know."""

    training: TrainRequest  # its output is the folder of the sweep and of the winner's model
    space: SearchSpace
    trials: int
    best: int = 3  # trials that are repeated with other seeds
    seeds: int = 3  # of each of them, with the one of its trial
    dashboard: bool = False


@dataclasses.dataclass
class SweepResult:
    """The winner of a sweep, and what it was chosen from."""

    winner: Candidate
    candidates: List[Candidate]  # the trials that were repeated, best first
    outcomes: List[Outcome]
    usual: Optional[Outcome]  # the trial with the settings of an ordinary training, if it is complete
    groups: Groups


def run_sweep(request: SweepRequest) -> SweepResult:
    """Run a sweep to its end, or go on with one, and write the winner's model folder.

    A sweep that ends before any trial is complete leaves nothing that refuses other settings.

    Raises
    ------
    SettingsError
        When the folder holds a sweep with other settings, the data cannot be used, or no trial succeeds.
    """
    groups = groups_of(request.training)
    if is_divided(groups):
        request.training.log(f"one data source: its micrographs are left out in {PARTS} parts instead of whole sources")
    folder = request.training.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(folder / SETTINGS, request, groups)
    with Worker(folder / "workers") as worker:
        search = Search(folder, request.space, request.training.config.seed, worker)
        others = worker.others()
        if others:
            request.training.log(f"joining {counted(len(others), 'other process', 'other processes')}")
        try:
            return _Sweep(request, groups, search, worker).run()
        except (CryoIceError, KeyboardInterrupt):
            if search.discard():  # nothing is lost, and corrected options are not refused
                (folder / SETTINGS).unlink()
            raise


class _Sweep:
    """One process of a sweep."""

    def __init__(self, request: SweepRequest, groups: Groups, search: Search, worker: Worker) -> None:
        self.request, self.groups, self.search, self.worker = request, groups, search, worker
        self.training = request.training
        self.folder = request.training.output / FOLDER
        self.tasks = Tasks(self.folder / "tasks", search.lock, worker)
        self.models = self.folder / "models" / worker.name

    def run(self) -> SweepResult:
        """Work on all stages until the whole sweep is finished, by this process or by others."""
        total = self.request.trials
        _until(lambda: self._run_trial(total), lambda: self.search.is_finished(total))
        best = self._best()
        repeats = [f"trial_{item.trial}_seed_{seed}" for item in best for seed in self._seeds()]
        _until(lambda: self._repeat(repeats), lambda: not any(self.tasks.missing(repeats)))
        outcomes = self.search.outcomes()
        candidates = self._candidates(best)
        last = f"model_of_{total}_trials_{len(best)}_best_{self.request.seeds}_seeds"
        _until(lambda: self._train(last, candidates, outcomes), lambda: not any(self.tasks.missing([last])))
        start = self.request.space.start()
        usual = (item for item in outcomes if item.state == "complete" and item.settings == start)
        return SweepResult(candidates[0], candidates, outcomes, next(usual, None), self.groups)

    def _run_trial(self, total: int) -> bool:
        """Run one trial if there is one to run."""
        trial = self.search.claim(total)
        if trial is None:
            return False
        settings = self.search.settings_of(trial)
        try:
            scored = self._score(trial, settings)
        except optuna.TrialPruned:
            told, words = self.search.prune(trial), "stopped early"
        except KeyboardInterrupt:
            self.search.give_back(trial)
            raise
        except CryoIceError as error:
            told, words = self.search.prune(trial, str(error)), f"failed ({error})"
            outcomes = self.search.outcomes()
            if trial.number == 0 or (len(outcomes) >= _HOPELESS and all(item.state == "failed" for item in outcomes)):
                raise  # not even the usual settings work
        else:
            told = self.search.complete(trial, scored.score, scored.sources)
            words = f"{METRIC.upper()} {scored.score:.3f} ({scores_in_words(scored.sources)})"
        if told:
            done = len(self.search.outcomes())
            self.training.log(
                f"{done} of {counted(total, 'trial')}, number {trial.number}: {words}; {settings_in_words(settings)}"
            )
        return True

    def _score(self, trial: optuna.Trial, settings: Mapping[str, Value]) -> Scored:
        """Train and measure with the settings of a trial; raises optuna.TrialPruned if it is ended early."""
        name = f"trial_{trial.number:04d}"
        best: Dict[str, float] = {}  # validation score by left-out source
        shown: Dict[str, Dashboard] = {}

        def watch(source: str, epoch: Epoch, scores: Dict[str, float]) -> None:
            if self.request.dashboard:
                if source not in shown:
                    shown[source] = Dashboard(self._dashboard / name / f"without_{source.replace(' ', '_')}")
                shown[source].epoch(epoch)
            value = epoch.row.get(f"validation_{METRIC}", math.nan)
            if math.isfinite(value):
                best[source] = max(value, best.get(source, 0.0))
                known = sum(score for score in scores.values() if math.isfinite(score))
                self.search.report(trial, len(scores), int(epoch.row["epoch"]), known + best[source])

        try:
            scored = score_settings(self.training, settings, self.groups, self.models, watch)
            if self.request.dashboard:
                row = Dashboard(self._dashboard / name / "result")
                row.hyperparameters(settings, {"score": scored.score, **scored.sources})
                row.close()
            return scored
        finally:
            for dashboard in shown.values():
                dashboard.close()

    @property
    def _dashboard(self) -> Path:
        return self.training.output / DASHBOARD

    def _best(self) -> List[Outcome]:
        """Return the trials with the highest scores."""
        complete = [item for item in self.search.outcomes() if item.state == "complete"]
        if not complete:
            raise SettingsError(self.training.output, "no trial of the sweep is complete", "give a narrower --space")
        return sorted(complete, key=lambda item: (-item.score, item.trial))[: self.request.best]

    def _seeds(self) -> Sequence[int]:
        """Return the seeds that the best trials are repeated with."""
        first = self.training.config.seed
        return range(first + 1, first + self.request.seeds)

    def _repeat(self, names: Sequence[str]) -> bool:
        """Repeat one of the best trials with another seed, if there is one to repeat."""
        name = self.tasks.claim(names)
        if name is None:
            return False
        _, number, _, seed = name.split("_")
        (trial,) = (item for item in self.search.outcomes() if item.trial == int(number))
        settings: Dict[str, Value] = {**trial.settings, "seed": int(seed), "patches.seed": int(seed)}
        try:
            scored = score_settings(self.training, settings, self.groups, self.models)
            score, reason = scored.score, ""
        except SettingsError as error:  # for example, the loss becomes infinite with this seed
            score, reason = 0.0, str(error)
        self.tasks.finish(name, {"score": score, "reason": reason})
        self.training.log(f"trial {number} with seed {seed}: {METRIC.upper()} {score:.3f}{reason and f' ({reason})'}")
        return True

    def _candidates(self, best: Sequence[Outcome]) -> List[Candidate]:
        found = []
        for item in best:
            results = [self.tasks.result(f"trial_{item.trial}_seed_{seed}") or {} for seed in self._seeds()]
            found.append(Candidate(item.trial, item.settings, [item.score, *(float(one["score"]) for one in results)]))
        return sorted(found, key=lambda item: (-item.mean, item.trial))

    def _train(self, name: str, candidates: Sequence[Candidate], outcomes: Sequence[Outcome]) -> bool:
        """Train the winner on all data, and write table and plot, if no other process does."""
        if self.tasks.claim([name]) is None:
            return False
        winner, output = candidates[0], self.training.output
        note = (
            f"The settings are the best of {counted(len(outcomes), 'trial')} of 'cryoice sweep': "
            f"{METRIC.upper()} {winner.words}, "
            f"mean over {len(self.groups)} left-out {'parts' if is_divided(self.groups) else 'data sources'}."
        )
        final = dataclasses.replace(
            self.training,
            config=with_settings(self.training.config, winner.settings),
            note=f"{self.training.note} {note}".strip(),
        )
        self.training.log(f"training the model of trial {winner.trial} on all data")
        shown = self.request.dashboard
        result = train_with_dashboard(final, self._dashboard / "model") if shown else train_model(final)
        if result.interrupted:
            raise result.interrupted
        write_table(output / TABLE, outcomes, candidates)
        importance(self.search.importance(), output / IMPORTANCE)
        write_sums(output)
        self.tasks.finish(name, {"trial": winner.trial})
        return True


def _until(work: Callable[[], bool], is_finished: Callable[[], bool]) -> None:
    """Work as long as there is something to do; then wait for what other processes do, or take it over."""
    while not is_finished():
        if not work():
            time.sleep(_POLL)


def _check_settings(path: Path, request: SweepRequest, groups: Groups) -> None:
    """Store what the trials depend on, or compare it with what is stored."""
    now: Dict[str, Any] = {
        "settings": request.training.config.model_dump(mode="json"),
        "space": request.space.to_json(),
        "micrographs": groups,
        "labels": digest_of_labels(request.training),
    }
    if request.training.crops:
        now["crops"] = list(request.training.crops)
    try:
        stored: Optional[Dict[str, Any]] = read_json(path)
    except FileNotFoundError:
        stored = None
    except ValueError as error:
        raise SettingsError(path, f"is damaged ({error})", "give a new folder") from None
    if stored is None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return
    stored.setdefault("labels", now["labels"])  # of a version that did not store it
    differ = [name for name in {**stored, **now} if stored.get(name) != now.get(name)]
    if differ:
        reason = f"holds a sweep with other {' and '.join(differ)}"
        raise SettingsError(path.parent.parent, reason, "give the same options and labels, or a new folder")
