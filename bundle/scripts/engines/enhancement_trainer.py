# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The adversarial, one-sided training of the guided enhancer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from monai.losses import PatchAdversarialLoss
from monai.transforms import Transform
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..data import GUIDE
from ..errors import InputError
from ..losses import EnhancementLoss
from ..networks import GuidedEnhancement, HQGNet

LOSSES = "losses"


def r1_penalty(discriminator: nn.Module, real: torch.Tensor) -> torch.Tensor:
    r"""Return :math:`\tfrac12\,E\lVert\nabla_z D(z)\rVert^2` (Mescheder et al. 2018, arXiv 1801.04406).

    Args:
        discriminator: returns a list with the logits last.
        real: real images, (B, C, *spatial).

    Returns:
        Scalar tensor; the squared gradient of each image's mean logit is summed over its pixels.
    """
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)[-1].flatten(1).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(logits, real, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(dim=1).mean()


class EnhancementTrainer(Trainer):
    """Train the enhancer and its guidance against a discriminator, without pairs.

    One iteration draws a low-quality image y and a high-quality image z of another patient, and then

    1. enhances: x = E(y; cue of z);
    2. discriminator step: D learns to tell z from x;
    3. enhancer and guidance step: :class:`scripts.losses.EnhancementLoss` under the new D.

    Events are MONAI's: ``FORWARD_COMPLETED`` after 1, ``LOSS_COMPLETED`` and ``BACKWARD_COMPLETED`` within 3,
    ``MODEL_COMPLETED`` at the end. ``state.output`` carries ``image``, ``guide``, ``pred``, ``loss`` (the objective of
    step 3) and ``losses`` (floats by name: every weighted term, their ``total``, ``discriminator``, and ``r1``).

    A trainer that adds to the objective overrides :meth:`objective`; one that adds steps overrides :meth:`_iteration`
    and calls the steps here. The random numbers of an epoch are a function of ``seed`` and the epoch's number alone, so
    training that is resumed at an epoch's end goes on exactly as if it had never stopped.

    Args:
        device: where to train.
        max_epochs: number of epochs.
        train_data_loader: gives batches with ``image`` and ``guide``, each (B, C, *spatial) in [0, 1].
        network: the network to train.
        optimizer: over the parameters of ``network``.
        discriminator: returns a list of features with the logits last (as MONAI's ``PatchDiscriminator``).
        d_optimizer: over the parameters of ``discriminator``.
        loss_function: the objective. Defaults to ``EnhancementLoss(spatial_dims)`` with its default weights.
        r1_weight: weight of the R1 penalty on the discriminator; 0 leaves it out. Defaults to 0.
        max_grad_norm: gradients of each network are clipped to this L2 norm; None leaves them. Defaults to None.
        seed: of the random numbers drawn in training. Defaults to 0.
        epoch_length: iterations per epoch. Defaults to the length of the loader.
        non_blocking: whether copies to the device may be asynchronous.
        inferer: how the network is called. Defaults to MONAI's ``SimpleInferer``.
        postprocessing: transform of the decollated output.
        key_train_metric: metric over the training output.
        additional_metrics: further metrics.
        train_handlers: handlers with ``attach``.
        amp: mixed precision (float16 with loss scaling on CUDA, bfloat16 on CPU). Defaults to False.
        amp_kwargs: further arguments of ``torch.autocast``.
        decollate: whether to turn the output into a list of items, as MONAI's handlers expect. Defaults to True.

    Raises:
        InputError: when a loss term becomes NaN or infinite.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any] | DataLoader[Any],
        network: HQGNet,
        optimizer: Optimizer,
        discriminator: nn.Module,
        d_optimizer: Optimizer,
        loss_function: EnhancementLoss | None = None,
        r1_weight: float = 0.0,
        max_grad_norm: float | None = None,
        seed: int = 0,
        epoch_length: int | None = None,
        non_blocking: bool = False,
        inferer: Inferer | None = None,
        postprocessing: Transform | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        train_handlers: Sequence[Any] | None = None,
        amp: bool = False,
        amp_kwargs: dict[str, Any] | None = None,
        decollate: bool = True,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            postprocessing=postprocessing,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            handlers=train_handlers,
            amp=amp,
            amp_kwargs=amp_kwargs,
            decollate=decollate,
        )
        self.network = network
        self.optimizer = optimizer
        self.discriminator = discriminator
        self.d_optimizer = d_optimizer
        if loss_function is None:
            loss_function = EnhancementLoss(network.enhancer.spatial_dims)
        self.loss_function = loss_function.to(self.state.device)
        self.d_loss_function = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        self.r1_weight = r1_weight
        self.max_grad_norm = max_grad_norm
        self.inferer = SimpleInferer() if inferer is None else inferer
        scale = amp and self.state.device.type == "cuda"
        self.scalers = {name: torch.amp.GradScaler("cuda", enabled=scale) for name in ("network", "discriminator")}

        @self.on(Events.EPOCH_STARTED)
        def seed_epoch() -> None:
            torch.manual_seed(seed + self.state.epoch)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's own
        """Train, or go on training."""
        # Past MONAI's, which makes one more scaler of gradients and warns on a processor that CUDA is missing.
        super(Trainer, self).run()

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Run one iteration as the class describes; ``engine`` is the trainer itself."""
        batch = self.to_device(batchdata)
        self.network.train()
        self.discriminator.train()
        self.state.output = {Keys.IMAGE: batch[Keys.IMAGE], GUIDE: batch[GUIDE]}

        with self.autocast():
            enhanced = self.inferer(batch[Keys.IMAGE], self.network.enhance_guided, batch[GUIDE])
        self.state.output[Keys.PRED] = enhanced.pred
        self.fire_event(IterationEvents.FORWARD_COMPLETED)

        losses = self.discriminator_step(batch, enhanced)
        losses |= self.enhancement_step(batch, enhanced)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        # Only now: MONAI's decollating, which listens to MODEL_COMPLETED, would take a dictionary's keys for items.
        for item in self.state.output if isinstance(self.state.output, list) else [self.state.output]:
            item[LOSSES] = losses
        return self.state.output

    def to_device(self, batchdata: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with its tensors on the trainer's device."""
        return {
            key: value.to(self.state.device, non_blocking=self.non_blocking) if torch.is_tensor(value) else value
            for key, value in batchdata.items()
        }

    def autocast(self) -> torch.autocast:
        """Return the context of mixed precision, which does nothing unless ``amp`` is set."""
        return torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs)

    def discriminator_step(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, float]:
        """Let the discriminator learn to tell guides from enhanced images; return its losses by name."""
        if self.loss_function.weights["adversarial"] == 0:
            return {}
        with self.autocast():
            real = self.discriminator(batch[GUIDE])[-1]
            fake = self.discriminator(enhanced.pred.detach())[-1]
            terms = {
                "discriminator": 0.5
                * (
                    self.d_loss_function(real, target_is_real=True, for_discriminator=True)
                    + self.d_loss_function(fake, target_is_real=False, for_discriminator=True)
                )
            }
        if self.r1_weight > 0:
            terms["r1"] = self.r1_weight * r1_penalty(self.discriminator, batch[GUIDE])
        self.d_optimizer.zero_grad(set_to_none=True)
        self.optimizer_step(terms, self.d_optimizer, self.discriminator, self.scalers["discriminator"])
        return {name: float(term.detach()) for name, term in terms.items()}

    def enhancement_step(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, float]:
        """Let enhancer and guidance encoder descend the objective; return its terms by name, and their ``total``."""
        with self.autocast():
            terms = self.objective(batch, enhanced)
        self.state.output[Keys.LOSS] = torch.stack(list(terms.values())).sum().detach()
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step(terms, self.optimizer, self.network, self.scalers["network"])
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.network.clamp_()
        return {
            **{name: float(term.detach()) for name, term in terms.items()},
            "total": float(self.state.output[Keys.LOSS]),
        }

    def objective(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, torch.Tensor]:
        """Return the weighted terms that enhancer and guidance encoder minimise."""
        return self.loss_function(
            self.network,
            self.discriminator,
            batch[Keys.IMAGE],
            batch[GUIDE],
            enhanced,
            step=self.state.iteration,
            encoders=self.judges(),
        )

    def judges(self) -> dict[str, nn.Module]:
        """Return further judges of the multi-encoder loss by name; here there are none."""
        return {}

    def optimizer_step(
        self,
        terms: dict[str, torch.Tensor],
        optimizer: Optimizer,
        network: nn.Module,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Take one optimiser step down the sum of ``terms``, with loss scaling and clipping as configured."""
        for name, term in terms.items():
            if not torch.isfinite(term):
                raise InputError(
                    f'The loss term "{name}" became {float(term.detach())} in iteration {self.state.iteration}: '
                    "lower the learning rate or max_grad_norm."
                )
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        if self.max_grad_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), self.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()


__all__ = ["LOSSES", "EnhancementTrainer", "r1_penalty"]
