# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from ignite.handlers import EMAHandler
from monai.engines.utils import IterationEvents
from monai.networks.nets import PatchDiscriminator
from torch.utils.data import DataLoader

from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import EnhancementTrainer, r1_penalty
from scripts.errors import InputError
from scripts.experiments.guidance_measures import follow_slope, tissue_means
from scripts.handlers import TrainingCheckpoint
from scripts.losses import EnhancementLoss
from scripts.networks import HQGNet
from scripts.transforms import RandPoorScanner, RandScannerDegradation


def dataset(length: int = 8, label_maps: bool = False) -> UnpairedDataset:
    """Bright squares at their own places: dark and noisy as LQ, clean as HQ; the squares are class 1."""
    generator = torch.Generator().manual_seed(0)

    def square(index: int, noisy: bool) -> torch.Tensor:
        image = torch.full((1, 32, 32), 0.1)
        image[0, 4 + index : 16 + index, 8 : 20 + index] = 0.5 if noisy else 0.9
        return image + 0.1 * torch.rand(1, 32, 32, generator=generator) if noisy else image

    def entry(index: int, noisy: bool) -> dict[str, Any]:
        label = (square(index, noisy=False) > 0.5).float()
        return {"image": square(index, noisy), "patient": f"{noisy}{index}", "label": label}

    lq, hq = ([entry(i, noisy) for i in range(4)] for noisy in (True, False))
    degradation = RandScannerDegradation()
    settings: dict[str, Any] = {"length": length, "progress": False, "degradation": degradation}
    return UnpairedDataset(lq, hq, lambda item: item, label_maps=label_maps, **settings)


def trainer(
    max_epochs: int = 1, data: UnpairedDataset | None = None, head: str = "residual", **arguments: Any
) -> EnhancementTrainer:
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5, head=head)
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
    data = dataset() if data is None else data
    return EnhancementTrainer(
        device="cpu",
        max_epochs=max_epochs,
        train_data_loader=DataLoader(data, batch_size=2, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 2e-3),
        discriminator=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), 2e-3),
        **arguments,
    )


def losses_of(engine: EnhancementTrainer) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.output[0]["losses"]))
    engine.run()
    return seen


def test_ten_steps_lower_the_objective() -> None:
    """With the terms that need no opponent: those of a game may rise while both sides learn."""
    weights = {"adversarial": 0.0, "wavelet": 0.0, "multi_encoder": 0.0, "consistency": 0.0}
    engine = trainer(data=dataset(20), head="plain", loss_function=EnhancementLoss(2, weights))
    seen = [losses["total"] for losses in losses_of(engine)]
    assert len(seen) == 10
    assert sum(seen[-3:]) < 0.8 * sum(seen[:3])


def test_enhanced_images_grow_as_bright_as_the_guides() -> None:
    engine = trainer(data=dataset(160))
    losses_of(engine)
    engine.network.eval()
    image = torch.stack([item["image"] for item in dataset().images])
    guide = torch.stack([item["image"] for item in dataset().guides])
    pred = engine.network(image, guide).detach()
    assert abs(float(pred.amax() - guide.amax())) < abs(float(image.amax() - guide.amax()))


def test_every_term_is_reported_and_the_total_is_the_sum_of_the_enhancers_terms() -> None:
    losses = losses_of(trainer(r1_weight=0.1))[-1]
    terms = {"adversarial", "consistency", "wavelet", "multi_encoder", "restoration", "style", "kl"}
    assert set(losses) == terms | {"discriminator", "r1", "total"}
    assert losses["total"] == pytest.approx(sum(losses[name] for name in terms), rel=1e-5)


@pytest.mark.parametrize("unpaired_images", [1, None])
def test_label_maps_of_the_stream_reach_the_objective(unpaired_images: int | None) -> None:
    engine = trainer(data=dataset(16, label_maps=True), unpaired_images=unpaired_images)
    found = [losses["class_moments"] for losses in losses_of(engine)]
    assert min(found) > 0
    assert found[-1] < found[0]


def test_output_carries_image_guide_and_result_of_every_case() -> None:
    engine = trainer()
    engine.run()
    assert len(engine.state.output) == 2
    for key in ("image", "guide", "pred"):
        assert engine.state.output[0][key].shape == (1, 32, 32)


