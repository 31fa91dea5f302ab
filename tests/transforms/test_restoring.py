# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose

from scripts.errors import InputError
from scripts.transforms import OrientVolumesd, ReadImaged, RescaleIntensityd, RestoreSourced, SliceAxisd

TURNED = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])


def preprocessing() -> Compose:
    return Compose(
        [
            ReadImaged("image", source_key="source"),
            SliceAxisd("image"),
            OrientVolumesd("image"),
            RescaleIntensityd("image", lower=1, upper=95),
        ]
    )


def volume() -> MetaTensor:
    values = 500 * torch.rand(1, 6, 7, 8, generator=torch.Generator().manual_seed(0)) - 100
    return MetaTensor(values, affine=torch.as_tensor(TURNED))


def restored(item: dict[str, Any], transform: Compose) -> dict[str, Any]:
    return RestoreSourced("pred", transform, spatial_dims=2)(item)


def test_an_unchanged_prediction_is_the_source_in_units_place_and_geometry() -> None:
    transform = preprocessing()
    item = transform({"image": volume()})
    result = restored({**item, "pred": item["image"].as_tensor().clone()}, transform)["pred"]
    assert torch.equal(result.as_tensor(), item["source"].as_tensor())
    assert torch.equal(result.affine, item["source"].affine)


def test_a_batch_of_a_loader_is_restored_like_the_item_itself() -> None:
    transform = preprocessing()
    image = volume()
    (batch,) = DataLoader(Dataset([{"image": image}], transform), batch_size=1)
    (loaded,) = decollate_batch(batch)
    item = transform({"image": image})
    results = [restored({**one, "pred": 1 - one["image"].as_tensor()}, transform)["pred"] for one in (item, loaded)]
    assert torch.equal(*(result.as_tensor() for result in results))


def test_padding_stays_as_it_is_and_has_no_deviation() -> None:
    transform = preprocessing()
    item = transform({"image": volume()})
    item["source_padding"] = torch.zeros(1, 6, 7, 8, dtype=torch.bool)
    item["source_padding"][:, 2:4] = True
    predicted = {"pred": 0 * item["image"].as_tensor(), "deviation": 0.1 + 0 * item["image"].as_tensor()}
    found = restored({**item, **predicted}, transform)
    mask = item["source_padding"]
    assert torch.equal(found["pred"].as_tensor()[mask], item["source"].as_tensor()[mask])
    assert float(found["deviation"][mask].abs().max()) == 0
    assert float(found["deviation"][~mask].min()) > 0


def test_values_that_are_not_finite_are_refused() -> None:
    transform = preprocessing()
    item = transform({"image": volume()})
    with pytest.raises(InputError, match="not finite"):
        restored({**item, "pred": item["image"].as_tensor() / 0}, transform)


def test_the_axis_of_slices_is_found_before_the_volume_is_turned() -> None:
    item = SliceAxisd("image", slice_axis=2)({"image": volume()})
    assert item["slice_axis"] == 2
    image = volume()
    image.meta["acquisition_axis"] = 2
    item = SliceAxisd("image", slice_axis=2)({"image": image})
    assert item["slice_axis"] == item["image"].meta["slice_axis"] == 0  # the third axis runs from left to right
