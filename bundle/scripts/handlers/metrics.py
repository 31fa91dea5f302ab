# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Image quality against a clean reference: PSNR, SSIM, MS-SSIM and HaarPSI, one number per patient."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric, MultiScaleSSIMMetric, PSNRMetric, SSIMMetric

from ..cues import as_network_batch
from ..errors import InputError
from ..tensors import without_metadata
from .haarpsi import haarpsi

QUALITY_METRICS = ("psnr", "ssim", "ms_ssim", "haarpsi")

PSNR_CEILING = 100.0
"""PSNR, in dB, of two equal images: keeps the mean over slices finite."""

_MAX_WINDOW = 11
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

logger = logging.getLogger(__name__)


def ssim_window(spatial_size: Sequence[int]) -> int:
    """Return the side of SSIM's Gaussian window: 11 pixels, or the largest odd number that fits the image."""
    smallest = min(spatial_size)
    return min(_MAX_WINDOW, smallest if smallest % 2 else smallest - 1)


def ms_ssim_weights(spatial_size: Sequence[int]) -> tuple[float, ...]:
    r"""Return MS-SSIM's weights for as many scales as the image allows, fine to coarse, with sum 1.

    Scale n of N is the image reduced by :math:`2^{n-1}`, and SSIM's window of w pixels must fit into the coarsest;
    MONAI asks in addition for ``size // (N - 1)**2 >= w``: 5 scales need 176 pixels, 4 need 99, 3 need 44, 2 need 22.
    The weights are the first N of Wang, Simoncelli and Bovik 2003, divided by their sum, so MS-SSIM of a small image
    lacks the coarse scales and compares only with MS-SSIM of images of about that size.
    """
    smallest, window = min(spatial_size), ssim_window(spatial_size)
    scales = len(_SCALE_WEIGHTS)
    while scales > 1 and smallest // max((scales - 1) ** 2, 2 ** (scales - 1)) < window:
        scales -= 1
    weights = _SCALE_WEIGHTS[:scales]
    return tuple(weight / sum(weights) for weight in weights)