def test_events_come_in_the_order_of_the_algorithm() -> None:
    engine, fired = trainer(data=dataset(2)), []
    for event in IterationEvents:
        engine.add_event_handler(event, lambda event: fired.append(event.name), event)
    engine.run()
    assert fired == ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]


def test_both_networks_are_trained_and_rho_stays_a_mixing_weight() -> None:
    engine = trainer()
    before = {name: value.clone() for name, value in engine.network.state_dict().items()}
    d_before = {name: value.clone() for name, value in engine.discriminator.state_dict().items()}
    engine.optimizer.param_groups[0]["lr"] = 0.5
    engine.run()
    assert any(not torch.equal(value, before[name]) for name, value in engine.network.state_dict().items())
    assert any(not torch.equal(value, d_before[name]) for name, value in engine.discriminator.state_dict().items())
    for modulation in engine.network.enhancer.modulation:
        assert 0.0 <= float(modulation.norm.rho.detach().min()) <= float(modulation.norm.rho.detach().max()) <= 1.0


def test_discriminator_rests_without_the_adversarial_term() -> None:
    engine = trainer(loss_function=EnhancementLoss(2, {"adversarial": 0.0}))
    before = {name: value.clone() for name, value in engine.discriminator.state_dict().items()}
    assert "discriminator" not in losses_of(engine)[-1]
    assert all(torch.equal(value, before[name]) for name, value in engine.discriminator.state_dict().items())


def test_gradients_are_clipped_to_the_norm() -> None:
    engine = trainer(max_grad_norm=1e-3)
    engine.run()
    norm = torch.stack([p.grad.norm() for p in engine.network.parameters() if p.grad is not None]).norm()
    assert float(norm) <= 1.01e-3


def test_mixed_precision_trains_on_the_cpu() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*GradScaler")  # one that nobody needs here would ask for CUDA
        losses = losses_of(trainer(amp=True))
    assert all(torch.isfinite(torch.tensor(list(terms.values()))).all() for terms in losses)


def test_loss_that_is_not_a_number_stops_training_with_its_name() -> None:
    engine = trainer()
    torch.nn.init.constant_(engine.network.guidance.mean.weight, float("nan"))
    with pytest.raises(InputError, match="loss term"):
        engine.run()


def test_r1_is_half_the_squared_gradient_of_the_logit() -> None:
    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [3.0 * x.sum(dim=(1, 2, 3), keepdim=True)]

    assert float(r1_penalty(Linear(), torch.rand(2, 1, 4, 4))) == pytest.approx(0.5 * 9 * 16)


def test_r1_is_that_of_the_real_images() -> None:
    engine = trainer(r1_weight=0.1)
    real, fake = torch.rand(2, 2, 1, 32, 32)
    penalty = engine.discriminator_terms(real, fake)["r1"].item()
    assert penalty == pytest.approx(0.1 * r1_penalty(engine.discriminator, real).item())


class Training:
    """A trainer with what a checkpoint holds."""

    def __init__(self, path: Path, max_epochs: int) -> None:
        self.trainer = trainer(max_epochs)
        self.ema = EMAHandler(self.trainer.network, momentum=0.1, handle_buffers="copy")
        self.ema.attach(self.trainer)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.trainer.optimizer, T_max=4)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.scheduler.step())
        objects = {
            "network": self.trainer.network,
            "ema": self.ema.ema_model,
            "discriminator": self.trainer.discriminator,
            "optimizer": self.trainer.optimizer,
            "d_optimizer": self.trainer.d_optimizer,
            "scheduler": self.scheduler,
        }
        self.checkpoint = TrainingCheckpoint(path, objects)
        self.checkpoint.attach(self.trainer)

    def weights(self) -> list[torch.Tensor]:
        modules = (self.trainer.network, self.trainer.discriminator, self.ema.ema_model)
        return [value for module in modules for value in module.state_dict().values()]


def test_resumed_training_is_bitwise_equal_to_training_that_never_stopped(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole.pt", max_epochs=4)
    whole.trainer.run()
    Training(tmp_path / "half.pt", max_epochs=2).trainer.run()

    torch.manual_seed(1234)  # whatever happened in between
    resumed = Training(tmp_path / "half.pt", max_epochs=4)
    resumed.checkpoint.resume(resumed.trainer)
    assert resumed.trainer.state.epoch == 2
    resumed.trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(whole.weights(), resumed.weights(), strict=True))


