# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""HQG-Net in MONAI Label: enhancement, segmentation, both together, and their training, in 3D Slicer and OHIF.

The bundle runs in an environment of its own, see ``bundle_worker.py``. Settings of the app, ``--conf name value``:

    bundle          folder of the bundle; the one beside this app by default
    bundle_python   interpreter of the bundle's environment; .venv beside this app by default
    model_dir       folder of the supplied model.pt; models of the bundle by default
    work_dir        folder of trainings and their networks; model in this app by default
    hq_dir          good images of other patients, for training
    hq_labels_dir   labels of these, under the same names
    labels          names of the classes but the background, separated by commas
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from lib.answers import answer_all_errors, answered
from lib.batch import BatchInference
from lib.bundle import Bundle, ModelFolder
from lib.configs import CONFIGS
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from requests import HTTPError

logger = logging.getLogger(__name__)


class HQGNetLabel(MONAILabelApp):
    """The app: models ``enhance``, ``segment`` and ``enhance_segment``, and a trainer for each."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        here = Path(app_dir)
        conf = conf or {}
        self.bundle = Bundle(
            _folder(conf.get("bundle"), here.parent / "bundle"),
            # Not resolved: the link of a virtual environment leads out of it.
            Path(conf.get("bundle_python") or here.parent / ".venv" / "bin" / "python").expanduser().absolute(),
        )
        self.models = ModelFolder(
            _folder(conf.get("work_dir"), here / "model"),
            _folder(conf.get("model_dir"), self.bundle.folder / "models"),
        )
        labels = _labels(conf.get("labels"), self.models.description.get("downstream") or {})
        self.configs = {name: kind() for name, kind in CONFIGS.items()}
        for name, config in self.configs.items():
            config.init(name, str(self.models.root), conf, None, app=self, labels=labels)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="HQG-Net",
            description="Enhancement guided by high-quality images, and segmentation of enhanced images",
            version="1",
        )

    def init_infers(self) -> dict[str, Any]:
        """Return the models by name."""
        return {name: config.infer() for name, config in self.configs.items()}

    def init_trainers(self) -> dict[str, Any]:
        """Return the trainers by name."""
        return {name: config.trainer() for name, config in self.configs.items()}

    def init_batch_infer(self) -> BatchInference:
        """Return the batch inference."""
        return BatchInference()

    def on_init_complete(self) -> None:
        """Let the server answer every error with a sentence."""
        super().on_init_complete()
        answer_all_errors()

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        """Run a model; every error is a status and a sentence."""
        with answered("The inference"):
            _require_image(request.get("image"), datastore or self.datastore())
            return super().infer(request, datastore)

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        """Run a model on many images; every error is a status and a sentence."""
        with answered("The batch inference"):
            return super().batch_infer(request, datastore)

    def train(self, request: dict[str, Any]) -> Any:
        """Train; every error is a status and a sentence."""
        with answered("The training"):
            return super().train(request)


def _require_image(image: Any, datastore: Datastore) -> None:
    """Refuse an image that the datastore does not have; a file that came with the request is there."""
    if not isinstance(image, str) or os.path.isfile(image):
        return
    try:
        found = bool(image) and bool(datastore.get_image_uri(image))
    except (IndexError, HTTPError):  # of MONAI Label's DICOMweb datastore, which finds no such series
        found = False
    if not found:
        raise HTTPException(status_code=404, detail=f'There is no image "{image}" in the datastore.')


def _folder(given: str | None, default: Path) -> Path:
    return Path(given).expanduser().resolve() if given else default.resolve()


def _labels(names: str | None, downstream: dict[str, Any]) -> dict[str, int]:
    """Class numbers by name, the background left out; without names they are numbered."""
    given = [name.strip() for name in (names or "").split(",") if name.strip()]
    number = max(int(downstream.get("num_classes", 1)) - 1, len(given))
    return {given[i] if i < len(given) else f"class {i + 1}": i + 1 for i in range(number)}
