# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancement from Python: one call for an array, an image of nibabel or a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.spatialimages import SpatialImage

from .errors import InputError, find_input_error
from .files import bundle_root
from .inference import CaseEnhancer, describe_settings, guide_and_tone, load_enhancer, measured
from .io import ArrayCase, CaseImage, NiftiCase, Provenance, image_stem, open_image
from .model_spec import ModelSpec, content_digest
from .reports import SafetyThresholds, Verdict, judge_cut, judge_safety
from .version import __version__

__all__ = ["Enhanced", "Enhancer", "Image"]

Image = np.ndarray | torch.Tensor | SpatialImage | str | os.PathLike[str]
"""What can be enhanced: see :meth:`Enhancer.__call__`."""


@dataclass(frozen=True)
class Enhanced:
    """An enhanced image.

    Attributes:
        image: (C, *spatial), float32, in the units and on the grid of the source, with its affine and metadata.
        deviation: standard deviation over samples of the cue, (1, *spatial), in the same units; None without samples.
        verdict: ``"ok"`` where every measure is within the limits of the model, ``"check"`` where one is not, or where
            more than one value in a thousand does not fit the stored type of the source; None of a model that was not
            calibrated.
        reasons: of the verdict, a sentence each; without limits, that values do not fit the stored type.
        measures: what enhancement did to the image, see :func:`scripts.reports.measure_safety`.
        places: voxel, an index per spatial axis, of the strongest ``"new_structure"`` and ``"lost_structure"``.
        clipped: how many values :meth:`save` cuts to the range of the source's stored type; ``image`` has them all.
    """

    image: MetaTensor
    deviation: MetaTensor | None
    verdict: Literal["ok", "check"] | None
    reasons: list[str]
    measures: dict[str, float]
    places: dict[str, tuple[int, ...]]
    clipped: int
    _source: Any = field(repr=False)
    _case: CaseImage = field(repr=False)
    _provenance: Provenance = field(repr=False)

    def like_source(self) -> Any:
        """Return the result as what was given.

        An array gives an array and a tensor a tensor, both float32 and (C, *spatial), the tensor on its device. An
        image of nibabel gives one with its header, values rounded to its stored type, as the file of the program has
        them. A path gives the image.
        """
        if isinstance(self._case, NiftiCase) and isinstance(self._source, SpatialImage):
            return self._case.as_nibabel(self.image.as_tensor())
        if isinstance(self._source, np.ndarray):
            return self.image.as_tensor().numpy()
        if isinstance(self._source, torch.Tensor):
            image = self.image if isinstance(self._source, MetaTensor) else self.image.as_tensor()
            return image.to(self._source.device)
        return self.image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image in the format, the geometry and the stored type of its source.

        Args:
            path: where to; the suffix of the format may be left out. A DICOM series becomes a folder.

        Returns:
            What was made: a file, or the folder of a series.

        Raises:
            InputError: when the source is an array, something is there already, or the name has another suffix.
        """
        target = Path(path).expanduser()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".hqgnet-", dir=target.parent) as folder:
                made = self._case.write(self.image.as_tensor(), Path(folder) / "image", self._provenance)
                target = _named_like(target, made.name.removeprefix("image"))
                os.replace(made, target)
        except OSError as error:
            raise InputError(f'"{target}" cannot be written: {error.strerror or error}') from error
        return target


class Enhancer:
    """A trained network as a function from images to enhanced images.

    Every image is scaled as in training, enhanced as a whole and scaled back, as ``hqgnet enhance`` does: the same
    voxels to the last bit. Use :meth:`from_bundle`.

    Example::

        enhance = Enhancer.from_bundle()
        result = enhance("study/t1.nii.gz")
        print(result.verdict, result.image.shape)
        result.save("enhanced/t1.nii.gz")

    Args:
        enhancer: of one case.
        spec: of the model.
        model_file: its weights.
        nan_as_padding: see :meth:`from_bundle`.
    """

    def __init__(self, enhancer: CaseEnhancer, spec: ModelSpec, model_file: Path, nan_as_padding: bool = False) -> None:
        self._enhancer = enhancer
        self._nan_as_padding = nan_as_padding
        self._spec = spec
        self._model = content_digest(model_file)
        self._thresholds = SafetyThresholds.from_dict(spec.thresholds) if spec.thresholds else None
        self._prototype = enhancer.cue
        self._guide = "the stored prototype"

    @classmethod
    def from_bundle(
        cls,
        bundle_or_model_dir: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        guide: Image | None = None,
        samples: int = 0,
        seed: int = 0,
        nan_as_padding: bool = False,
        tone: str = "guide",
    ) -> Enhancer:
        """Load a trained network.

        Args:
            bundle_or_model_dir: a bundle, with ``models/model.pt``; or a folder with ``model.pt`` and ``model.json``,
                as training leaves it. Defaults to the network that comes with this package.
            device: where to run it. Defaults to a GPU where there is one.
            guide: whose look the results get, see :meth:`follow`. Defaults to None: the stored prototype.
            samples: draws of the guide's cue for the deviation, 2 or more; 0: none.
            seed: of the draws.
            nan_as_padding: whether voxels without a number are background: they have none in the result either, and
                are not counted. Refused otherwise.
            tone: whose brightness the results have, ``"guide"`` or ``"source"``, see
                :func:`scripts.source_tone.with_tone_of`.

        Raises:
            InputError: when there is no network, or it, the device or the guide cannot be used.
        """
        place = Path(bundle_root() if bundle_or_model_dir is None else bundle_or_model_dir).expanduser()
        model_file = place / "model.pt"
        if not model_file.is_file() and (place / "models").is_dir():
            model_file = place / "models" / "model.pt"
        enhancer = cls(*load_enhancer(model_file, device, samples, seed, tone), model_file, nan_as_padding)
        enhancer.follow(guide)
        return enhancer

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles that the model can follow."""
        return tuple(self._spec.styles or {})

    def follow(self, guide: Image | None) -> None:
        """Let further results follow a guide.

        Args:
            guide: one of :attr:`styles`; a good image, as :meth:`__call__` takes it; a folder of good images; None:
                the stored prototype.

        Raises:
            InputError: when there is no such style, or an image cannot be used.
        """
        if guide is None:
            self._enhancer.cue, self._guide = self._prototype, "the stored prototype"
        elif not isinstance(guide, (str, os.PathLike)):
            with _plain_errors():
                self._enhancer.follow([_case_of(guide, self._spec.network["in_channels"])])
            self._guide = "an image in memory"
        else:
            with _plain_errors():
                self._enhancer.follow_named(guide if isinstance(guide, str) else Path(guide), self._spec.styles)
            is_style = guide in self.styles
            self._guide = f"the style {guide}" if is_style else f"images of digest {content_digest(str(guide))}"

    def __call__(self, image: Image) -> Enhanced:
        """Enhance one image.

        Args:
            image: one of

                - an array or a tensor, (C, *spatial): pictures are (C, columns, rows), volumes (C, x, y, z);
                - a ``MetaTensor``, whose affine counts;
                - an image of nibabel;
                - a path of a file (NIfTI, DICOM, PNG, TIFF, JPEG, BMP, GIF) or of a folder with one DICOM series.

        Returns:
            The enhanced image, in the units of the source.

        Raises:
            InputError: when it cannot be read, or the network cannot take it; one sentence that names the mend.
        """
        case = _case_of(image, self._spec.network["in_channels"])
        if self._nan_as_padding:
            case.take_nan_as_padding()
        with _plain_errors():
            enhanced = self._enhancer(case)
        values, places = measured(case, enhanced)
        clipped = case.values_cut(enhanced.result)
        verdict = Verdict("ok", []) if self._thresholds is None else judge_safety(values, self._thresholds)
        verdict = judge_cut(verdict, clipped, enhanced.result.numel())
        return Enhanced(
            image=_with_metadata(case.with_missing(enhanced.result), image, case),
            deviation=None if enhanced.deviation is None else _with_metadata(enhanced.deviation, image, case),
            verdict=None if self._thresholds is None else verdict.label,
            reasons=list(verdict.reasons),
            measures=values,
            places=places,
            clipped=clipped,
            _source=image,
            _case=case,
            _provenance=self._provenance(),
        )

    def _provenance(self) -> Provenance:
        enhancer = self._enhancer
        return Provenance(
            software="HQG-Net",
            version=__version__,
            model=self._model,
            settings=describe_settings(
                guide_and_tone(self._guide, enhancer.inferer.tone),
                enhancer.samples,
                enhancer.seed,
                pixel_size=enhancer.inferer.pixel_size,
            ),
        )


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise the sentence for the user by itself: MONAI's transforms wrap it."""
    try:
        yield
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        raise found from None


