# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch inference into the datastore, where one image that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

__all__ = ["ENHANCED", "BatchInference"]

ENHANCED = "enhanced"
"""Tag of enhanced images in the datastore; what trains on labels reads the tag ``final``."""


class BatchInference(BatchInferTask):
    """MONAI Label's batch inference, on a machine without GPUs too, with a tag of its own for enhanced images."""

    def __call__(self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]) -> dict[str, Any]:
        """Run the model of a request on the images of the datastore.

        Returns:
            What the model says of each image, by identifier; ``{"error": sentence}`` where it failed.
        """
        request = dict(request)
        if request.get("model") == "enhance" and request.get("label_tag") in (None, "original"):
            request["label_tag"] = ENHANCED
        if not torch.cuda.is_available():
            request["multi_gpu"] = False  # MONAI Label divides the images among the GPUs, of which there are none

        def infer_one(own: dict[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                result: dict[str, Any] = infer(own, store)
            except HTTPException as error:
                return {"error": error.detail}
            return result

        results: dict[str, Any] = super().__call__(request, datastore, infer_one)
        return results
