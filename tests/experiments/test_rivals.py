# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from scripts.errors import InputError
from scripts.experiments.rivals import FromFiles
from scripts.io import PATIENT_SPACE, SPACE

SHAPE = (1, 8, 8)


def read(item: Mapping[str, Any]) -> dict[str, Any]:
    """A file holds the level of its image, perhaps with another size."""
    level, *size = (float(word) for word in Path(item["image"]).read_text().split())
    return {"image": MetaTensor(torch.full((1, *map(int, size)) if size else SHAPE, level))}


def item(name: str) -> dict[str, Any]:
    return {"image": MetaTensor(torch.zeros(SHAPE), meta={"filename_or_obj": f"/data/lq/{name}"})}


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", ["P1.nii.gz", "P1.png", "P1"])
def test_a_result_has_the_name_of_its_input_whatever_the_suffix(tmp_path: Path, name: str) -> None:
    write(tmp_path, "P1.tiff", "0.25")
    write(tmp_path, "P10.tiff", "0.75")
    result = FromFiles("Other", str(tmp_path), read)(item(name), "a", 0)
    assert result is not None
    assert float(result.mean()) == 0.25


def test_folders_by_style_leave_other_styles_out(tmp_path: Path) -> None:
    write(tmp_path / "a", "P1.nii", "0.5")
    method = FromFiles("Other", {"a": str(tmp_path / "a")}, read)
    assert method(item("P1.nii"), "a", 0) is not None
    assert method(item("P1.nii"), "b", 0) is None


def test_what_is_missing_double_or_of_another_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        FromFiles("Other", str(tmp_path / "nowhere"), read)
    with pytest.raises(InputError, match='one file for "P1" .* not none'):
        FromFiles("Other", str(tmp_path), read)(item("P1.nii"), "a", 0)
    write(tmp_path, "P1.nii", "0.5 9 9")
    with pytest.raises(InputError, match="results lie on the grid of their input"):
        FromFiles("Other", str(tmp_path), read)(item("P1.nii"), "a", 0)
    write(tmp_path / "sub", "P1.png", "0.5")
    with pytest.raises(InputError, match=r"not .*P1\.nii.*P1\.png"):
        FromFiles("Other", str(tmp_path), read)(item("P1.nii"), "a", 0)


def test_a_result_that_lies_elsewhere_in_the_patient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "P1.nii").touch()
    lies = {"filename_or_obj": "P1.nii", SPACE: PATIENT_SPACE}
    flipped = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    source = {"image": MetaTensor(torch.zeros(SHAPE), affine=torch.eye(4), meta=lies)}
    result = {"image": MetaTensor(torch.zeros(SHAPE), affine=flipped, meta=lies)}
    with pytest.raises(InputError, match="voxels away from its input"):
        FromFiles("Other", str(tmp_path), lambda found: result)(source, "a", 0)
