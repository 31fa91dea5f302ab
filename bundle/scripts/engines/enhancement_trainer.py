# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The adversarial, one-sided training of the guided enhancer, alone or together with a downstream network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from monai.losses import PatchAdversarialLoss
from monai.transforms import Transform
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from .. import processes
from ..data import GUIDE, GUIDE_LABEL
from ..errors import InputError
from ..losses import EnhancementLoss
from ..networks import GuidedEnhancement, HQGNet, at_least_float32
from .bilevel_task import BilevelTask, UpperTerms
from .shared_gradients import average_gradients, share_weights

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

    1. lets S of ``bilevel`` take its steps on enhanced images of half A, once it has joined in;
    2. enhances: x = E(y; cue of z);
    3. lets the discriminator D learn to tell z from x;
    4. lets enhancer and guidance take one step down :class:`scripts.losses.EnhancementLoss` under the new D and, with
       ``bilevel``, the task's terms on enhanced images of half B.

    What holds the guide, restoration and KL, is in the objective of every step. In the first ``restoration_epochs``
    there is nothing else, and 1 and 3 are left out; in a warm-up by the frozen task networks their loss on a labelled
    image y comes beside it. See :class:`BilevelTask` for both levels.

    Events are MONAI's: ``FORWARD_COMPLETED`` after 2, ``LOSS_COMPLETED`` and ``BACKWARD_COMPLETED`` within 4,
    ``MODEL_COMPLETED`` at the end. ``state.output`` carries ``image``, ``guide``, ``pred``, ``loss`` (the objective of
    4) and ``losses``, floats by name: ``discriminator`` and ``r1``, every weighted term of 4 and their ``total``,
    ``downstream`` (the lower loss, mean over the inner steps) and ``response`` (see :class:`UpperTerms`).

    The random numbers of an epoch are a function of ``seed`` and the epoch's number alone. So training that is resumed
    at an epoch's end goes on exactly as if it had never stopped.

    Several processes (:mod:`scripts.processes`) train one network: gradients and losses are means over all of them, and
    every epoch begins with the weights of the first. Each process draws random numbers of its own.

    Args:
        device: where to train.
        max_epochs: number of epochs.
        train_data_loader: gives batches with ``image`` and ``guide`` and, for the restoration, ``clean`` and
            ``degraded``, each (B, C, *spatial) in [0, 1]; perhaps with label maps, ``label`` and ``guide_label``.
        network: the network to train.
        optimizer: over the parameters of ``network``.
        discriminator: returns a list of features with the logits last (as MONAI's ``PatchDiscriminator``).
        d_optimizer: over the parameters of ``discriminator``.
        loss_function: the objective. Defaults to ``EnhancementLoss(spatial_dims)`` with its default weights.
        bilevel: the downstream network and its data. Defaults to None: enhancement is trained alone.
        restoration_epochs: epochs at the start in which enhancer and guidance learn to restore alone: the terms of
            low-quality images, and the discriminator, join in afterwards. It is the cheap half of training. Defaults to
            0.
        unpaired_images: how many images of each batch are enhanced for the terms of low-quality images, whose cost is a
            multiple of the restoration's; the restoration takes the whole batch. Defaults to all of them.
        r1_weight: weight of the R1 penalty on the discriminator; 0 leaves it out. Defaults to 0.
        max_grad_norm: gradients of each parameter group are clipped to this L2 norm; None leaves them. Defaults to
            None.
        seed: of the random numbers drawn in training. Defaults to 0.
        epoch_length: iterations per epoch. Defaults to the length of the loader.
        postprocessing: transform of the decollated output.
        key_train_metric: metric over the training output.
        additional_metrics: further metrics.
        train_handlers: handlers with ``attach``. Those of ``bilevel`` come before them.
        amp: mixed precision (float16 with loss scaling on CUDA, bfloat16 on CPU). Defaults to False.
        amp_kwargs: further arguments of ``torch.autocast``.
        decollate: whether to turn the output into a list of items, as MONAI's handlers expect. Defaults to True.

    Raises:
        InputError: when there is nothing to minimise or, in training, when a loss becomes NaN or infinite.
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
        bilevel: BilevelTask | None = None,
        restoration_epochs: int = 0,
        unpaired_images: int | None = None,
        r1_weight: float = 0.0,
        max_grad_norm: float | None = None,
        seed: int = 0,
        epoch_length: int | None = None,
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
            postprocessing=postprocessing,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            handlers=[*(bilevel.handlers if bilevel else ()), *(train_handlers or ())],
            amp=amp,
            amp_kwargs=amp_kwargs,
            decollate=decollate,
        )
        self.network = network
        self.optimizer = optimizer
        self.discriminator = discriminator
        self.d_optimizer = d_optimizer
        self.loss_function = (loss_function or EnhancementLoss(network.spatial_dims)).to(self.state.device)
        self.d_loss_function = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        self.bilevel = bilevel
        self.restoration_epochs = restoration_epochs if self.loss_function.holds_guide else 0
        self.unpaired_images = unpaired_images
        self.r1_weight, self.max_grad_norm = r1_weight, max_grad_norm
        scale = amp and self.state.device.type == "cuda"
        self.scalers = {name: torch.amp.GradScaler("cuda", enabled=scale) for name in ("network", "discriminator")}
        self._require_terms()
        self.seed = seed
        self.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        if bilevel:
            bilevel.attach(self)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's own
        """Train, or go on training."""
        # Past MONAI's, which makes one more scaler of gradients and warns on a processor that CUDA is missing.
        super(Trainer, self).run()

    def _begin_epoch(self) -> None:
        # Beyond the seeds that a user gives: processes must not repeat each other's noise.
        torch.manual_seed(self.seed + self.state.epoch + (processes.rank() << 32))
        share_weights(self.network, self.discriminator)

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        """Run one iteration as the class describes; ``engine`` is the trainer itself."""
        task = self.bilevel if self.bilevel and self.bilevel.has_joined(self.state.epoch) else None
        warmup = self.bilevel if self.bilevel and self.bilevel.warms_up_by_frozen_networks(self.state.epoch) else None
        restores = self.state.epoch <= self.restoration_epochs
        self.network.train()
        self.discriminator.train()

        # Lower problem: S learns on enhanced images of half A.
        lower = task.lower_steps(self.enhance) if task else None

        # The enhancer works under the guide.
        drawn = self.to_device(batchdata)
        batch = self.to_device(warmup.next_batch("warmup")) if warmup else self.unpaired_part(drawn)
        self.state.output = {Keys.IMAGE: batch[Keys.IMAGE], GUIDE: batch[GUIDE]}
        with self.autocast(), torch.set_grad_enabled(bool(warmup) or not restores):
            enhanced = self.network.enhance_guided(batch[Keys.IMAGE], batch[GUIDE])
        self.state.output[Keys.PRED] = enhanced.pred
        self.fire_event(IterationEvents.FORWARD_COMPLETED)

        # The discriminator learns to tell guides from enhanced images.
        d_terms = {} if warmup or restores else self.discriminator_terms(batch[GUIDE], enhanced.pred.detach())
        if d_terms:
            self.optimizer_step(d_terms, self.d_optimizer, self.scalers["discriminator"])

        # Upper problem: the enhancement objective and, of half B, the task.
        with self.autocast():
            terms = self.loss_function.guidance_terms(self.network, drawn)
            if warmup:
                terms["frozen_task"] = warmup.frozen_task_term(enhanced.pred, batch)
            elif not restores:
                terms |= self.unpaired_terms(batch, enhanced, task.encoders if task else {})
            upper = task.upper_terms(self.enhance, lower) if task and lower else UpperTerms({})
            terms |= upper.terms
        total = torch.stack(list(terms.values())).sum().detach()
        self.state.output[Keys.LOSS] = total
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        observed = {"downstream": lower.loss if lower else None, "response": upper.response}
        losses = self.read_losses({**d_terms, **terms, "total": total, **observed})
        self.optimizer_step(terms, self.optimizer, self.scalers["network"])
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.network.clamp_()

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

    def enhance(self, batch: dict[str, Any]) -> torch.Tensor:
        """Move a labelled batch to the device, in place; return its images, enhanced under their guides.

        The task reads them in at least float32, mixed precision or not.
        """
        batch.update(self.to_device(batch))
        with self.autocast():
            enhanced: GuidedEnhancement = self.network.enhance_guided(batch[Keys.IMAGE], batch[GUIDE])
        return at_least_float32(enhanced.pred)

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the discriminator's loss and its R1 penalty; nothing where the adversarial loss has no weight."""
        if self.loss_function.weights["adversarial"] == 0:
            return {}
        with self.autocast():
            sides = ((real, True), (fake, False))
            losses = [
                self.d_loss_function(self.discriminator(images)[-1], target_is_real=is_real, for_discriminator=True)
                for images, is_real in sides
            ]
            terms = {"discriminator": 0.5 * (losses[0] + losses[1])}
        if self.r1_weight > 0:
            terms["r1"] = self.r1_weight * r1_penalty(self.discriminator, real)
        return terms

    def unpaired_part(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the images and guides of a batch that take part in the unpaired terms, with their label maps."""
        keys = [key for key in (Keys.IMAGE, GUIDE, Keys.LABEL, GUIDE_LABEL) if key in batch]
        return {key: batch[key][: self.unpaired_images] for key in keys}

    def unpaired_terms(
        self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement, encoders: Mapping[str, nn.Module]
    ) -> dict[str, torch.Tensor]:
        """Return the weighted terms of low-quality images.

        Args:
            batch: what :class:`EnhancementLoss` takes.
            enhanced: ``image`` enhanced under ``guide``.
            encoders: further judges of the multi-encoder loss by name.
        """
        terms: dict[str, torch.Tensor] = self.loss_function(
            self.network,
            self.discriminator,
            batch,
            enhanced,
            encoders=encoders,
        )
        return terms

    def read_losses(self, losses: Mapping[str, torch.Tensor | None]) -> dict[str, float]:
        """Return scalars as floats, by one transfer from the device, means over the processes; None is left out.

        Raises:
            InputError: for the first that is NaN or infinite.
        """
        found = {name: loss.detach().float() for name, loss in losses.items() if loss is not None}
        means = processes.mean_(torch.stack(list(found.values())))
        values = dict(zip(found, means.tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                rate = "the learning rate of S" if name in ("task", "downstream") else "the learning rate"
                raise InputError(
                    f'The loss term "{name}" became {value} in iteration {self.state.iteration}: lower {rate} or '
                    "max_grad_norm."
                )
        return values

    def optimizer_step(
        self,
        terms: Mapping[str, torch.Tensor],
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """Take one optimiser step down the sum of ``terms``, with loss scaling and clipping as configured.

        Each group of parameters is clipped by itself: the guidance encoder's gradients are small beside the enhancer's,
        and one norm for both would hardly let the cue learn.
        """
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
        if self.max_grad_norm is not None:
            scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()

    def _require_terms(self) -> None:
        """Refuse an objective without a term in every step."""
        if not (self.loss_function.has_terms or (self.bilevel is not None and self.bilevel.has_terms)):
            raise InputError(
                "There is nothing to minimise: give one of loss_weights a value above 0, or train on the task alone "
                "from the first step, with frozen task networks or with warmup_epochs 0."
            )


__all__ = ["LOSSES", "EnhancementTrainer", "r1_penalty"]