def test_the_image_is_enhanced_under_its_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = trainer()
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    enhance_guided = HQGNet.enhance_guided

    def recorded(self: HQGNet, image: torch.Tensor, guide: torch.Tensor) -> Any:
        given.append((image, guide))
        return enhance_guided(self, image, guide)

    monkeypatch.setattr(HQGNet, "enhance_guided", recorded)
    engine.run()
    batches = list(DataLoader(dataset(), batch_size=2, sampler=EpochSampler(dataset())))
    assert len(given) == len(batches)
    assert not torch.equal(given[0][0], given[0][1])
    for (image, guide), output in zip(given[-1:], [engine.state.output], strict=True):
        assert torch.equal(image, torch.stack([item["image"] for item in output]))
        assert torch.equal(guide, torch.stack([item["guide"] for item in output]))


def test_another_guide_gives_another_result() -> None:
    """The supplied network hardly follows its guide; one whose modulation has been drawn at random must."""
    engine = trainer(head="plain")
    for modulation in engine.network.enhancer.modulation:
        torch.nn.init.normal_(modulation.norm.scale_and_shift.weight)
    image = torch.rand(1, 1, 32, 32)
    dark, bright = (engine.network.eval()(image, torch.full((1, 1, 32, 32), value)) for value in (0.1, 0.9))
    assert float((dark - bright).abs().mean()) > 1e-3


def test_every_epoch_has_random_numbers_of_its_own() -> None:
    engine = trainer(max_epochs=2)
    drawn: list[float] = []
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: drawn.append(float(torch.rand(()))))
    engine.run()
    assert drawn[0] != drawn[1]


def two_tissues(seed: int, inner: float, outer: float) -> tuple[torch.Tensor, torch.Tensor]:
    """An image of one tissue around another, at a place of its own, and its label."""
    row, column = (int(n) for n in torch.randint(2, 6, (2,), generator=torch.Generator().manual_seed(seed)))
    label = torch.zeros(1, 24, 24)
    label[:, row : row + 16, column : column + 16] = 2
    label[:, row + 4 : row + 12, column + 4 : column + 12] = 1
    image = torch.where(label == 1, inner, torch.where(label == 2, outer, torch.zeros(())))
    return image, label


STYLES = {"one": (0.9, 0.4), "other": (0.4, 0.9)}


def follow(network: HQGNet) -> float:
    """How far the contrast of results goes with that of their guides, on inputs of the first style."""
    network.eval()
    slopes = []
    for seed in range(100, 104):
        image, label = two_tissues(seed, *STYLES["one"])
        found, wanted = {}, {}
        for style, tones in STYLES.items():
            with torch.no_grad():
                result = network(image[None], two_tissues(seed + 50, *tones)[0][None])[0]
            found[style] = tissue_means(result, label, [1, 2])
            wanted[style] = torch.tensor(tones)
        slopes.append(follow_slope(found, wanted))
    return sum(slopes) / len(slopes)


def test_results_come_to_follow_their_guide() -> None:
    """Seconds of guided restoration, on two styles that no tone curve that rises makes of one another."""
    hq = [
        {"image": two_tissues(seed, *tones)[0], "patient": f"{style}{seed}", "style": style}
        for style, tones in STYLES.items()
        for seed in range(4)
    ]
    lq = [{"image": two_tissues(seed, *STYLES["one"])[0], "patient": f"lq{seed}"} for seed in range(50, 54)]
    scanner = RandPoorScanner(noise_std_range=(0.0, 0.05))
    data = UnpairedDataset(lq, hq, lambda item: item, length=4 * 200, progress=False, degradation=scanner)
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(8, 16), guidance_channels=(4, 8), cue_channels=4)
    network.standardize_guidance_(network.encode_guide(torch.stack([item["image"] for item in hq]))[0])
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
    before = follow(network)
    EnhancementTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=4, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 4e-3),
        discriminator=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), 1e-3),
        restoration_epochs=1,
    ).run()
    assert abs(before) < 0.1
    assert follow(network) > 0.5