def _named_like(target: Path, suffix: str) -> Path:
    """Return a free place with the suffix of the source's format."""
    if not target.name.endswith(suffix):
        if image_stem(target) != target.name:
            raise InputError(f'"{target}" names another format than the source has: let it end with {suffix}')
        target = target.with_name(target.name + suffix)
    if os.path.lexists(target):
        raise InputError(f'"{target}" is there already: name another place')
    return target


def _case_of(image: Any, channels: int) -> CaseImage:
    if isinstance(image, (str, os.PathLike)):
        return open_image(image)
    if isinstance(image, SpatialImage):
        return NiftiCase.of_nibabel(image)
    if not isinstance(image, (np.ndarray, torch.Tensor)):
        raise InputError(
            f"a {type(image).__name__} is no image: give an array, a tensor, an image of nibabel or a path"
        )
    case = ArrayCase(image)
    if len(case.image) != channels:
        raise InputError(
            f"an array of shape {tuple(image.shape)} has {len(case.image)} channels and the network takes {channels}: "
            "the channels come first, such as array[None] of a grey image"
        )
    return case


def _with_metadata(values: torch.Tensor, image: Any, case: CaseImage) -> MetaTensor:
    return MetaTensor(values).copy_meta_from(image if isinstance(image, MetaTensor) else case.image)
