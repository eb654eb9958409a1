# SPDX-License-Identifier: GPL-3.0-or-later
"""The trials of a sweep: several processes claim them one by one, and a trial whose process died is repeated.

Needs Optuna. Trials are numbered by Optuna; one that is repeated has a new number. Only finished trials count.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cryoice_scipion.core.training.sweep.journal import FolderLock, open_journal
from cryoice_scipion.core.training.sweep.locks import Worker
from cryoice_scipion.core.training.sweep.space import SearchSpace, Value
from cryoice_scipion.core.training.sweep.table import Outcome

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_ATTEMPTS = 3  # after which a trial whose process died each time is given up
_FOLD = 100000  # steps of a left-out source; more than any number of epochs
_STARTUP, _WARMUP = 4, 3  # finished trials before the first is pruned; epochs of a trial before it may be pruned

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Search:
    """All trials of a sweep."""

    def __init__(self, folder: Path, space: SearchSpace, seed: int, worker: Worker) -> None:
        """Open the journal in a folder, or make it; the first trial takes the usual settings."""
        self.space, self.seed, self.worker = space, seed, worker
        self.lock = FolderLock(folder)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=_WARMUP)
        self._journal = folder / "journal.log"
        with self.lock():
            self.study = optuna.create_study(
                storage=open_journal(self._journal),
                study_name="sweep",
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
            if not self.study.get_trials(deepcopy=False):
                self.study.enqueue_trial(self._encoded(space.start()))

    def claim(self, total: int) -> Optional[optuna.Trial]:
        """Return a new trial of this process, or None when ``total`` trials are finished or running."""
        with self.lock():
            for running in self._in(TrialState.RUNNING):
                if not self.worker.sees(str(running.user_attrs.get("worker", ""))):
                    self._repeat(running)
            if len(self._in(*DONE, TrialState.RUNNING)) >= total:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                number = len(self.study.get_trials(deepcopy=False))
                self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + number, constant_liar=True)
            trial: optuna.Trial = self.study.ask(self._distributions())
            trial.set_user_attr("worker", self.worker.name)
            return trial

    def is_finished(self, total: int) -> bool:
        """Return whether this number of trials is finished."""
        return len(self._in(*DONE)) >= total

    def settings_of(self, trial: Any) -> Dict[str, Value]:
        """Return the settings of a trial."""
        return {
            name: json.loads(value) if self.space.ranges[name].values is not None else value
            for name, value in trial.params.items()
        }

    def report(self, trial: optuna.Trial, fold: int, epoch: int, value: float) -> None:
        """Report an epoch of a trial.

        Parameters
        ----------
        trial : optuna.Trial
        fold : int
            Number of left-out sources that are already scored.
        epoch : int
        value : float
            Sum of their scores, and of the best validation score of the present training. It rises with the epochs, as
            the pruner, which compares the best value so far, expects.

        Raises
        ------
        optuna.TrialPruned
            When the value is below the median of the finished trials.
        """
        trial.report(value, fold * _FOLD + epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    def complete(self, trial: optuna.Trial, score: float, sources: Mapping[str, float]) -> bool:
        """Record the score of a trial; return False if another process has taken the trial over."""
        return self._tell(trial, TrialState.COMPLETE, score, sources=dict(sources))

    def prune(self, trial: optuna.Trial, reason: str = "") -> bool:
        """Record that a trial was ended early; with a reason, that its settings cannot be used."""
        return self._tell(trial, TrialState.PRUNED, None, reason=reason)

    def give_back(self, trial: optuna.Trial) -> None:
        """Record that this process was interrupted: the trial is repeated, by this process or another one."""
        with self.lock():
            if self._is_ours(trial):
                self._repeat(self._frozen(trial), counts=False)

    def discard(self) -> bool:
        """Delete the journal if no trial is complete and no other process works on it; return whether it was."""
        with self.lock():
            if self._in(TrialState.COMPLETE) or self.worker.others():
                return False
            self._journal.unlink()
            return True

    def outcomes(self) -> List[Outcome]:
        """Return the finished trials by their number."""
        return [self._outcome(trial) for trial in self._in(*DONE)]

    def importance(self) -> Dict[str, float]:
        """Return the share of each setting in the variance of the scores; empty with too few trials."""
        if len(self._in(TrialState.COMPLETE)) < _STARTUP:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            shares = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # all scores are equal
            return {}
        return {name: float(value) for name, value in shares.items() if math.isfinite(value)}

    def _in(self, *states: TrialState) -> List[FrozenTrial]:
        found: List[FrozenTrial] = self.study.get_trials(deepcopy=False, states=states)
        return found

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        found: FrozenTrial = self.study.get_trials(deepcopy=False)[trial.number]
        return found

    def _is_ours(self, trial: optuna.Trial) -> bool:
        now = self._frozen(trial)
        return bool(now.state == TrialState.RUNNING and now.user_attrs.get("worker") == self.worker.name)

    def _repeat(self, trial: FrozenTrial, counts: bool = True) -> None:
        """Close a trial that nobody runs any more, and queue its settings again."""
        attempts = int(trial.user_attrs.get("attempts", 1))
        if counts and attempts >= _ATTEMPTS:
            self.study._storage.set_trial_user_attr(trial._trial_id, "reason", f"its process died {attempts} times")
            self.study.tell(trial.number, state=TrialState.PRUNED)
            return
        self.study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            self.study.enqueue_trial(dict(trial.params), user_attrs={"attempts": attempts + counts})

    def _tell(self, trial: optuna.Trial, state: TrialState, value: Optional[float], **about: Any) -> bool:
        with self.lock():
            if not self._is_ours(trial):
                return False
            for name, content in about.items():
                trial.set_user_attr(name, content)
            self.study.tell(trial, value, state)
            return True

    def _outcome(self, trial: FrozenTrial) -> Outcome:
        reason = str(trial.user_attrs.get("reason", ""))
        complete = trial.state == TrialState.COMPLETE
        length = trial.duration.total_seconds() if trial.duration else math.nan
        return Outcome(
            trial=trial.number,
            state="complete" if complete else "failed" if reason else "pruned",
            score=float(trial.value) if complete and trial.value is not None else math.nan,
            settings=self.settings_of(trial),
            sources=dict(trial.user_attrs.get("sources", {})),
            epochs=len(trial.intermediate_values),
            seconds=round(length, 1),
            reason=reason,
        )

    def _encoded(self, settings: Mapping[str, Value]) -> Dict[str, Any]:
        """Return settings as Optuna stores them: values of a list as JSON text, since it takes no lists itself."""
        ranges = self.space.ranges
        return {name: value if ranges[name].values is None else json.dumps(value) for name, value in settings.items()}

    def _distributions(self) -> Dict[str, BaseDistribution]:
        found: Dict[str, BaseDistribution] = {}
        for name, given in self.space.ranges.items():
            if given.values is not None:
                found[name] = CategoricalDistribution([json.dumps(value) for value in given.values])
                continue
            low, high = given.low or 0.0, given.high or 0.0
            if self.space.whole[name]:
                found[name] = IntDistribution(int(low), int(high), given.log, int(given.step or 1))
            else:
                found[name] = FloatDistribution(low, high, given.log, given.step)
        return found