class SlicewiseMetric(CumulativeIterationMetric):
    """PSNR, SSIM, MS-SSIM or HaarPSI of every case as one number, volumes of a 2-D network slice by slice.

    The data range is 1. A volume counts as the mean over its slices when the network is 2-D, so each patient has the
    same weight however many slices there are. Slices in which the reference is constant (air) are skipped. PSNR ends
    at :data:`PSNR_CEILING`. The windows of small images are :func:`ssim_window` and :func:`ms_ssim_weights`.

    Args:
        metric: ``"psnr"`` (dB), ``"ssim"``, ``"ms_ssim"`` or ``"haarpsi"``.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked. Defaults to 2.

    Raises:
        InputError: for an unknown metric.
    """

    def __init__(self, metric: str, spatial_dims: int = 2, slice_axis: int = 2) -> None:
        super().__init__()
        if metric not in QUALITY_METRICS:
            raise InputError(f"Unknown image quality metric {metric!r}: choose one of {', '.join(QUALITY_METRICS)}.")
        self.metric = metric
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> torch.Tensor:
        references = [None] * len(y_pred) if y is None else y
        return torch.cat(
            [
                self._compute_tensor(pred[None], None if reference is None else reference[None])
                for pred, reference in zip(y_pred, references, strict=True)
            ]
        )

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            return y_pred.new_full((len(y_pred), 1), math.nan, dtype=torch.float32)
        if y_pred.shape != y.shape:
            raise InputError(
                f"An image of shape {tuple(y_pred.shape[1:])} cannot be compared with a reference of shape "
                f"{tuple(y.shape[1:])}: both must come from the same grid."
            )
        pairs = zip(_plain(y_pred), _plain(y), strict=True)
        return torch.stack([self._compare(pred, reference) for pred, reference in pairs])[:, None]

    def _compare(self, pred: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Return the mean over slices, (), of two cases, (C, *spatial)."""
        preds, references = (as_network_batch(case, self.spatial_dims, self.slice_axis) for case in (pred, reference))
        varied = references.flatten(1).amax(1) > references.flatten(1).amin(1)
        if not varied.any():
            return reference.new_tensor(math.nan)
        preds, references = preds[varied], references[varied]
        size = references.shape[2:]
        window = ssim_window(size)
        values: Any
        if self.metric == "psnr":
            values = PSNRMetric(max_val=1.0)(preds, references)
            values = values.clamp(max=PSNR_CEILING)
        elif self.metric == "haarpsi":
            # A two-dimensional index: of volumes the mean over the slices along the last axis.
            if self.spatial_dims == 3:
                preds, references = (x.movedim(-1, 1).flatten(0, 1) for x in (preds, references))
            values = haarpsi(preds, references)
        elif self.metric == "ssim":
            values = SSIMMetric(self.spatial_dims, win_size=window)(preds, references)
        else:
            values = MultiScaleSSIMMetric(self.spatial_dims, kernel_size=window, weights=ms_ssim_weights(size))(
                preds, references
            )
        mean: torch.Tensor = values.mean()
        return mean

    def aggregate(self) -> torch.Tensor:
        """Return the mean over the cases that have a reference, (); NaN when none has one."""
        buffer = self.get_buffer()
        return torch.tensor(math.nan) if buffer is None else torch.nanmean(buffer)


class ImageQuality(IgniteMetricHandler):
    """Ignite metric of an evaluator: PSNR, SSIM, MS-SSIM or HaarPSI of ``pred`` against ``reference``.

    ``engine.state.metrics[name]`` is the mean over cases, ``engine.state.metric_details[name]`` holds one row per case,
    (N, 1). A case without a reference has NaN in its row and does not count. When no case has one, the metric is NaN,
    which is logged once.

    Args:
        metric: ``"psnr"`` (dB), ``"ssim"``, ``"ms_ssim"`` or ``"haarpsi"``.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked. Defaults to 2.
        pred_key: key of the enhanced image in the engine's output. Defaults to ``"pred"``.
        reference_key: key of the clean image. Defaults to ``"reference"``.
    """

    def __init__(
        self,
        metric: str,
        spatial_dims: int = 2,
        slice_axis: int = 2,
        pred_key: str = "pred",
        reference_key: str = "reference",
    ) -> None:
        def pairs(output: Any) -> tuple[list[Any], list[Any]]:
            cases = output_cases(output)
            return [case[pred_key] for case in cases], [case.get(reference_key) for case in cases]

        super().__init__(metric_fn=SlicewiseMetric(metric, spatial_dims, slice_axis), output_transform=pairs)
        self._absence_told = False

    def compute(self) -> Any:
        """Return the mean over the cases that have a reference, NaN when none has one."""
        result = super().compute()
        if math.isnan(result) and not self._absence_told:
            self._absence_told = True
            logger.info("No case has a reference image to compare with: %s is not computed.", self._name)
        return result


def image_quality_metrics(names: Sequence[str], spatial_dims: int = 2, slice_axis: int = 2) -> dict[str, ImageQuality]:
    """Return the metrics of these names, see :class:`ImageQuality`."""
    return {name: ImageQuality(name, spatial_dims, slice_axis) for name in names}


def image_quality(
    pred: torch.Tensor, reference: torch.Tensor, spatial_dims: int = 2, slice_axis: int = 2
) -> dict[str, float]:
    """Return PSNR (dB), SSIM, MS-SSIM and HaarPSI of one case.

    Args:
        pred: image to judge, (C, *spatial), in [0, 1].
        reference: clean image, of the same shape.
        spatial_dims: number of spatial dimensions of the network: volumes of a 2-D network are compared by slices.
        slice_axis: spatial axis of a volume along which its slices are stacked.

    Raises:
        InputError: when the shapes differ.
    """
    return {
        metric: float(SlicewiseMetric(metric, spatial_dims, slice_axis)([pred], [reference]))  # type: ignore[arg-type]
        for metric in QUALITY_METRICS
    }


def image_psnr(pred: torch.Tensor, reference: torch.Tensor, spatial_dims: int = 2, slice_axis: int = 2) -> float:
    """Return PSNR (dB) alone, see :func:`image_quality`."""
    return float(SlicewiseMetric("psnr", spatial_dims, slice_axis)([pred], [reference]))  # type: ignore[arg-type]


def output_cases(output: Any) -> list[dict[str, Any]]:
    """Return the cases in an engine's output: those of a decollated list, or of a dictionary of batches.

    Of a dictionary, the entries that are not of the batch's length (losses, say) are left out.
    """
    if isinstance(output, Mapping):
        tensors = [value for value in output.values() if isinstance(value, torch.Tensor) and value.ndim > 0]
        size = len(tensors[0]) if tensors else 0
        batches = {
            key: value
            for key, value in output.items()
            if isinstance(value, (torch.Tensor, list, tuple))
            and not (isinstance(value, torch.Tensor) and value.ndim == 0)
            and len(value) == size
        }
        return [{key: value[index] for key, value in batches.items()} for index in range(size)]
    return list(output)


def _plain(image: torch.Tensor) -> torch.Tensor:
    """Return the numbers of an image as a float tensor without metadata, for speed."""
    return without_metadata(image).detach().float()
