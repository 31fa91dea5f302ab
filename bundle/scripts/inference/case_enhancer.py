# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing one case, from its own units back to its own units."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from monai.transforms import Compose
from tqdm import tqdm

from ..cues import collect_cues
from ..errors import InputError
from ..inferers import ConsistentInferer
from ..io import Case, CaseImage, Problem, find_cases, open_case
from ..model_spec import ModelSpec
from ..networks import HQGNet, draw_cues, mean_and_deviation
from ..reports import MEASURES, SafetyMeasures, SafetyThresholds, measure_safety
from ..transforms import (
    SLICE_AXIS,
    CheckImaged,
    OrientVolumesd,
    ReadImaged,
    RescaleIntensityd,
    RestoreSourced,
    SliceAxisd,
)
from ..transforms.slices import places_in_ras

__all__ = ["CaseEnhancer", "Cue", "EnhancedCase", "calibrate", "inference_preprocessing", "measured"]

_IMAGE, _PRED, _DEVIATION = "image", "pred", "deviation"


class Cue(NamedTuple):
    """How good images look, as the network takes it.

    Attributes:
        mean: (1, cue_channels).
        std: spread, (1, cue_channels), that the samples are drawn with.
    """

    mean: torch.Tensor
    std: torch.Tensor


class EnhancedCase(NamedTuple):
    """A case after enhancement.

    Attributes:
        result: (C, *spatial), on the grid and in the units of the image that was read.
        deviation: standard deviation over samples of the cue, (1, *spatial), in the same units; None without samples.
        slice_axis: spatial axis of ``result`` along which the planes of a volume are stacked: those that a 2-D network
            saw; None for an image without such an axis.
    """

    result: torch.Tensor
    deviation: torch.Tensor | None
    slice_axis: int | None


class NetworkImage(NamedTuple):
    """An image as the downstream network sees it: turned to RAS axes, and scaled to [0, 1].

    Attributes:
        image: (C, *spatial), with the affine of the RAS axes.
        slice_axis: its spatial axis along which the planes are stacked.
    """

    image: MetaTensor
    slice_axis: int


class CaseEnhancer:
    r"""Enhance an image that was read from a case.

    The image is turned to RAS axes and scaled to [0, 1] as in training, enhanced as a whole
    (:class:`scripts.inferers.ConsistentInferer`), and brought back to its own units
    (:class:`scripts.transforms.RestoreSourced`). MONAI's inference workflow has the same parts, and gives the same.

    Args:
        network: the trained network, on its device.
        preprocessing: of the key ``"image"``, from a :class:`scripts.io.CaseImage` to what the network sees, see
            :func:`inference_preprocessing`.
        inferer: how the network is called.
        samples: over how many draws of the cue the deviation is taken; 0: none.
        seed: of the draws.
        amp: mixed precision.
        guide_pixel_size: pixels of the high-quality images of the training, to which guides are brought where the
            inferer brings images to its ``pixel_size``, see :class:`ModelSpec`. Defaults to None: those of images.

    Raises:
        InputError: for a number of samples that gives no deviation.
    """

    def __init__(
        self,
        network: HQGNet,
        preprocessing: Compose,
        inferer: ConsistentInferer,
        samples: int = 0,
        seed: int = 0,
        amp: bool = False,
        guide_pixel_size: Sequence[Sequence[float]] | None = None,
    ) -> None:
        if samples < 0 or samples == 1:
            raise InputError(f"samples must be 0, for no uncertainty map, or at least 2, not {samples}.")
        self.network = network
        self.preprocessing = preprocessing
        self.restore = RestoreSourced(_PRED, preprocessing, inferer.spatial_dims, _IMAGE, deviation_key=_DEVIATION)
        self.inferer = inferer
        self.samples = samples
        self.seed = seed
        self.amp = amp
        self.guide_pixel_size = guide_pixel_size
        self.cue = Cue(network.prototype_mean.unsqueeze(0), network.prototype_std.unsqueeze(0))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.prototype_mean.device

    def follow(self, guides: Iterable[CaseImage]) -> None:
        """Let high-quality images of the user's choice be the guide, in place of the stored prototype.

        Every slice gives a cue to a 2-D network; their mean and their spread are used.
        """
        cues = []
        sizes = self.guide_pixel_size if self.inferer.pixel_size else None
        for guide in guides:
            item = self.preprocessing({_IMAGE: guide})
            scaled, axis, dims = item[_IMAGE], item[SLICE_AXIS], self.inferer.spatial_dims
            images = [self.inferer.at_training_size(scaled[None], self.network, axis, sizes)]
            cues.append(collect_cues(self.network, images, self.device, spatial_dims=dims, slice_axis=axis))
        gathered = torch.cat(cues)
        if self.samples and len(gathered) < 2:
            raise InputError(
                "One image gives one cue, which has no spread to draw samples from: "
                "give several images or a volume as the guide, or leave the samples out."
            )
        self.cue = Cue(gathered.mean(0, keepdim=True), gathered.std(0, correction=0, keepdim=True))

    def follow_style(self, style: str, styles: Mapping[str, Any] | None) -> None:
        """Let the prototype of a style of the training set be the guide.

        Args:
            style: its name.
            styles: of the model, see :class:`ModelSpec`.

        Raises:
            InputError: when the model has no such style.
        """
        styles = styles or {}
        if style not in styles:
            known = f"the styles of the model, {', '.join(styles)}" if styles else "the model names no styles"
            raise InputError(f'There is no guide "{style}": give a good image, or a folder of them ({known}).')
        mean, std = (self.network.prototype_mean.new_tensor(styles[style][key])[None] for key in ("mean", "std"))
        self.cue = Cue(mean, std)

    def follow_named(self, guide: str | Path, styles: Mapping[str, Any] | None) -> None:
        """Let a style of the training set, or the images in a file or a folder, be the guide.

        Raises:
            InputError: see :meth:`follow_style` and :meth:`follow_files`.
        """
        if os.path.lexists(Path(guide).expanduser()) and str(guide) not in (styles or {}):
            self.follow_files(guide)
        else:
            self.follow_style(str(guide), styles)

    def follow_files(self, place: str | Path) -> None:
        """Let the images in a file or a folder be the guide, see :meth:`follow`.

        Raises:
            InputError: when one of them cannot be read, or the network cannot take it.
        """
        cases, found = find_cases(place, follow_links=True)
        problems = [problem for problem in found if not problem.passed_over]
        if problems or not cases:
            reason = problems[0].message if problems else "it holds no image"
            raise InputError(f'The guide "{place}" cannot be used: {reason}')
        self.follow(open_case(case) for case in tqdm(cases, desc="reading the guide", unit="image", leave=False))

    def __call__(self, case: CaseImage) -> EnhancedCase:
        """Enhance one image.

        Raises:
            InputError: when the network cannot take the image.
        """
        return self.enhance(case)[0]

    @torch.no_grad()
    def enhance(self, case: CaseImage) -> tuple[EnhancedCase, NetworkImage]:
        """Enhance one image; return the result in the image's own units, and as the downstream network sees it.

        Raises:
            InputError: when the network cannot take the image.
        """
        item = self.preprocessing({_IMAGE: case})
        scaled, axis = item[_IMAGE], item[SLICE_AXIS]
        with eval_mode(self.network), torch.autocast(self.device.type, enabled=self.amp):
            item[_PRED] = self._enhanced(scaled, self.cue.mean, axis)
            if self.samples:
                draws = draw_cues(*self.cue, self.samples, self.seed).split(1)
                _, item[_DEVIATION] = mean_and_deviation(self._enhanced(scaled, cue, axis) for cue in draws)
        seen = NetworkImage(MetaTensor(item[_PRED]).copy_meta_from(scaled), axis)
        item = self.restore(item)
        slice_axis = places_in_ras(case.image).index(axis) if scaled.ndim == 4 else None
        return EnhancedCase(item[_PRED].as_tensor(), item.get(_DEVIATION), slice_axis), seen

    def as_it_is(self, case: CaseImage) -> NetworkImage:
        """Return an image as the downstream network sees it without enhancement.

        Raises:
            InputError: when the network cannot take the image.
        """
        item = self.preprocessing({_IMAGE: case})
        return NetworkImage(item[_IMAGE], item[SLICE_AXIS])

    def _enhanced(self, scaled: MetaTensor, cue: torch.Tensor, axis: int) -> torch.Tensor:
        return self.inferer(scaled[None], self.network, cue, axis)[0].float()


