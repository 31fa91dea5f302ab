# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the enhancer on images whose reference may be known."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils import CommonKeys as Keys
from monai.utils import convert_to_tensor
from torch import nn

from ..cues import collect_cues
from ..data import GUIDE, PATIENT
from ..networks import HQGNet

REFERENCE = "reference"
TASK_IMAGE = "task_image"
TASK_PRED = "task_pred"
TASK_REFERENCE = "task_reference"
_TASK_KEYS = {Keys.PRED: TASK_PRED, Keys.IMAGE: TASK_IMAGE, REFERENCE: TASK_REFERENCE}


class EnhancementEvaluator(Evaluator):
    """Enhance every image of a loader, guided by the image's own guide or, without one, by the stored prototype.

    A guide is a study: its cue is the mean over its slices.

    ``state.output`` carries ``image``, ``pred``, and ``reference``, ``label`` and ``patient`` where the batch has them.
    With a downstream network it carries the logits as well: ``task_pred`` on enhanced images and, where
    ``read_originals`` is set, ``task_image`` on the input and ``task_reference`` on the reference.

    Args:
        device: where to evaluate.
        val_data_loader: gives batches with ``image``, (B, C, *spatial) in [0, 1], and perhaps ``guide``, ``reference``,
            ``label``.
        network: the network.
        inferer: how the networks are called, for instance slice by slice.
        downstream: the downstream network. Defaults to None.
        read_originals: whether the downstream network also reads inputs and references. Defaults to False.
        task_inferer: how the downstream network is called; ``inferer`` by default.
        kwargs: further arguments of :class:`monai.engines.Evaluator`: metrics, handlers, postprocessing, amp.
    """

    def __init__(
        self,
        device: str | torch.device,
        val_data_loader: Any,
        network: HQGNet,
        inferer: Inferer,
        downstream: nn.Module | None = None,
        read_originals: bool = False,
        task_inferer: Inferer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(device=device, val_data_loader=val_data_loader, **kwargs)
        self.network = network
        self.inferer = inferer
        self.downstream = downstream
        self.task_inferer = inferer if task_inferer is None else task_inferer
        self.read_originals = read_originals

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Enhance one batch; ``engine`` is the evaluator itself."""
        self.state.output = {
            key: value.to(self.state.device, non_blocking=self.non_blocking) if torch.is_tensor(value) else value
            for key, value in batchdata.items()
            if key in (Keys.IMAGE, GUIDE, REFERENCE, Keys.LABEL, PATIENT)
        }
        with self.mode(self.network), torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs):
            self.state.output[Keys.PRED] = self.enhance(self.state.output[Keys.IMAGE], self.state.output.get(GUIDE))
        if self.downstream is not None:
            self.read(self.downstream)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def enhance(self, images: torch.Tensor, guides: torch.Tensor | None) -> torch.Tensor:
        """Enhance a batch, each image under its guide, or all of them under the prototype where there is none."""
        if guides is None:
            under_prototype: torch.Tensor = self.inferer(images, self.network)
            return under_prototype
        # As plain tensors: taking one image of a batch would take its geometry out of the batch.
        plain_images, plain_guides = (convert_to_tensor(batch, track_meta=False) for batch in (images, guides))
        results = [
            self.inferer(image[None], self.network.enhance_with_cue, self.study_cue(guide))
            for image, guide in zip(plain_images, plain_guides, strict=True)
        ]
        return torch.cat(results)

    def study_cue(self, guide: torch.Tensor) -> torch.Tensor:
        """Return the cue of a guide, (C, *spatial): (1, cue_channels), the mean over the slices of a volume."""
        cues = collect_cues(
            self.network,
            [guide[None]],
            self.state.device,
            spatial_dims=self.network.spatial_dims,
            slice_axis=getattr(self.inferer, "slice_axis", 2),
        )
        return cues.mean(dim=0, keepdim=True)

    def read(self, downstream: nn.Module) -> None:
        """Let the downstream network read the images of ``state.output``."""
        with self.mode(downstream):
            for key, task_key in _TASK_KEYS.items():
                if key in self.state.output and (self.read_originals or key == Keys.PRED):
                    self.state.output[task_key] = self.task_inferer(self.state.output[key].float(), downstream)
