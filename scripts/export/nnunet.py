#!/usr/bin/env python3
"""Writes the folds of a trained nnU-Net v2 as ONNX next to their checkpoints; it neither trains nor predicts.

    python3 nnunet.py FOLDER [--folds 0 1 2 | all] [--checkpoint checkpoint_final.pth]

FOLDER is a model (`nnUNetTrainer__nnUNetPlans__3d_fullres`, with plans.json, dataset.json and fold_N/) or the folder of
a dataset (`Dataset123_Name`), of which every model is written. Then `contourd import nnunet FOLDER -o DIR` has all it
needs. Written are, per model:

    fold_N/fold_N.onnx   input `image` [batch, channel, *patch], output `logits` [batch, head, *patch]; float32, the
                         batch is free, the patch is that of plans.json, axes are those after transpose_forward
    export.json          what only the checkpoint knows: configuration, trainer, the axes that may be mirrored; the
                         files with their digests, shapes, and how far onnxruntime is from torch

Channels of a cascade's second stage are the image's and then one per foreground label of the first stage.
Needs: nnunetv2, torch, onnx, onnxruntime.
"""

import argparse
import json
import os
import pathlib
import sys

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, ".")  # nnU-Net complains when they are missing; none of them is used here

import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

from write_onnx import write


def models_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folder itself if it is a model, else the models in it, by name."""
    if (folder / "plans.json").is_file():
        return [folder]
    found = sorted(file.parent for file in folder.glob("*__*__*/plans.json"))
    if not found:
        raise SystemExit(f"{folder}: found no plans.json, expected a model of nnU-Net v2 or a folder of models")
    return found


def folds_in(model: pathlib.Path, checkpoint: str) -> list[str]:
    """Names of folds that have the checkpoint: numbers ascending; `all` only when nothing else is there."""
    names = [file.parent.name.removeprefix("fold_") for file in model.glob(f"fold_*/{checkpoint}")]
    numbers = sorted((name for name in names if name.isdigit()), key=int)
    return numbers or [name for name in names if name == "all"]


def trainer_named(name: str, find=predict_from_raw_data.recursive_find_trainer_class_by_name):
    """The trainer's class, which builds the network. One that is not installed (TotalSegmentator has its own) most
    often changes training only; if it does change the network, loading the weights strictly fails."""
    try:
        found = find(name)
    except Exception:
        found = None
    if found is None:
        print(f"trainer {name} is not installed; the network is built by nnUNetTrainer", file=sys.stderr)
    return found or nnUNetTrainer


def export(model: pathlib.Path, folds: list[str] | None = None, checkpoint: str = "checkpoint_final.pth") -> dict:
    """Writes every fold of one model and export.json; returns what stands in it."""
    folds = folds or folds_in(model, checkpoint)
    if not folds:
        raise SystemExit(f"{model}: found no fold_*/{checkpoint}; name another with --checkpoint")
    predict_from_raw_data.recursive_find_trainer_class_by_name = trainer_named
    predictor = predict_from_raw_data.nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), tuple(folds), checkpoint)
    configuration = predictor.configuration_manager
    channels = determine_num_input_channels(predictor.plans_manager, configuration, predictor.dataset_json)
    # A seed makes the recorded difference the same in each run.
    example = torch.randn((1, channels, *configuration.patch_size), generator=torch.Generator().manual_seed(0))
    mirroring = predictor.allowed_mirroring_axes
    name = torch.load(model / f"fold_{folds[0]}" / checkpoint, map_location="cpu", weights_only=False)["init_args"][
        "configuration"
    ]
    known = {
        "configuration": name,
        "trainer": predictor.trainer_name,
        "inference_allowed_mirroring_axes": None if mirroring is None else [int(axis) for axis in mirroring],
    }
    files = []
    for fold, parameters in zip(folds, predictor.list_of_parameters):
        predictor.network.load_state_dict(parameters)
        path = model / f"fold_{fold}" / f"fold_{fold}.onnx"
        record = write(predictor.network, example, path, metadata=known | {"fold": fold})
        files.append({"fold": fold, **record, "file": f"fold_{fold}/{path.name}"})
        print(f"{path}: {path.stat().st_size} bytes, differs by {record['difference']:.1e}", file=sys.stderr)
    written = {"format": 1, "from": "nnunetv2", **known, "folds": files}
    (model / "export.json").write_text(json.dumps(written, indent=2) + "\n")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--folds", nargs="+", help="numbers, or `all` for the model that was trained on everything")
    parser.add_argument("--checkpoint", default="checkpoint_final.pth")
    arguments = parser.parse_args()
    for model in models_in(arguments.folder):
        export(model, arguments.folds, arguments.checkpoint)


if __name__ == "__main__":
    main()