def inference_preprocessing(spec: ModelSpec, minimum_size: int) -> Compose:
    """Return the preprocessing of an inference, that of ``configs/inference.yaml``: read, orient, check, scale.

    Args:
        spec: of the trained network.
        minimum_size: smallest plane that the network takes.
    """
    dims = spec.network["spatial_dims"]
    check = CheckImaged(_IMAGE, spec.network["in_channels"], dims, minimum_size, slice_axis_key=SLICE_AXIS)
    return Compose(
        [
            ReadImaged(_IMAGE, even_spacing=dims == 3, source_key="source"),
            SliceAxisd(_IMAGE, spec.slice_axis),
            OrientVolumesd(_IMAGE),
            check,
            RescaleIntensityd(_IMAGE, *spec.percentiles, window=spec.window),
        ]
    )


def measured(case: CaseImage, enhanced: EnhancedCase) -> SafetyMeasures:
    """Measure what enhancement did to a case."""
    return measure_safety(case.image, enhanced.result, case.padding, enhanced.deviation, slice_axis=enhanced.slice_axis)


def calibrate(
    enhancer: CaseEnhancer, cases: Sequence[Case], problems: Sequence[Problem], model_file: str | Path
) -> SafetyThresholds:
    """Learn where the safety measures begin to be suspicious, and store it with the model.

    Args:
        enhancer: with the trained network; without samples uncertainty gets no limits.
        cases: images that it enhances well: the validation images, say.
        problems: what was found beside them and is no image.
        model_file: ``model.pt``, beside which the limits are written.

    Raises:
        InputError: when an image cannot be read, or there are too few.
    """
    problems = [problem for problem in problems if not problem.passed_over]
    if problems:
        raise InputError(f"{problems[0].message}; calibration needs images that a reader may trust, all of them")
    if len(cases) < SafetyThresholds.LEAST_CASES:
        raise InputError(f"Calibration needs at least {SafetyThresholds.LEAST_CASES} images, not {len(cases)}.")
    values = []
    for case in tqdm(cases, desc="calibrating", unit="case", disable=None):
        image = open_case(case)
        values.append(measured(image, enhancer(image)).values)
    thresholds = SafetyThresholds.calibrate(values)
    description = ModelSpec.load(model_file)
    description.thresholds = thresholds.to_dict()
    description.save(model_file)
    unmeasured = [measure.title for name, measure in MEASURES.items() if name not in thresholds.limits]
    print(
        f"limits of {len(thresholds.limits)} measures, from {len(values)} images: {description.path_beside(model_file)}"
        + (f"; none for {', '.join(unmeasured)}" if unmeasured else ""),
        flush=True,
    )
    return thresholds
