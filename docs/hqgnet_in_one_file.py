# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""HQG-Net in one file: networks, losses, one step of enhancement and one bi-level step, in plain PyTorch and 2-D.

Of the losses only class moments, which need labels of whole images, are left out.

`python docs/hqgnet_in_one_file.py` takes a few steps on random images. The bundle does the same with every option, in
3-D too and from files; a test holds both to the same numbers. Method: He et al., IEEE TNNLS 35(12), 2024.

    y  low-quality image, (B, C, H, W) in [0, 1]        z    guide: a high-quality image of another patient
    x  enhanced image, E(y; v_z)                        v_z  HQ cue, a Gaussian vector that the guide is encoded into
    S  downstream network, t its labels                 v_y  LQ code, a vector that the bottleneck says of y
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Widths = tuple[int, ...]


def activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


# ---------------------------------------------------------------------------------------------------------- networks


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut. The first convolution changes the width: that is the cheap order."""

    def __init__(self, narrow: int, wide: int, normalise: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(narrow, wide, 3, padding=1), nn.Conv2d(wide, wide, 3, padding=1)
        self.shortcut = nn.Identity() if narrow == wide else nn.Conv2d(narrow, wide, 1)
        self.normalise = F.instance_norm if normalise else lambda x: x

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.normalise(self.second(activate(self.normalise(self.first(x)))))) + self.shortcut(x)


SIGNS = torch.kron(*[torch.tensor([[1.0, 1.0], [1.0, -1.0]])] * 2).reshape(4, 1, 2, 2)


def haar(x: Tensor) -> Tensor:
    """Half the resolution: mean and three differences of each block of four pixels, (B, 4 C, H / 2, W / 2)."""
    return F.conv2d(x, SIGNS.to(x).repeat(x.shape[1], 1, 1, 1) / 4, stride=2, groups=x.shape[1])


def pad(y: Tensor, multiple: int) -> Tensor:
    """Pad each axis at its end, with edge values."""
    rows, columns = (-size % multiple for size in y.shape[2:])
    return F.pad(y, (0, columns, 0, rows), mode="replicate") if rows or columns else y


class Pyramid(nn.Module):
    """Features of an image, finest first. Those of a guide keep brightness and contrast: no layer normalises them."""

    def __init__(self, in_channels: int, channels: Widths, of_guide: bool) -> None:
        super().__init__()
        self.of_guide = of_guide
        self.stem = nn.Conv2d(4 * in_channels, channels[0], 3, padding=1)
        widths = zip((channels[0], *channels), channels, strict=False)
        self.blocks = nn.ModuleList(ResidualBlock(narrow, wide, not of_guide) for narrow, wide in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        x, features = activate(self.stem(haar(pad(image, 2)))), []
        for level, block in enumerate(self.blocks):
            x = block(F.avg_pool2d(x, 2) if level and not self.of_guide else x)
            x = F.avg_pool2d(x, 2, ceil_mode=True) if self.of_guide else x
            features.append(x)
        return features


class GuidanceEncoder(nn.Module):
    """The posterior of the cue, q(v_z | z) = N(mu(z), sigma^2(z)): two linear heads on statistics of the foreground.

    They say how the guide looks, and not whose head it shows: mean and deviation of each channel of each level.
    """

    def __init__(self, in_channels: int, channels: Widths, cue_channels: int) -> None:
        super().__init__()
        self.trunk = Pyramid(in_channels, channels, of_guide=True)
        self.mean = nn.Linear(2 * sum(channels), cue_channels)
        self.log_variance = nn.Linear(2 * sum(channels), cue_channels)
        # The noise starts small. Under much noise the enhancer learns to ignore the cue before there is one.
        nn.init.constant_(self.log_variance.bias, -2.0)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        found = statistics(z, self.trunk(z))
        return self.mean(found), self.log_variance(found).clamp(-10, 10)


def statistics(z: Tensor, features: list[Tensor]) -> Tensor:
    weight, found = (z.mean(1, keepdim=True) / 0.1).clamp(1e-3, 1.0), list[Tensor]()
    weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    for level in features:
        weight = F.avg_pool2d(weight, 2, ceil_mode=True)
        share = weight / weight.sum((2, 3), keepdim=True)
        mean = (share * level).sum((2, 3))
        variance = (share * (level - mean[..., None, None]).square()).sum((2, 3))
        found += [mean, (variance + 1e-6).sqrt()]
    return torch.cat(found, dim=1)


class AdaLIN(nn.Module):
    """(rho IN(x) + (1 - rho) LN(x)) (1 + gamma(v)) + beta(v), with rho in [0, 1] per channel (Kim et al. 2020)."""

    def __init__(self, channels: int, cue_channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((channels,), 0.9))
        self.scale_and_shift = nn.Linear(cue_channels, 2 * channels)
        for weight in self.scale_and_shift.parameters():
            nn.init.zeros_(weight)  # a new layer is a plain normalisation

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        instance, layer, rho = F.instance_norm(x), F.layer_norm(x, x.shape[1:]), self.rho[:, None, None]
        gamma, beta = self.scale_and_shift(v)[..., None, None].chunk(2, dim=1)
        return (rho * instance + (1 - rho) * layer) * (1 + gamma) + beta


class VariationalInformationNorm(nn.Module):
    """out = x + Conv3(LeakyReLU(AdaLIN(x; v_c))): the place where the guide enters the enhancer."""

    def __init__(self, channels: int, cue_channels: int) -> None:
        super().__init__()
        self.norm = AdaLIN(channels, cue_channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        return x + self.conv(activate(self.norm(x, v)))


class Enhancer(nn.Module):
    """A U-shaped generator, at half the resolution. The joint cue v_c = [v_z; v_y] modulates each decoder level."""

    def __init__(self, in_channels: int, channels: Widths, cue: int, code: int, head: str) -> None:
        super().__init__()
        self.stride, self.head = 2 ** len(channels), head
        self.encoder = Pyramid(in_channels, channels, of_guide=False)
        self.code = nn.Linear(channels[-1], code)
        levels = list(zip(channels[:0:-1], channels[-2::-1], strict=True))  # (below, skip), from deep to fine
        self.decoder = nn.ModuleList(ResidualBlock(below + skip, skip, True) for below, skip in levels)
        self.modulation = nn.ModuleList(VariationalInformationNorm(skip, cue + code) for _, skip in levels)
        self.final = nn.Conv2d(channels[0], 12, 1)
        shapes = ((12 + in_channels, 12), (12, in_channels))  # at full resolution, beside the image
        self.draw = nn.ModuleList(nn.Conv2d(narrow, wide, 3, padding=1) for narrow, wide in shapes)
        for weight in self.draw[1].parameters() if head == "residual" else ():
            nn.init.zeros_(weight)  # training starts from the identity

    def forward(self, y: Tensor, cue: Tensor) -> tuple[Tensor, list[Tensor]]:
        padded = pad(y, self.stride)
        features = self.encoder(padded)
        x = features[-1]
        joint = torch.cat([cue, self.code(x.mean((2, 3)))], dim=1)
        for block, modulate, skip in zip(self.decoder, self.modulation, features[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = modulate(block(torch.cat([x, skip], dim=1)), joint)
        h = F.interpolate(self.final(x), scale_factor=2, mode="bilinear", align_corners=False)
        logit = self.draw[1](activate(self.draw[0](torch.cat([h, padded], dim=1))))
        if self.head == "residual":  # correct the input; "plain", the paper's, draws the image anew
            logit = logit + torch.logit(padded, eps=0.05)
        return torch.sigmoid(logit)[..., : y.shape[2], : y.shape[3]], features


class Enhanced(NamedTuple):
    """One guided pass: the result, mean and log-variance of the guide's cue, the encoder's features of the input."""

    pred: Tensor
    mean: Tensor
    log_variance: Tensor
    features: list[Tensor]


class HQGNet(nn.Module):
    """Enhancer and guidance encoder. A prototype of the HQ set replaces the guide after training."""

    prototype: Tensor

    def __init__(
        self, in_channels: int, channels: Widths, guidance: Widths, cue: int, code: int, head: str = "plain"
    ) -> None:
        super().__init__()
        self.enhancer = Enhancer(in_channels, channels, cue, code, head)
        self.guidance = GuidanceEncoder(in_channels, guidance, cue)
        self.register_buffer("prototype", torch.zeros(cue))

    def draw_cue(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """v_z = mu + sigma epsilon in training (the reparameterisation of Kingma & Welling 2014), mu in use."""
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.training else mean

    def forward(self, y: Tensor, z: Tensor | None = None) -> Tensor:
        cue = self.prototype.expand(len(y), -1) if z is None else self.draw_cue(*self.guidance(z))
        return self.enhancer(y, cue)[0]

    def enhance_guided(self, y: Tensor, z: Tensor) -> Enhanced:
        mean, log_variance = self.guidance(z)
        pred, features = self.enhancer(y, self.draw_cue(mean, log_variance))
        return Enhanced(pred, mean, log_variance, features)


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) that also sees the energy of the finest Haar details: noise shows there."""

    def __init__(self, in_channels: int = 1, channels: int = 16, layers: int = 3, gain: float = 1.5) -> None:
        super().__init__()
        self.gain = gain
        widths = [channels * 2**level for level in range(layers + 1)]
        self.first = nn.Conv2d(2 * in_channels, channels, 4, 2, 1)
        shapes = zip(widths, widths[1:], [2] * (layers - 1) + [1], strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride, 1, bias=False) for a, b, stride in shapes)
        self.final = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        for weight in self.parameters():
            nn.init.normal_(weight, 0.0, 0.02 if weight.dim() > 1 else 0.0)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of each layer; the logits of the patches are the last."""
        _, details = wavelet_pyramid(x, HAAR, levels=1)
        energy = (details[0].square().sum(2) + 1e-6).sqrt()
        features = [activate(self.first(torch.cat([x, self.gain * energy], dim=1)))]
        for layer in self.layers:
            features.append(activate(F.instance_norm(layer(features[-1]))))
        return [*features, self.final(features[-1])]


# ------------------------------------------------------------------------------------------------------------ losses

HAAR = [math.sqrt(0.5), math.sqrt(0.5)]
SYM4 = [-0.07576571478927333, -0.02963552764599851, 0.49761866763201545, 0.8037387518059161]
SYM4 += [0.29785779560527736, -0.09921954357684722, -0.012603967262037833, 0.0322231006040427]


def wavelet_pyramid(x: Tensor, low: list[float], levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """Stationary wavelet transform: approximations (B, C, H, W) and details (B, C, 3, H, W), finest first.

    Every level is as large as the image: a decimated transform cannot see whole blocks move up and down.
    """
    high = [(-1) ** (k + 1) * tap for k, tap in enumerate(reversed(low))]
    filters = torch.tensor([low[::-1], high[::-1]]).to(x)  # reversed: torch's convolution is a correlation
    a, approximations, details = x.flatten(0, 1)[:, None], list[Tensor](), list[Tensor]()
    for level in range(levels):
        step, bands = 2**level, a
        for axis, kernel, dilation in ((3, (1, -1), (1, step)), (2, (-1, 1), (step, 1))):
            size, half = x.shape[axis], len(low) // 2
            index = torch.arange(-(half - 1) * step, size + half * step) % (2 * size)
            bands = bands.index_select(axis, torch.minimum(index, 2 * size - 1 - index))  # mirrored ends
            weight = filters.reshape(2, 1, *kernel).repeat(bands.shape[1], 1, 1, 1)
            bands = F.conv2d(bands, weight, dilation=dilation, groups=bands.shape[1])
        a = bands[:, :1]
        bands = bands.reshape(*x.shape[:2], 4, *x.shape[2:])
        approximations, details = [*approximations, bands[:, :, 0]], [*details, bands[:, :, 1:]]
    return approximations, details


def wavelet_loss(x: Tensor, y: Tensor, weights: tuple[float, ...] = (0.03, 0.3, 1.0), eps: float = 0.1) -> Tensor:
    """L_pix: L1 between the relative details d / (max(a, 0) + eps) of result and input, from fine to coarse.

    Noise lives in the fine details. Contrast is multiplicative: details of a dark region grow when it is brightened.
    """
    (xa, xd), (ya, yd) = wavelet_pyramid(x, SYM4, len(weights)), wavelet_pyramid(y, SYM4, len(weights))
    loss = x.new_zeros(())
    for level, weight in enumerate(weights):
        floor = eps * 2.0 ** (level + 1)  # a constant image c has the approximation c 2^(level + 1)
        p, q = (d[level] / (a[level].clamp(min=0)[:, :, None] + floor) for a, d in ((xa, xd), (ya, yd)))
        loss = loss + weight * (p - q).abs().mean()
    return loss


def frozen(network: nn.Module, x: Tensor) -> Any:
    """Call a network as a judge: gradients reach the inputs, never its weights."""
    return functional_call(network, {name: w.detach() for name, w in network.named_parameters()}, (x,))


def multi_encoder_loss(judged: list[list[Tensor]], targets: list[list[Tensor]]) -> Tensor:
    """L_feat: L1 between instance-normalised features of result and input, without each encoder's finest level."""
    distances = [
        torch.stack([F.l1_loss(F.instance_norm(a), F.instance_norm(b.detach())) for a, b in pairs]).mean()
        for pairs in (zip(p[1:], q[1:], strict=True) for p, q in zip(judged, targets, strict=True))
    ]
    return torch.stack(distances).mean()


