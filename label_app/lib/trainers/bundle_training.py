# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training with the bundle's own configurations, on the images and labels of the datastore."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from ..answers import answered
from ..bundle import BundleError
from ..dicomweb import is_enhanced
from ..parameters import device_of, flag, network_settings, read_metrics, training_settings

__all__ = ["ENHANCEMENT", "BILEVEL", "DOWNSTREAM", "BundleTraining", "Training"]

logger = logging.getLogger(__name__)

STATS = "stats.json"


class Training(NamedTuple):
    """One of the bundle's trainings.

    Attributes:
        name: of the trainer.
        description: for the viewer.
        run_id: of the configurations.
        configs: names of the configurations.
        needs_labels: whether images of the datastore must have labels.
        settings: what a viewer may set, with defaults; None leaves the default to the bundle.
        fixed: further arguments.
    """

    name: str
    description: str
    run_id: str
    configs: Sequence[str]
    needs_labels: bool
    settings: Mapping[str, Any]
    fixed: Sequence[str] = ()


_ENHANCEMENT = {
    "epochs": 12,
    "warmup_epochs": 10,
    "steps_per_epoch": 180,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "val_interval": 1,
    "patch_size": None,
    "seed": 0,
    "amp": False,
}

ENHANCEMENT = Training(
    "enhance",
    "Enhancement alone: the images of the datastore are poor, those of hq_dir good, and no pairs are needed",
    "training",
    ("train",),
    needs_labels=False,
    settings=_ENHANCEMENT,
    fixed=("--task", "none"),
)
BILEVEL = Training(
    "enhance_segment",
    "Enhancement and segmentation train each other (bi-level), with the labels of the datastore",
    "training",
    ("train",),
    needs_labels=True,
    settings={**_ENHANCEMENT, "hypergradient": "first_order"},
    fixed=("--task", "segmentation"),
)
DOWNSTREAM = Training(
    "segment",
    "Segmentation alone, with the labels of the datastore; the enhancement stays as it is",
    "training_downstream",
    ("train", "train_downstream"),
    needs_labels=True,
    settings={
        "epochs": 10,
        "steps_per_epoch": 80,
        "batch_size": 4,
        "val_interval": 1,
        "patch_size": None,
        "seed": 0,
        "reads_enhanced": True,
    },
    fixed=("--task", "segmentation"),
)


