# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The models ``segment`` and ``enhance_segment``: labels on the grid of the original."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from ..answers import answered
from ..parameters import flag
from .enhance import common_arguments, dimension, guide_name, guides, refuse_results
from .results import convert, new_place

__all__ = ["Segment"]


class Segment(InferTask):
    """Segment an image with the downstream network, on the image as it is or on the enhanced image.

    Parameters of a request, of ``enhance_segment`` only: ``enhance``, false switches the enhancement off; ``guide``, as
    of ``enhance``. Of both: ``result_extension``.

    Args:
        app: the app, which has ``bundle``, ``models`` and ``datastore()``.
        labels: class numbers by name.
        enhances: whether the network reads the enhanced image.
    """

    def __init__(self, app: Any, labels: Mapping[str, int], enhances: bool) -> None:
        self.app = app
        self.enhances = enhances
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(labels),
            dimension=dimension(app),
            description=(
                "Enhance the image, then segment it; labels lie on the original"
                if enhances
                else "Segment the image as it is with the downstream network"
            ),
        )

    def config(self) -> dict[str, Any]:
        """Return the parameters that a viewer offers; the first of a list is the default."""
        return {"enhance": True, "guide": guides(self.app)} if self.enhances else {}

    def is_valid(self) -> bool:
        """Return whether there is a downstream network for segmentation."""
        return self.app.models.segments

    def get_path(self, validate: bool = True) -> str | None:
        """Return the file of the downstream network's weights."""
        file = self.app.models.current / "downstream.pt"
        return str(file) if file.is_file() or not validate else None

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment the image of a request; return the file of the labels and what is to be said of them."""
        with answered("The segmentation"):
            start = time.perf_counter()
            refuse_results(request["image"])
            enhances = self.enhances and flag(request.get("enhance", True), "enhance")
            common = common_arguments(self.app, request if enhances else {**request, "guide": None})
            answer = self.app.bundle.ask(
                "segment", image=request["image"], output=str(new_place()), enhance=enhances, **common
            )
            file = convert(Path(answer.pop("file")), request.get("result_extension"))
            answer |= {"enhanced": enhances, "label_names": self.labels, "centroids": {}}
            if enhances:
                answer["guide"] = guide_name(request)
            answer["latencies"] = {"total": round(time.perf_counter() - start, 2)}
            return str(file), answer