SSIM_WEIGHT = 0.3


def restoration_loss(x: Tensor, z: Tensor) -> Tensor:
    """L_res: L1 and, weighted, 1 - SSIM with a Gaussian window of 7 pixels (Wang et al. 2004)."""
    tap = torch.exp(-0.5 * ((torch.arange(7) - 3.0) / 1.5) ** 2).to(x)
    window = torch.outer(tap, tap) / tap.sum() ** 2
    images = torch.stack([x, z, x * x, z * z, x * z]).flatten(0, 2)[:, None]
    mx, mz, xx, zz, xz = F.conv2d(images, window[None, None]).chunk(5)
    contrast = (2 * (xz - mx * mz) + 0.03**2) / (xx - mx**2 + zz - mz**2 + 0.03**2)
    ssim = contrast * (2 * mx * mz + 0.01**2) / (mx**2 + mz**2 + 0.01**2)
    return F.l1_loss(x, z) + SSIM_WEIGHT * (1 - ssim.mean())


# Those of train.yaml.
WEIGHTS = {
    "adversarial": 0.1,
    "consistency": 0.1,
    "wavelet": 0.1,
    "multi_encoder": 0.1,
    "restoration": 10.0,
    "style": 0.2,
    "kl": 1e-3,
}


def style_disagreement(cues: Tensor, others: Tensor) -> Tensor:
    """L_sty: a study has one style, so the cues of its slices should agree, relative to those of other studies."""
    distances = (cues[:, None] - others[None]).square().mean(2)
    different = ~torch.eye(len(cues), dtype=torch.bool)
    return distances.diagonal().mean() / (distances.detach()[different].mean() + 1e-3)


