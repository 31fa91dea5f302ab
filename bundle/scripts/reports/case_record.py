# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of one case of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..errors import InputError

__all__ = ["PLACES", "CaseRecord"]

PLACES = ("new_structure", "lost_structure")
"""Measures that name a place in the image."""


@dataclass
class CaseRecord:
    """Outcome of one case.

    Attributes:
        name: unique within the batch.
        source: file or folder that the case was read from, as it was given.
        output: result, relative to the output folder; None where there is none.
        outputs: all that lies in the output folder for the case, with its size in bytes: the result, the map of
            uncertainty; of a failed case, what an earlier run has left.
        status: ``"done"``, ``"failed"``, or ``"passed over"``: no image, which is no failure.
        message: why it is not done, one sentence.
        verdict: ``"ok"`` or ``"check"``; None of a failed case.
        reasons: of the verdict.
        measures: by name of :data:`scripts.reports.safety.MEASURES`.
        places: voxel, an index per spatial axis counted from 0, of ``"new_structure"`` and ``"lost_structure"``.
        clipped: values that were cut to the range of the stored type.
        slice_axis: spatial axis of a volume's slices; None of a plane image.
        slices: number of slices; 1 of a plane image.
        plane: the slice that the pictures show; None of a plane image.
        marks: of the places that lie in that slice, distance from the left and the top, as shares of the picture.
        seconds: what it took: ``"total"``, ``"read"``, ``"network"``, ``"write"`` and ``"report"`` (measures and
            pictures).
        fingerprint: what a caller wants to know of the case when it meets it again; anything that JSON can hold.
    """

    name: str
    source: str
    output: str | None = None
    outputs: dict[str, int] = field(default_factory=dict)
    status: Literal["done", "failed", "passed over"] = "done"
    message: str = ""
    verdict: Literal["ok", "check"] | None = None
    reasons: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)
    clipped: int = 0
    slice_axis: int | None = None
    slices: int = 1
    plane: int | None = None
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: numbers that are not finite become None."""
        content = asdict(self)
        for key in ("measures", "seconds"):
            content[key] = {name: value if math.isfinite(value) else None for name, value in content[key].items()}
        return content

    @classmethod
    def from_dict(cls, content: Any) -> CaseRecord:
        """Restore what :meth:`to_dict` returned.

        Raises:
            InputError: when the content is something else.
        """
        # Records of versions that did not count what was cut are still records of their files.
        if not isinstance(content, Mapping) or set(content) | {"clipped"} != {entry.name for entry in fields(cls)}:
            raise InputError("This is no record of a case: enhance the case again.")
        values = dict(content)
        try:
            values["reasons"] = [str(reason) for reason in values["reasons"]]
            values["outputs"] = {str(output): int(size) for output, size in values["outputs"].items()}
            for key in ("measures", "seconds"):
                values[key] = {
                    str(name): math.nan if value is None else float(value) for name, value in values[key].items()
                }
            values["places"] = {name: tuple(int(index) for index in place) for name, place in values["places"].items()}
            values["marks"] = {
                name: (float(mark[0]), float(mark[1])) for name, mark in values["marks"].items() if name in PLACES
            }
            values["slices"], values["clipped"] = int(values["slices"]), int(values.get("clipped", 0))
            values["fingerprint"] = dict(values["fingerprint"])
        except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            raise InputError("The record of a case is damaged: enhance the case again.") from error
        texts = (values["name"], values["source"], values["message"])
        numbers = (values["slice_axis"], values["plane"])
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(values["output"], (str, type(None)))
            or not all(number is None or type(number) is int for number in numbers)
            or values["status"] not in ("done", "failed", "passed over")
            or values["verdict"] not in ("ok", "check", None)
        ):
            raise InputError("The record of a case is damaged: enhance the case again.")
        return cls(**values)
