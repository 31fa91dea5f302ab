# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmenting one case with the downstream network, on the enhanced image or on the image as it is."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from monai.transforms import Orientation
from PIL import Image
from torch import nn

from ..errors import InputError
from ..handlers import load_downstream
from ..inferers import SegmentationInferer
from ..io import CaseImage, NiftiCase, write_nifti
from ..io.nifti import check_evenly_spaced
from ..io.raster import ORIENTATION
from ..io.upright import EXIF_ORIENTATION, as_stored
from ..model_spec import ModelSpec
from ..planes import resized
from .case_enhancer import CaseEnhancer, EnhancedCase, NetworkImage

__all__ = ["CaseSegmenter", "check_grid_of_classes", "write_classes"]


class CaseSegmenter:
    r"""Give every pixel of a case the class that the downstream network S finds most likely.

    .. math:: \hat t = \arg\max_k\; S(E(s(y)))_k \quad\text{or, without enhancement,}\quad \arg\max_k\; S(s(y))_k

    S reads what it read in training: the result of the enhancement in [0, 1], before it is turned back to the units of
    the scanner, at the pixel size of training. Its probabilities are brought to the pixels of the image.

    Args:
        enhancer: prepares and enhances the image.
        network: S, from (B, C, *spatial) to logits (B, K, *spatial), K at most 256.
        divisor: every spatial size that S sees is padded to a multiple of it. Defaults to 16.
    """

    def __init__(self, enhancer: CaseEnhancer, network: nn.Module, divisor: int = 16) -> None:
        self.enhancer = enhancer
        self.network = network
        self.divisor = divisor

    @classmethod
    def load(cls, enhancer: CaseEnhancer, model_file: str | Path) -> CaseSegmenter:
        """Return a segmenter with the downstream network that lies beside a trained network.

        Args:
            enhancer: with the trained network.
            model_file: ``model.pt``, with ``model.json`` and ``downstream.pt`` beside it.

        Raises:
            InputError: when there is no downstream network, or it is no segmentation network.
        """
        described = ModelSpec.load(model_file).downstream or {}
        if described and described.get("task") != "segmentation":
            raise InputError(
                f"The downstream network is for {described.get('task')}, and segmentation was asked for: train with "
                "labels that are images."
            )
        network = load_downstream(model_file).to(enhancer.device)
        strides = described["network"].get("strides")
        return cls(enhancer, network, math.prod(strides) if strides else 16)

    def __call__(self, case: CaseImage, enhance: bool = True) -> torch.Tensor:
        """Segment one image.

        Args:
            case: the image.
            enhance: whether S reads the enhanced image. False: it reads the image as it is.

        Returns:
            Class numbers, (1, *spatial), uint8, on the grid of the image that was read; 0 in pixel padding.

        Raises:
            InputError: when the networks cannot take the image.
        """
        return self.enhance(case)[1] if enhance else self._classes(case, self.enhancer.as_it_is(case))

    def enhance(self, case: CaseImage) -> tuple[EnhancedCase, torch.Tensor]:
        """Enhance one image, and segment the result; see :class:`CaseEnhancer` and :meth:`__call__`."""
        enhanced, seen = self.enhancer.enhance(case)
        return enhanced, self._classes(case, seen)

    @torch.no_grad()
    def _classes(self, case: CaseImage, seen: NetworkImage) -> torch.Tensor:
        image, axis = seen
        inferer = SegmentationInferer(self.enhancer.inferer.spatial_dims, axis, batch_size=1, divisor=self.divisor)
        with eval_mode(self.network), torch.autocast(self.enhancer.device.type, enabled=self.enhancer.amp):
            read = self.enhancer.inferer.at_training_size(image[None], self.enhancer.network, axis)
            logits = inferer(read.to(self.enhancer.device), self.network)
        probabilities = resized(logits.float().softmax(dim=1), image.shape[1:], axis)[0]
        labels = MetaTensor(probabilities.argmax(dim=0, keepdim=True).to("cpu", torch.uint8)).copy_meta_from(image)
        if labels.ndim == 4:
            labels = Orientation("".join(nib.aff2axcodes(case.image.affine.numpy())), labels=None)(labels)
        else:
            labels = as_stored(labels)
        classes = labels.as_tensor()
        return classes if case.padding is None else classes.masked_fill(case.padding, 0)


def check_grid_of_classes(case: CaseImage) -> None:
    """Refuse a volume whose grid :func:`write_classes` cannot write.

    Raises:
        InputError: when slices are missing or unevenly spaced.
    """
    check_evenly_spaced(case, "enhance it without --segment")


def write_classes(classes: torch.Tensor, case: CaseImage, target: Path, description: str = "segmentation") -> Path:
    """Write class numbers on the grid of their image: as ``target.nii.gz``, a photograph's as ``target.png``.

    Args:
        classes: (1, *spatial), uint8, see :class:`CaseSegmenter`.
        case: the image.
        target: place without suffix.
        description: what the header of NIfTI says.

    Returns:
        The file.

    Raises:
        InputError: see :func:`check_grid_of_classes`.
    """
    check_grid_of_classes(case)
    if classes.ndim == 4 or isinstance(case, NiftiCase):
        return write_nifti(classes, case.image.affine, target, description)
    file = target.with_name(f"{target.name}.png")
    # They lie as the photograph is stored, and say with it how both are to be turned.
    exif = Image.Exif()
    if EXIF_ORIENTATION in case.image.meta:
        exif[ORIENTATION] = case.image.meta[EXIF_ORIENTATION]
    Image.fromarray(classes[0].T.contiguous().numpy()).save(file, exif=exif)
    return file