def guidance_terms(network: HQGNet, z: Tensor, clean: Tensor, degraded: Tensor) -> dict[str, Tensor]:
    """The weighted terms that hold the guide: a degraded image of another tone comes back under its own study."""
    mean, log_variance = network.guidance(z)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
    restored = network.enhancer(degraded, network.draw_cue(mean, log_variance))[0]
    with torch.no_grad():
        other, _ = network.guidance(clean)
    style = style_disagreement(mean, other)
    terms = {"restoration": restoration_loss(restored, clean), "style": style, "kl": kl.mean()}
    return {name: WEIGHTS[name] * term for name, term in terms.items()}


def unpaired_terms(network: HQGNet, d: Discriminator, y: Tensor, e: Enhanced) -> dict[str, Tensor]:
    """The weighted terms of low-quality images. With those of the guide, enhancer and encoder minimise their sum."""
    by_d, by_g = frozen(d, e.pred), frozen(network.guidance.trunk, e.pred)
    cue = frozen(network.guidance.mean, statistics(e.pred, by_g))
    by_e = frozen(network.enhancer.encoder, pad(e.pred, network.enhancer.stride))
    with torch.no_grad():
        of_d, of_g = d(y)[:-1], network.guidance.trunk(y)
    terms = {
        "adversarial": (by_d[-1] - 1).square().mean(),  # least squares (Mao et al. 2017): D should say "real"
        "consistency": F.l1_loss(cue, e.mean.detach()),  # the result carries the cue that it was given
        "wavelet": wavelet_loss(e.pred, y),
        "multi_encoder": multi_encoder_loss([by_d[:-1], by_g, by_e], [of_d, of_g, e.features]),
    }
    return {name: WEIGHTS[name] * term for name, term in terms.items()}


