# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice between two last layers, by cross-validation over micrographs."""

import numpy as np
import pandas as pd
import pytest
import torch

from cryoice_scipion.core.training.head_choice import COMBINED, NEW, choose


def labelled(micrographs, bad_each=4, good_each=4):
    rng = np.random.default_rng(1)
    parts = [
        pd.DataFrame({"micrograph": f"m{i}", "label": ["bad"] * bad_each + ["good"] * good_each})
        for i in range(micrographs)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(x=rng.uniform(0, 100, len(table)), y=rng.uniform(0, 100, len(table)))


def choice(table, seen=None, **errors):
    """Return what is chosen when each layer gives log-odds of ±4, wrong for some share of the micrographs' patches."""
    bad = (table["label"] != "good").to_numpy()
    right = np.where(bad, 4.0, -4.0)

    def fit(wrong):
        def logits(train, left):
            if seen is not None:
                seen.append((set(train.tolist()), set(left.tolist())))
            flips = np.random.default_rng(2).uniform(size=len(bad)) < wrong
            odds = np.where(flips, -right, right)[left]
            return torch.from_numpy(np.stack([np.zeros_like(odds), odds], axis=1))

        return logits

    fits = {name: fit(errors[name]) for name in (COMBINED, NEW)}
    return choose(fits, table, np.arange(len(table)), np.ones(len(table), np.float32))


@pytest.mark.parametrize(
    "errors, name",
    [((0.0, 0.0), COMBINED), ((0.5, 0.0), NEW), ((0.5, 0.5), COMBINED), ((0.0, 0.5), COMBINED)],
)
def test_the_combined_layer_is_taken_unless_the_new_one_is_clearly_better(errors, name):
    found = choice(labelled(6), **dict(zip((COMBINED, NEW), errors)))
    assert found.name == name
    assert str(found).startswith(f"{name} (")
    assert "cross-validated log loss over 6 micrographs: combined " in str(found)


def test_no_micrograph_is_scored_by_a_layer_that_has_seen_it():
    table, seen = labelled(7), []
    choice(table, seen, combined=0, new=0)
    names = table["micrograph"].to_numpy()
    assert len(seen) == 2 * 5
    assert not any(set(names[list(train)]) & set(names[list(left)]) for train, left in seen)
    assert set().union(*(left for _, left in seen)) == set(range(len(table)))


def test_one_micrograph_is_divided_into_quarters_and_that_is_said():
    table, seen = labelled(1, 12, 12), []
    found = choice(table, seen, combined=0, new=0)
    assert found.name == COMBINED and "over 4 quarters of micrographs" in str(found)
    assert all(train and left and not train & left for train, left in seen)


def test_the_combined_layer_is_taken_when_nothing_can_be_compared():
    found = choice(labelled(4, 0), combined=0, new=0)
    assert found.name == COMBINED and "too few labels to compare" in str(found)
