# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The variants of the ablation: the method without one of its parts, or with another in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import require

__all__ = ["DEFAULT_VARIANTS", "FULL", "VARIANTS", "Variant", "find_variants"]

FULL = "full"


class Variant(NamedTuple):
    """A training that differs from the default in one part.

    Attributes:
        name: of its folder.
        change: what it takes away, or puts in the place of something.
        settings: of ``train.yaml``, as on the command line.
        by_default: whether it is trained unless others are named.
    """

    name: str
    change: str
    settings: tuple[str, ...] = ()
    by_default: bool = True


# Terms that ask for a guide that has an effect: without one they have nothing to act on, or ask for the impossible.
_GUIDE_TERMS = tuple(
    argument for term in ("consistency", "style", "class_moments", "kl") for argument in (f"--loss_weights#{term}", "0")
)
_UNGUIDED = ("--network_def#guided", "False", *_GUIDE_TERMS)
_FULL_RESOLUTION = (
    *("--network_def#reduction", "1", "--network_channels", "[16,32,64,128]"),
    *("--guidance_channels", "[16,32,64]"),
)


def _without_term(name: str, term: str, change: str) -> Variant:
    return Variant(name, change, (f"--loss_weights#{term}", "0"))


VARIANTS: tuple[Variant, ...] = (
    Variant(FULL, "The complete method, with the default settings."),
    Variant(
        "without-guidance",
        "No guide: every cue is 0, and the terms that ask for a guide's look, or are about its cue, are off: "
        "consistency, style, class moments and KL.",
        _UNGUIDED,
    ),
    Variant(
        "without-variational",
        "No variational part: the cue is its mean in training too, and KL is off.",
        ("--network_def#variational", "False", "--loss_weights#kl", "0"),
    ),
    Variant(
        "with-instance-norm",
        "Instance norm with learned scale and shift in the place of AdaLIN. It takes no cue, so nothing carries the "
        "guide or the LQ code; compare it with without-guidance to see AdaLIN alone.",
        (*_UNGUIDED, "--network_def#modulation", "instance"),
    ),
    _without_term("without-restoration", "restoration", "No guided restoration, so no paired signal."),
    _without_term("without-style", "style", "No style term: slices of one study need not agree in their cue."),
    _without_term("without-wavelet", "wavelet", "No wavelet loss between result and input."),
    _without_term("without-multi-encoder", "multi_encoder", "No multi-encoder loss between result and input."),
    _without_term(
        "without-adversarial", "adversarial", "The enhancer does not learn from the discriminator's verdict."
    ),
    _without_term("without-consistency", "consistency", "The result's cue need not be that of its guide."),
    Variant(
        "without-variety",
        "No wider variety: no zoom of the LQ images and no random structures in the images to restore.",
        ("--train#wider", "$None"),
    ),
    Variant(
        "with-unfitted-curves",
        "The tone curves of restoration fall in two of five draws, for images of either polarity alike.",
        ("--train#degradation#falling", "0.4"),
    ),
    Variant(
        "without-falling-curves",
        "The tone curves of restoration never fall: dark tissue stays darker than bright tissue.",
        ("--train#degradation#falling", "0"),
        by_default=False,
    ),
    Variant(
        "without-tone-curves",
        "Restoration degrades images but leaves their tone as it is.",
        ("--train#degradation#tone_prob", "0"),
        by_default=False,
    ),
    Variant(
        "with-bright-bone",
        "Falling tone curves make air and bone bright, too.",
        ("--train#degradation#no_signal", "0"),
        by_default=False,
    ),
    Variant(
        "with-residual-head",
        "The residual head, which adds to the input, in the place of the plain one.",
        ("--network_def#head", "residual"),
        by_default=False,
    ),
    Variant(
        "with-full-resolution",
        "The networks work at full resolution, with a further level of half the width.",
        _FULL_RESOLUTION,
        by_default=False,
    ),
)

DEFAULT_VARIANTS = tuple(variant.name for variant in VARIANTS if variant.by_default)


def find_variants(names: Sequence[str]) -> list[Variant]:
    """Return the variants of these names, the complete method first: all others are compared with it.

    Raises:
        InputError: for an unknown name, or when there is none beside the complete method.
    """
    known = {variant.name: variant for variant in VARIANTS}
    unknown = [name for name in names if name not in known]
    require(not unknown, f"The variants are {', '.join(known)}, not {', '.join(unknown)}.")
    others = [name for name in dict.fromkeys(names) if name != FULL]
    require(bool(others), f'--variants names none beside "{FULL}": name one to compare with it.')
    return [known[name] for name in (FULL, *others)]
