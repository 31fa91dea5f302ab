# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The model ``enhance``: an image in the units, the format and on the grid of its source."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from ..answers import answered
from ..bundle import BundleError
from ..dicomweb import is_enhanced, send_series, series_folder
from ..parameters import PROTOTYPE, choose_guide, device_of, flag
from .results import convert, new_place

__all__ = ["Enhance"]

OFFERED_IMAGES = 100
"""Images that a viewer offers as guides; a list of thousands serves nobody."""


class Enhance(InferTask):
    """Enhance an image as the bundle's own program does: the same voxels.

    Parameters of a request: ``guide``, a style of the model or an image of the datastore; ``send``, whether the
    enhanced DICOM series is stored in the study of its source (DICOMweb only); ``result_extension``.

    Args:
        app: the app, which has ``bundle``, ``models`` and ``datastore()``.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        super().__init__(
            type=InferType.OTHERS,
            labels=None,
            dimension=dimension(app),
            description="Enhance the image, guided by high-quality images; a result is an image in its source's units",
        )

    def config(self) -> dict[str, Any]:
        """Return the parameters that a viewer offers; the first of a list is the default."""
        return {"guide": guides(self.app), "send": False}

    def is_valid(self) -> bool:
        """Return whether there is a network."""
        return (self.app.models.current / "model.pt").is_file()

    def get_path(self, validate: bool = True) -> str | None:
        """Return the file of the weights."""
        file = self.app.models.current / "model.pt"
        return str(file) if file.is_file() or not validate else None

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Enhance the image of a request; return the file of the result and what is to be said of it."""
        with answered("The enhancement"):
            start = time.perf_counter()
            refuse_labels(request)
            image, sends = request["image"], flag(request.get("send", False), "send")
            series = series_folder(self.app.datastore(), image) if sends else None
            refuse_results(image)
            place = new_place()
            common = common_arguments(self.app, request)
            answer = self.app.bundle.ask("enhance", image=image, output=str(place), **common)
            answer["guide"] = guide_name(request)
            file = convert(Path(answer.pop("file")), request.get("result_extension"))
            if series is not None:
                answer |= self._send(series, common)
            answer |= {
                "label_names": {},
                "centroids": {},
                "latencies": {"total": round(time.perf_counter() - start, 2)},
            }
            return str(file), answer

    def _send(self, series: Path, common: dict[str, Any]) -> dict[str, str]:
        """Enhance the DICOM files themselves, with every tag, and store the derived series."""
        with tempfile.TemporaryDirectory(prefix="hqgnet-") as folder:
            made = self.app.bundle.ask("enhance", image=str(series), output=f"{folder}/series", **common)
            return send_series(self.app.datastore(), Path(made["file"]))


def dimension(app: Any) -> int:
    """Return the dimensions of the images, as viewers count them: photographs are in colour, volumes are not."""
    return 2 if app.models.description["network"]["in_channels"] == 3 else 3


def guide_name(request: dict[str, Any]) -> str:
    """Return the guide of a request under its own name."""
    guide = request.get("guide")
    return str((guide[0] if guide else PROTOTYPE) if isinstance(guide, list) else guide or PROTOTYPE)


def guides(app: Any) -> list[str]:
    """Return what a viewer offers as guides: the prototype, the styles of the model, images of the datastore.

    A request may name any image, offered or not.
    """
    styles = list(app.models.description.get("styles") or {})
    images = sorted(set(app.datastore().list_images()) - set(styles))
    return [PROTOTYPE, *styles, *images[:OFFERED_IMAGES]]


def common_arguments(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Return what enhancement and segmentation ask the bundle alike: the network, the device and the guide."""
    datastore = app.datastore()
    styles = app.models.description.get("styles") or {}
    guide = choose_guide(request.get("guide"), styles, datastore.list_images(), datastore.get_image_uri)
    return {"model_dir": str(app.models.current), "device": device_of(request), "guide": guide}


def refuse_labels(request: dict[str, Any]) -> None:
    """Refuse to let an enhanced image be stored as a label that others learn from.

    Raises:
        BundleError: for a DICOM SEG, and for the tag of annotators' labels.
    """
    if request.get("label_info"):
        raise BundleError(
            'An enhanced image is no segmentation: ask "enhance_segment" for a DICOM SEG, or send the enhanced series '
            'with "send": true.'
        )
    if request.get("save_label") and request.get("label_tag") == DefaultLabelTag.FINAL.value:
        raise BundleError(
            'The tag "final" is for labels to train on: store enhanced images with another, such as "enhanced".'
        )


def refuse_results(image: str) -> None:
    """Refuse to enhance a series that is a result of enhancement already.

    Raises:
        BundleError: naming it.
    """
    folder = Path(image.removesuffix(".nii.gz"))
    if is_enhanced(folder):
        raise BundleError(f'The series "{folder.name}" is a result of enhancement: choose the original.')
