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

from scripts.data import PATIENT
from scripts.networks import HQGNet

REFERENCE = "reference"


class EnhancementEvaluator(Evaluator):
    """Enhance every image of a loader, guided by the stored prototype.

    ``state.output`` carries ``image``, ``pred``, and ``reference``, ``label`` and ``patient`` where the batch has them.

    Args:
        device: where to evaluate.
        val_data_loader: gives batches with ``image``, (B, C, *spatial) in [0, 1], and perhaps ``reference``, ``label``.
        network: the network, called with the image alone.
        inferer: how the network is called, for instance slice by slice.
        kwargs: further arguments of :class:`monai.engines.Evaluator`: metrics, handlers, postprocessing, amp.
    """

    def __init__(
        self, device: str | torch.device, val_data_loader: Any, network: HQGNet, inferer: Inferer, **kwargs: Any
    ) -> None:
        super().__init__(device=device, val_data_loader=val_data_loader, **kwargs)
        self.network = network
        self.inferer = inferer

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Enhance one batch; ``engine`` is the evaluator itself."""
        self.state.output = {
            key: value.to(self.state.device, non_blocking=self.non_blocking) if torch.is_tensor(value) else value
            for key, value in batchdata.items()
            if key in (Keys.IMAGE, REFERENCE, Keys.LABEL, PATIENT)
        }
        with self.mode(self.network), torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs):
            self.state.output[Keys.PRED] = self.inferer(self.state.output[Keys.IMAGE], self.network)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output
