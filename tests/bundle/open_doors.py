# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Open the bundle in a folder as MONAI's own programs do. A test runs this from a working directory elsewhere.

`python open_doors.py BUNDLE IMAGES DATASET SCHEMA OUTPUT` leaves results below OUTPUT and prints what it found as JSON.
BUNDLE has to be on Python's path, as for every bundle with code of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from monai.bundle import (
    ConfigParser,
    ckpt_export,
    create_workflow,
    load,
    verify_metadata,
    verify_net_in_out,
)
from monai.data import load_net_with_metadata
from monai.transforms import Compose

TINY = {
    "epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 1,
    "val_interval": 1,
    "patch_size": [32, 32],
    "network_channels": [4, 6, 8],
    "guidance_channels": [4, 6],
    "discriminator_def#channels": 4,
    "discriminator_def#num_layers_d": 2,
    "warmup_epochs": 0,
    "mlflow": False,
}


def workflow(bundle: Path, kind: str, name: str, **settings: Any) -> Any:
    """A workflow that has run, with its properties checked beforehand."""
    configs = bundle / "configs"
    made = create_workflow(
        config_file=str(configs / name), workflow_type=kind, logging_file=False, device="cpu", **settings
    )
    missing = made.check_properties()
    assert missing == [], missing
    ran = made.run()
    made.finalize()
    return ran


def infer(bundle: Path, images: Path, output: Path) -> dict[str, Any]:
    """MONAI's inference workflow, and the batch program beside it, which returns its exit status."""
    for run_id in ("run", "enhancing"):
        ran = workflow(
            bundle, "infer", "inference.yaml", run_id=run_id, dataset_dir=str(images), output_dir=str(output / run_id)
        )
    guided = {"guide": "scanner_c", "dataset_dir": str(sorted(images.iterdir())[0])}
    for run_id in ("run", "enhancing"):
        workflow(
            bundle, "infer", "inference.yaml", run_id=run_id, output_dir=str(output / f"guided_{run_id}"), **guided
        )
    return {"status": ran[-1]}


def train(bundle: Path, dataset: Path, output: Path) -> dict[str, Any]:
    """MONAI's training workflow on lists that are handed over, as MONAI Label does it, from YAML and from JSON."""
    lists = json.loads((dataset / "datalist.json").read_text())
    entries = [{key: str(dataset / entry[key]) for key in ("image", "label")} for entry in lists["training_lq"]]
    for name in ("train.yaml", "train.json"):
        workflow(
            bundle,
            "train",
            name,
            hq_data=str(dataset / "datalist.json"),
            output_dir=str(output / name / "output"),
            model_dir=str(output / name / "models"),
            **{"train#dataset#data": entries[:-1], "validate#dataset#data": entries[-1:], "task": "none"},
            **TINY,
        )
    return {}


def zoo(bundle: Path, schema: Path, output: Path) -> dict[str, Any]:
    """The steps of the model zoo's check of a bundle, and the weights in every form."""
    configs = bundle / "configs"
    meta = str(configs / "metadata.json")
    verify_metadata(meta_file=meta, filepath=str(schema))
    for name in ("train.yaml", "inference.yaml", "train.json", "inference.json"):
        verify_net_in_out("network_def", meta_file=meta, config_file=str(configs / name), device="cpu")
    scripted = output / "exported.ts"
    ckpt_export(
        "network_def",
        filepath=str(scripted),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=meta,
        config_file=str(configs / "inference.yaml"),
    )
    image = torch.rand(2, 1, 97, 115, generator=torch.Generator().manual_seed(0))
    loaded = [
        load(bundle.name, bundle_dir=bundle.parent, device="cpu", workflow_type=kind) for kind in ("train", "inference")
    ]
    loaded += [load_net_with_metadata(str(file))[0] for file in (scripted, bundle / "models" / "model.ts")]
    with torch.no_grad():
        results = [network.eval()(image) for network in loaded]
    return {
        "types": [type(network).__name__ for network in loaded[:2]],
        "prototype": float(loaded[0].prototype_mean.abs().sum()),
        "differences": [float((result - results[0]).abs().max()) for result in results],
        "shape": list(results[0].shape),
    }


def deploy(bundle: Path, image: Path, output: Path) -> dict[str, Any]:
    """The loading calls of MONAI Deploy's bundle operator, which never sets bundle_root, and its use of the parts."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / "inference.yaml")])
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser.parse()
    before, inferer, after = (
        parser.get_parsed_content(name, instantiate=True) for name in ("preprocessing", "inferer", "postprocessing")
    )
    after = Compose([part for part in after.transforms if "SaveImage" not in type(part).__name__])
    network = parser.get_parsed_content("network_def", instantiate=True)
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True), strict=True)
    item = before({"image": str(image)})
    with torch.no_grad():
        item["pred"] = inferer(inputs=item["image"][None], network=network.eval())[0]
    torch.save(after(item)["pred"].as_tensor(), output / "deploy.pt")
    return {}


def main() -> None:
    """Open every door."""
    bundle, images, dataset, schema, output = map(Path, sys.argv[1:])
    found = {
        **infer(bundle, images, output),
        **train(bundle, dataset, output),
        **zoo(bundle, schema, output),
        **deploy(bundle, sorted(images.iterdir())[0], output),
    }
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
