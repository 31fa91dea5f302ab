# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from scripts.experiments.guidance_measures import (
    best_rising_tone,
    detail_energy,
    follow_slope,
    match_histogram,
    rank_correlation,
    style_share,
    tissue_deviation,
    tissue_means,
)

TRUTHS = {"a": torch.tensor([0.2, 0.6, 0.9]), "b": torch.tensor([0.9, 0.6, 0.4])}


def test_tone_curves_keep_the_ranks_and_other_structure_does_not() -> None:
    image = torch.rand(1, 32, 32)
    assert rank_correlation(image, image**0.5) == pytest.approx(1.0)
    assert abs(rank_correlation(image, torch.rand(1, 32, 32))) < 0.2


def test_tissue_means_are_those_of_the_classes() -> None:
    means = tissue_means(torch.tensor([[[0.2, 0.4, 0.9]]]), torch.tensor([[[1, 1, 2]]]), [1, 2, 3])
    assert means[:2].tolist() == pytest.approx([0.3, 0.9])
    assert math.isnan(means[2])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_results_that_go_part_of_the_way_have_that_slope(share: float) -> None:
    middle = (TRUTHS["a"] + TRUTHS["b"]) / 2
    results = {style: middle + share * (truth - middle) + 0.05 for style, truth in TRUTHS.items()}
    assert follow_slope(results, TRUTHS) == pytest.approx(share)


def test_classes_that_are_not_there_do_not_count() -> None:
    results = {style: torch.cat([truth[:2], torch.tensor([math.nan])]) for style, truth in TRUTHS.items()}
    assert follow_slope(results, TRUTHS) == pytest.approx(1.0)
    assert math.isnan(follow_slope(TRUTHS, dict.fromkeys(TRUTHS, TRUTHS["a"])))


def test_cues_that_tell_styles_apart_have_a_share_of_one_and_cues_at_random_none() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = {style: torch.randn(200, 3, generator=generator) for style in "abc"}
    apart = {style: 100.0 * place + cues for place, (style, cues) in enumerate(noise.items())}
    assert style_share(noise) < 0.05
    assert style_share(apart) > 0.99


def test_a_matched_histogram_has_the_guides_quantiles_and_leaves_air_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.2 + 0.3 * torch.rand(1, 40, 40, generator=generator)
    image[:, :10] = 0.0
    guide = (0.1 + 0.8 * torch.rand(1, 50, 30, generator=generator)) ** 2
    guide = guide.clamp_min(0.06)
    matched = match_histogram(image, guide)
    assert matched[:, :10].max() == 0
    share = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(matched[:, 10:].quantile(share), guide.quantile(share), atol=0.02, rtol=0)
    assert rank_correlation(matched[:, 10:], image[:, 10:]) > 0.99


def test_fine_noise_raises_the_energy_of_details_and_blur_lowers_it() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 32, 32, 3, generator=generator)
    blurred = torch.nn.functional.avg_pool3d(image, (3, 3, 1), 1, (1, 1, 0))
    assert detail_energy(image, image, 2) == pytest.approx(1.0)
    assert detail_energy(2 * image, image, 2) == pytest.approx(4.0, rel=1e-4)
    assert detail_energy(blurred, image, 2) < 0.3


def test_the_best_tone_undoes_a_rising_curve_and_no_falling_one() -> None:
    image = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    assert best_rising_tone(image, image**3).allclose(image**3, atol=1e-5)
    falling = best_rising_tone(image, 1 - image)
    assert falling[0].std() < 1e-3
    assert falling.mean() == pytest.approx(float((1 - image).mean()), abs=1e-3)


def test_equal_intensities_stay_equal_in_the_best_tone() -> None:
    image = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    wanted = torch.tensor([[[0.1, 0.3, 0.5, 0.9]]])
    assert best_rising_tone(image, wanted).flatten().tolist() == pytest.approx([0.2, 0.2, 0.7, 0.7])


def test_deviation_in_a_tissue_is_that_of_its_intensities() -> None:
    found = tissue_deviation(torch.tensor([[[0.2, 0.4, 0.9]]]), torch.tensor([[[1, 1, 2]]]), [1, 2, 3])
    assert found[:2].tolist() == pytest.approx([0.1, 0.0])
    assert math.isnan(found[2])
