#!/usr/bin/env python3
"""Writes the nnU-Nets of a TotalSegmentator task as ONNX and tells which label of which is what; it predicts nothing.

    python3 totalsegmentator.py TASK [--mode default] [--weights FOLDER] [--out FILE]

TASK is what the option --task of TotalSegmentator takes (`total`, `total_mr`, `body`, ...), --mode is `default`, `fast`
or `fastest`. FOLDER holds the weights that TotalSegmentator downloaded (`Dataset291_...`); without it that is
$TOTALSEG_WEIGHTS_PATH, else ~/.totalsegmentator/nnunet/results. Every model of the task is written by nnunet.py, next to
its checkpoint. FILE, by default FOLDER/TASK.MODE.json, says:

    models    one per sub-model: its folder, its labels (name to label of that model), its ONNX files
    labels    name to the label of the whole task; later models win where two claim a voxel
    resample_mm, crop, ...   what TotalSegmentator does around nnU-Net for this task, as its table has it

TotalSegmentator first brings the image to RAS and to `resample_mm` (spline of order 1 or 3 by its version), runs nnU-Net
on that, and takes labels back by nearest. nnU-Net alone resamples only once, from the image to the plans' spacing, which
is the same number of mm: results agree within interpolation, not voxel by voxel.

Tables are those of the installed package (tried with TotalSegmentator 2.18); its licence and that of the weights (some
tasks need one) are the user's to keep. Needs: TotalSegmentator, and what nnunet.py needs.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import sys

import nnunet


def tables():
    """The package's own tables, map_tasks_config and map_to_binary: data only. They are loaded by their file, since
    this script has the package's name, and the package would import torch."""
    here = pathlib.Path(__file__).resolve().parent
    elsewhere = [path for path in sys.path if pathlib.Path(path).resolve() != here]
    package = importlib.machinery.PathFinder.find_spec("totalsegmentator", elsewhere)
    loaded = []
    for name in ("map_tasks_config", "map_to_binary"):
        file = pathlib.Path(package.submodule_search_locations[0], f"{name}.py") if package else pathlib.Path(name)
        if not file.is_file():
            raise SystemExit(f"{file}: not found; install TotalSegmentator (2.18 has it), its tables name tasks and labels")
        spec = importlib.util.spec_from_file_location(f"totalsegmentator_{name}", file)
        loaded.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(loaded[-1])
    return loaded


def weights_folder() -> pathlib.Path:
    named = os.environ.get("TOTALSEG_WEIGHTS_PATH")
    return pathlib.Path(named) if named else pathlib.Path.home() / ".totalsegmentator" / "nnunet" / "results"


def settings_of(task: str, mode: str, configurations) -> dict:
    """The row of the task, with the package's defaults; sub-modes stand within."""
    if task not in configurations.TASK_CONFIGS:
        raise SystemExit(f"task: found {task}, expected one of {', '.join(sorted(configurations.TASK_CONFIGS))}")
    row = configurations.TASK_CONFIGS[task]
    modes = row.get("sub_modes", {"default": row})
    if mode not in modes:
        raise SystemExit(f"mode: found {mode}, expected one of {', '.join(modes)} for {task}")
    return configurations.DEFAULT_CONFIG | {key: value for key, value in row.items() if key != "sub_modes"} | modes[mode]


def part_labels(dataset: int, task: str, binary) -> dict[str, int] | None:
    """Name to label of one sub-model, where the package splits the task into parts; None where it does not."""
    tables_of = {"ct": "class_map_5_parts", "ct_v3": "class_map_5_parts_total_v3"}
    for name, table in vars(binary).items():
        if name.startswith("map_taskid_to_partname") and dataset in table:
            kind = name.removeprefix("map_taskid_to_partname_")
            found = getattr(binary, tables_of.get(kind, f"class_map_parts_{kind}"), {})
            if table[dataset] in found:
                return {label: int(index) for index, label in found[table[dataset]].items()}
    return None


def model_folder(weights: pathlib.Path, dataset: int, settings: dict) -> pathlib.Path:
    """The one model of that dataset, with the trainer and configuration of the table where several lie there."""
    folders = sorted(weights.glob(f"Dataset{dataset:03d}_*"))
    if not folders:
        raise SystemExit(f"{weights}: found no Dataset{dataset:03d}_*; let TotalSegmentator download it")
    models = nnunet.models_in(folders[0])
    named = [model for model in models if model.name.startswith(f"{settings.get('trainer')}__")
             and model.name.endswith(f"__{settings['model']}")]
    if settings.get("plans"):
        named = [model for model in named if f"__{settings['plans']}__" in model.name] or named
    if len(named or models) != 1:
        raise SystemExit(f"{folders[0]}: found {[model.name for model in models]}, expected {settings.get('trainer')}")
    return (named or models)[0]


def export(task: str, mode="default", weights=None, out=None) -> dict:
    configurations, binary = tables()
    weights = pathlib.Path(weights or weights_folder())
    settings = settings_of(task, mode, configurations)
    ids = settings["task_id"] if isinstance(settings["task_id"], list) else [settings["task_id"]]
    whole = {label: int(index) for index, label in binary.class_map[task].items()}
    models = []
    for dataset in ids:
        model = model_folder(weights, dataset, settings)
        described = json.loads((model / "dataset.json").read_text())["labels"]
        labels = part_labels(dataset, task, binary) if len(ids) > 1 else dict(whole)
        if labels is None:
            labels = {name: label for name, label in described.items() if name != "background"}
        own = sorted(label for label in described.values() if label != 0)
        if sorted(labels.values()) != own:
            raise SystemExit(f"{model}: found labels {own}, expected {sorted(labels.values())} by the package's table")
        written = nnunet.export(model)
        models.append({"dataset": dataset, "folder": str(model.relative_to(weights)), "labels": labels,
                       "onnx": [fold["file"] for fold in written["folds"]]})
    around = ("resample", "crop", "crop_addon", "crop_model", "cascade", "remove_outside", "robust_crop", "modality")
    found = {"format": 1, "from": "totalsegmentator", "task": task, "mode": mode,
             **{("resample_mm" if key == "resample" else key): settings.get(key) for key in around},
             "labels": whole, "models": models}
    out = pathlib.Path(out or weights / f"{task}.{mode}.json")
    out.write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--mode", default="default")
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    found = parser.parse_args()
    export(found.task, found.mode, found.weights, found.out)


if __name__ == "__main__":
    main()