class BundleTraining(TrainTask):
    """Train, and put the new network in the place of the former one when that has succeeded.

    All images of the datastore are low-quality images, with the labels of the tag ``final`` where they have some; the
    high-quality images are those of the folder ``hq_dir`` of the app's settings, with labels of the same names in
    ``hq_labels_dir``. The bundle reads this from folders of links, and holds a share of the images out for validation.

    Args:
        app: the app, which has ``bundle``, ``models`` and ``conf``.
        training: which of the trainings.
    """

    def __init__(self, app: Any, training: Training) -> None:
        super().__init__(training.description)
        self.app = app
        self.training = training

    def config(self) -> dict[str, Any]:
        """Return the settings that a viewer offers."""
        offered = {name: value for name, value in self.training.settings.items() if value is not None}
        if self.training is DOWNSTREAM:
            offered["pretrained"] = True
        return {**offered, "device": ["cuda", "cpu"]}

    def stats(self) -> dict[str, Any]:
        """Return progress and metrics of the newest training."""
        run = self.app.models.newest_run(self.training.name)
        file = run / STATS if run else None
        if file is None or not file.is_file():
            return {}
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return content

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train with the settings of a request; return the statistics of the training."""
        with answered("The training"):
            # Before the folders are made: what is wrong with the request is told at once.
            settings = self._settings(request)
            images = self._images(datastore)
            run = self.app.models.new_run(self.training.name)
            self._link(images, run / "data")
            if self.training is DOWNSTREAM:
                settings += self._start(request, run / "models")
            return self._train(run, settings)

    def _settings(self, request: Mapping[str, Any]) -> list[str]:
        settings = [*network_settings(self.app.models.description), *self.training.fixed]
        settings += training_settings(request, self.training.settings)
        device = device_of(request)
        return settings if device is None else [*settings, "--device", f"$torch.device('{device}')"]

    def _images(self, datastore: Datastore) -> dict[str, tuple[str, str | None]]:
        """Return image and label, or None, of the datastore by identifier."""
        if self.training is not DOWNSTREAM and not self.app.conf.get("hq_dir"):
            raise BundleError(
                "Training needs good images of other patients: start the server with --conf hq_dir FOLDER."
            )
        images = {}
        for name in sorted(datastore.list_images()):
            image = datastore.get_image_uri(name)
            if is_enhanced(Path(image.removesuffix(".nii.gz"))):
                continue
            label = datastore.get_labels_by_image_id(name).get(DefaultLabelTag.FINAL.value)
            images[name] = (image, datastore.get_label_uri(label, DefaultLabelTag.FINAL.value) if label else None)
        if not images:
            raise BundleError("The datastore has no image to train on.")
        if self.training.needs_labels and not any(label for _, label in images.values()):
            raise BundleError(
                f'The training of "{self.training.name}" needs labels: submit the label of an image (tag "final").'
            )
        return images

    def _link(self, images: Mapping[str, tuple[str, str | None]], data: Path) -> None:
        """Lay the images out as the bundle's data sets are."""
        for folder in ("lq", "labels/lq"):
            (data / folder).mkdir(parents=True)
        for name, (image, label) in images.items():
            _link(Path(image), data / "lq", name)
            if label and self.training.needs_labels:
                _link(Path(label), data / "labels" / "lq", name)
        for key, place in (("hq_dir", data / "hq"), ("hq_labels_dir", data / "labels" / "hq")):
            if self.app.conf.get(key):
                folder = Path(self.app.conf[key]).expanduser().absolute()
                if not folder.is_dir():
                    raise BundleError(
                        f'{key} names "{folder}", and there is no such folder: correct --conf {key}.', False
                    )
                place.symlink_to(folder, target_is_directory=True)
        if not (data / "hq").exists():
            # The data set's form asks for good images, which the training of the downstream network does not look at.
            (data / "hq").symlink_to("lq", target_is_directory=True)

    def _start(self, request: Mapping[str, Any], models: Path) -> list[str]:
        """Let a downstream network stand beside the trained enhancement, and begin with the weights that it has."""
        current = self.app.models.current
        models.mkdir(parents=True)
        for name in ("model.pt", "model.json"):
            shutil.copyfile(current / name, models / name)
        if not self.app.models.segments or not flag(request.get("pretrained", True), "pretrained"):
            return []
        described = self.app.models.description["downstream"]
        return ["--downstream_start", str(current / "downstream.pt"), "--num_classes", str(described["num_classes"])]

    def _train(self, run: Path, settings: Sequence[str]) -> dict[str, Any]:
        store = f"sqlite:///{self.app.models.root.absolute() / 'mlflow.db'}"
        arguments = [
            *("--dataset_dir", str(run / "data"), "--output_dir", str(run), "--model_dir", str(run / "models")),
            *("--all_datalists#test_fraction", "0.0"),
            *("--tracker#tracking_uri", store, "--tracker#run_name", run.name),
            *settings,
        ]
        start = time.monotonic()
        stats: dict[str, Any] = {"run": run.name, "mlflow": os.environ.get("MLFLOW_TRACKING_URI", store)}
        stats |= {"start": time.strftime("%Y-%m-%d %H:%M:%S"), "status": "RUNNING"}

        def watch(line: str) -> None:
            print(line, flush=True)
            if read_metrics(line, stats):
                _write_stats(run, stats)

        try:
            self.app.bundle.run(self.training.run_id, self.training.configs, arguments, watch)
            self.app.models.use(run / "models")
            stats |= {"status": "DONE", "total_time": round(time.monotonic() - start)}  # Slicer: no longer running
        except BaseException:
            stats["status"] = "ERROR"
            raise
        finally:
            _write_stats(run, stats)
        return stats


def _link(file: Path, folder: Path, name: str) -> None:
    """Link a file under the identifier of its image."""
    suffix = "".join(file.suffixes[-2:]) if file.name.endswith(".gz") else file.suffix
    (folder / f"{name.replace(os.sep, '_')}{suffix}").symlink_to(file.absolute())


def _write_stats(run: Path, stats: Mapping[str, Any]) -> None:
    unfinished = run / f"{STATS}.part"
    unfinished.write_text(json.dumps(stats, indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, run / STATS)