# ------------------------------------------------------------------------------------------------------------- steps


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


class Training(NamedTuple):
    """The networks and their optimisers. S and the frozen networks are needed for a bi-level step alone."""

    network: HQGNet
    optimizer: torch.optim.Optimizer
    d: Discriminator
    d_optimizer: torch.optim.Optimizer
    s: nn.Module = nn.Identity()
    s_optimizer: Any = None
    frozen_networks: tuple[nn.Module, ...] = ()
    task_loss: Any = lambda logits, labels: F.cross_entropy(logits, labels.squeeze(1).long())


def step(t: Training, batch: tuple[Tensor, ...], halves: tuple[tuple[Tensor, ...], ...] = ()) -> dict[str, float]:
    """One step of enhancement; of both levels with labelled halves, (y_A, t_A, z_A, t_zA) and (y_B, t_B, z_B).

    A batch is (y, z, clean, degraded): clean is another slice of z's study, degraded the same in another tone.
    """
    y, z, clean, degraded = batch
    losses: dict[str, Tensor] = {}
    # Lower problem: S learns to read enhanced images of half A, and labelled guides. The enhancer is constant.
    if halves:
        y_a, t_a, z_a, t_z = halves[0]
        with torch.no_grad():
            x_a = t.network.enhance_guided(y_a, z_a).pred
        losses["downstream"] = t.task_loss(t.s(x_a), t_a) + 2.0 * t.task_loss(t.s(z_a), t_z)
        t.s_optimizer.zero_grad(set_to_none=True)
        losses["downstream"].backward()
        t.s_optimizer.step()
    # The enhancer works, and the discriminator learns to tell guides from its results.
    e = t.network.enhance_guided(y, z)
    real, fake = t.d(z)[-1], t.d(e.pred.detach())[-1]
    losses["discriminator"] = 0.5 * ((real - 1).square().mean() + fake.square().mean())
    descend(losses["discriminator"], t.d_optimizer, t.d)
    # Upper problem: the enhancement objective, and how well others read enhanced images of half B.
    terms = unpaired_terms(t.network, t.d, y, e) | guidance_terms(t.network, z, clean, degraded)
    if halves:
        y_b, t_b, z_b = halves[1]
        x_b = t.network.enhance_guided(y_b, z_b).pred
        terms["task"] = 2.0 * t.task_loss(frozen(t.s, x_b), t_b)  # first order: S's own answer to x is left out
        terms["frozen_task"] = 2.0 * torch.stack([t.task_loss(n(x_b), t_b) for n in t.frozen_networks]).mean()
    descend(torch.stack(list(terms.values())).sum(), t.optimizer, t.network)
    for norm in (module for module in t.network.modules() if isinstance(module, AdaLIN)):
        norm.rho.data.clamp_(0, 1)
    return {name: float(value.detach()) for name, value in {**losses, **terms}.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    network, d = HQGNet(1, (8, 12, 16), (8, 12), 8, 4), Discriminator(1, 8, 2)
    s = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.ELU(), nn.Conv2d(8, 2, 3, padding=1))
    others = (copy.deepcopy(s).requires_grad_(False),)  # in the bundle two networks, which have learnt before
    adam = [torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.999)) for n in (network, d, s)]
    y, z, y_a, z_a, y_b, z_b, clean = torch.rand(7, 2, 1, 32, 32)
    t_a, t_b = (z_a > 0.5).float(), (z_b > 0.5).float()
    for halves in ((), ((y_a, t_a, z_a, t_a), (y_b, t_b, z_b))):
        losses = step(Training(network, adam[0], d, adam[1], s, adam[2], others), (y, z, clean, 0.7 * clean), halves)
        print({name: round(value, 3) for name, value in losses.items()})
