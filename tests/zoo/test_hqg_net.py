# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Unit test in the form of MONAI's model zoo, where it belongs into ci/unit_tests.

BUNDLE_ROOT names the bundle's folder: models/hqg_net in the zoo. It has to be on Python's path.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow

BUNDLE_ROOT = Path(os.environ.get("BUNDLE_ROOT", Path(__file__).resolve().parents[2] / "bundle"))
TRAINING = {
    "epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 1,
    "val_interval": 1,
    "warmup_epochs": 0,
    "patch_size": [32, 32],
    "network_channels": [4, 6, 8],
    "guidance_channels": [4, 6],
    "discriminator_def#channels": 4,
    "discriminator_def#num_layers_d": 2,
    "mlflow": False,
}


class TestHQGNet(unittest.TestCase):
    """Train and enhance on random volumes."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(setattr, sys, "excepthook", sys.excepthook)
        random = np.random.RandomState(0)
        for domain in ("lq", "hq"):
            (self.folder / domain).mkdir()
            for number in range(3):
                image = nib.Nifti1Image(random.rand(36, 33, 4).astype(np.float32), np.diag([1, 1, 3, 1]))
                nib.save(image, self.folder / domain / f"{domain}{number}.nii.gz")

    def check(self, kind: str, name: str, **settings: object) -> None:
        """Check the properties of a workflow, run it and finalize it."""
        configs = BUNDLE_ROOT / "configs"
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=str(configs / name),
            logging_file=str(configs / "logging.conf"),
            meta_file=str(configs / "metadata.json"),
            bundle_root=str(BUNDLE_ROOT),
            device="cpu",
            **settings,
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()

    def test_train(self) -> None:
        places = {"output_dir": str(self.folder / "output"), "model_dir": str(self.folder / "models")}
        self.check("train", "train.yaml", dataset_dir=str(self.folder), **places, **TRAINING)
        weights = torch.load(self.folder / "models" / "model.pt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in weights.values())

    def test_infer(self) -> None:
        output = self.folder / "enhanced"
        self.check("infer", "inference.yaml", dataset_dir=str(self.folder / "lq"), output_dir=str(output))
        for number in range(3):
            source, result = (nib.load(place / f"lq{number}.nii.gz") for place in (self.folder / "lq", output))
            assert result.shape == source.shape
            np.testing.assert_array_equal(result.affine, source.affine)


if __name__ == "__main__":
    unittest.main()
