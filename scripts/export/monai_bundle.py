#!/usr/bin/env python3
"""Writes the network of a MONAI bundle as models/model.onnx; it does not run the bundle's transforms.

    python3 monai_bundle.py BUNDLE [--weights models/model.pt] [--config configs/inference.json] [--fixed-sides]

BUNDLE is a folder with configs/inference.json (or .yaml), configs/metadata.json and models/model.pt or model.ts. The
network is what `network_def` of the configuration describes, with the weights loaded strictly; a TorchScript file
(model.ts) is its own network. Then `contourd import monai BUNDLE -o DIR` has all it needs. Written are

    models/model.onnx    input `image` [batch, channel, side0, side1, side2] in the order of MONAI (x, y, z after the
                         bundle's orientation), output `pred` [batch, channel, ...]; float32, batch and sides free
    models/export.json   shapes, digest, and how far onnxruntime is from torch

Sides are tried free, with another size in onnxruntime; where the architecture fixes them (transformers with position
embeddings) the file has the sides of the sliding window. Free sides must still be what the network can halve.
A configuration is a program: `$` runs Python. Use it with bundles that you trust.
Needs: monai, torch, onnx, onnxruntime, and what the bundle itself asks for.
"""

import argparse
import json
import pathlib
import sys

import torch
from monai.bundle import ConfigParser

from write_onnx import write


def first_file(bundle: pathlib.Path, names) -> pathlib.Path:
    for name in names:
        if (bundle / name).is_file():
            return bundle / name
    raise SystemExit(f"{bundle}: found none of {', '.join(names)}")


def sides_of(metadata: dict, parser: ConfigParser) -> list[int]:
    """Numbers of metadata.json; where those are formulas or missing, the window of the inferer."""
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    shape = next(iter(inputs.values()), {}).get("spatial_shape", [])
    if shape and all(isinstance(side, int) and side > 0 for side in shape):
        return shape
    roi = parser.get("inferer::roi_size")
    if isinstance(roi, str):
        roi = parser.get_parsed_content("inferer::roi_size")
    if isinstance(roi, (list, tuple)) and all(isinstance(side, int) and side > 0 for side in roi):
        return list(roi)
    raise SystemExit(f"spatial_shape: found {shape or 'nothing'}, inferer::roi_size: found {roi}; give --sides")


def state_of(file: pathlib.Path) -> dict:
    """The state dictionary, also out of what training writes ({"model": ...}, {"state_dict": ...})."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict", "network"):
        if isinstance(state.get(key), dict):
            state = state[key]
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def export(bundle, weights=None, config=None, network_id="network_def", sides=None, fixed_sides=False) -> dict:
    bundle = pathlib.Path(bundle).resolve()
    config = config or first_file(bundle, ["configs/inference.json", "configs/inference.yaml"])
    metadata_file = first_file(bundle, ["configs/metadata.json"])
    weights = weights or first_file(bundle, ["models/model.pt", "models/model.ts"])
    sys.path.insert(0, str(bundle))  # networks of the bundle's own scripts/
    parser = ConfigParser()
    parser.read_config(str(config))
    parser.read_meta(str(metadata_file))
    parser["bundle_root"] = str(bundle)
    metadata = json.loads(metadata_file.read_text())
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    channels = next(iter(inputs.values()), {}).get("num_channels", 1)
    if str(weights).endswith(".ts"):
        network = torch.jit.load(str(weights), map_location="cpu")
    else:
        network = parser.get_parsed_content(network_id)
        network.load_state_dict(state_of(weights), strict=True)
    sides = sides or sides_of(metadata, parser)
    example = torch.rand((1, channels, *sides), generator=torch.Generator().manual_seed(0))
    path = bundle / "models" / "model.onnx"
    known = {"bundle": metadata.get("name", bundle.name), "version": metadata.get("version")}
    free = not fixed_sides
    try:
        record = write(network, example, path, ("image", "pred"), free_sides=free, metadata=known)
    except Exception as problem:
        if not free:
            raise
        print(f"{path}: sides cannot be free ({type(problem).__name__}), fixed to {sides}", file=sys.stderr)
        free, record = False, write(network, example, path, ("image", "pred"), metadata=known)
    written = {"format": 1, "from": "monai", **known, "free_sides": free, **record}
    path.with_name("export.json").write_text(json.dumps(written, indent=2) + "\n")
    print(f"{path}: {path.stat().st_size} bytes, differs by {record['difference']:.1e}", file=sys.stderr)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("--config", type=pathlib.Path)
    parser.add_argument("--network", default="network_def", help="id in the configuration")
    parser.add_argument("--sides", type=int, nargs="+", help="of the example; those of metadata.json if not given")
    parser.add_argument("--fixed-sides", action="store_true")
    found = parser.parse_args()
    export(found.bundle, found.weights, found.config, found.network, found.sides, found.fixed_sides)


if __name__ == "__main__":
    main()
