# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the bundle for the MONAI Label app: a program of the bundle's own environment that answers requests line by line.

    python bundle_worker.py BUNDLE_FOLDER

MONAI Label needs pydicom below 3 and numpy below 2; the bundle needs pydicom 3. So the bundle runs in its own
environment, with the versions that it is tested with, and the app asks it. A request is a line of JSON on the standard
input, the answer a line of JSON on the standard output: ``{"result": ...}``, or ``{"error": sentence, "is_input":
true | false}``. What the bundle prints goes to the standard error. The program ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


class Service:
    """What the app may ask for; one network is held at a time."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._loaded: tuple[Any, Any] | None = None
        self._segmenter: Any = None

    def enhance(
        self, image: str, output: str, model_dir: str, device: str | None = None, guide: str | None = None
    ) -> dict[str, Any]:
        """Enhance a file or a DICOM series; the result has the format, stored type and geometry of its source.

        Args:
            image: the file, or the folder of a series.
            output: place of the result, without suffix.
            model_dir: folder of model.pt and model.json.
            device: where the network runs; None: a GPU where there is one.
            guide: a style, an image, or None for the stored prototype.
        """
        enhancer, _ = self._load(model_dir, device)
        enhancer.follow(guide)
        enhanced = enhancer(image)
        return {
            "file": str(enhanced.save(output)),
            "verdict": enhanced.verdict,
            "reasons": enhanced.reasons,
            "measures": enhanced.measures,
        }

    def segment(
        self,
        image: str,
        output: str,
        model_dir: str,
        device: str | None = None,
        guide: str | None = None,
        enhance: bool = False,
    ) -> dict[str, Any]:
        """Segment a file on its own grid: NIfTI gives ``output.nii.gz``, a photograph ``output.png``.

        Args:
            image: the file.
            output: place of the labels, without suffix.
            model_dir: folder of model.pt, model.json and downstream.pt.
            device: see :meth:`enhance`.
            guide: likewise.
            enhance: whether the network reads the enhanced image.
        """
        import torch

        from scripts.inference import CaseSegmenter, write_classes
        from scripts.io import open_image

        enhancer, case_enhancer = self._load(model_dir, device)
        if self._segmenter is None:
            self._segmenter = CaseSegmenter.load(case_enhancer, Path(model_dir) / "model.pt")
        enhancer.follow(guide)
        case = open_image(image)
        labels = self._segmenter(case, enhance)
        file = write_classes(labels, case, Path(output))
        return {"file": str(file), "classes": torch.unique(labels).tolist()}

    def _load(self, model_dir: str, device: str | None) -> tuple[Any, Any]:
        from scripts.api import Enhancer
        from scripts.inference import load_enhancer

        file = Path(model_dir) / "model.pt"
        state = file.stat() if file.is_file() else None
        key = (str(file), device, state and (state.st_mtime_ns, state.st_size))
        if self._loaded is None or key != self._key:
            self._loaded = self._segmenter = None  # the former network leaves the memory before the next one comes
            case_enhancer, spec = load_enhancer(file, device)
            self._loaded, self._key = (Enhancer(case_enhancer, spec, file), case_enhancer), key
        return self._loaded


def main() -> None:
    """Answer requests until the input ends."""
    sys.path.insert(0, sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from scripts.errors import find_input_error

    service = Service()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(service, request.pop("task"))(**request)}
        except Exception as error:
            mistake = find_input_error(error)
            if mistake is None:
                traceback.print_exc()
            answer = {"error": str(mistake or f"{type(error).__name__}: {error}"), "is_input": mistake is not None}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
