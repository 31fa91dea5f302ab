# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from scripts.experiments.paired_interval import paired_interval


def test_one_figure_for_each_seed_has_the_t_interval_of_the_seeds() -> None:
    values = np.array([0.3, 0.5, 0.1])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    for differences in (values[:, None], np.repeat(values[:, None], 10, axis=1)):
        assert paired_interval(differences) == pytest.approx((0.3, expected.low, expected.high))


def test_patients_without_a_part_of_their_own_do_not_narrow_it() -> None:
    """Ten patients under one training are no ten trainings."""
    random = np.random.RandomState(0)
    differences = np.array([[0.3], [0.5], [0.1]]) + 0.001 * random.randn(3, 10)
    found = paired_interval(differences)
    assert found.high - found.low > 0.9
    pooled = stats.ttest_1samp(differences.ravel(), 0.0).confidence_interval(0.95)
    assert pooled.high - pooled.low < 0.2


def test_where_trainings_agree_it_is_the_t_interval_of_the_patients() -> None:
    values = np.random.RandomState(0).randn(10)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = paired_interval(np.repeat(values[None], 3, axis=0))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval() -> None:
    found = paired_interval(np.ones((1, 10)))
    assert found.mean == 1.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(("seeds", "patients"), [(1.0, 1.0), (0.3, 1.0), (0.5, 2.0)])
def test_it_holds_the_truth_as_often_as_it_says(seeds: float, patients: float) -> None:
    random = np.random.RandomState(1)
    held = []
    for _ in range(200):
        drawn = seeds * random.randn(3, 1) + patients * random.randn(1, 10) + random.randn(3, 10)
        found = paired_interval(drawn)
        held.append(found.low <= 0.0 <= found.high)
    assert 0.91 <= np.mean(held) <= 0.98
