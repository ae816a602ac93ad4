"""Cases of nnU-Net v2: a plans.json, random weights, an image, and the labels that nnUNetPredictor gives for it."""

import copy
import dataclasses
import json
import os
import pathlib
import pickle
import shutil
import types

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, ".")  # nnU-Net complains when they are missing; none of them is used here
os.environ["nnUNet_def_n_proc"] = "1"

import nibabel
import numpy as np
import SimpleITK
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing, determine_postprocessing
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

import compare
import nnunet
import phantoms

CHECKPOINT = "checkpoint_final.pth"
HU = {"mean": 30.0, "median": 25.0, "std": 180.0, "min": -1000.0, "max": 900.0,
      "percentile_00_5": -850.0, "percentile_99_5": 520.0}
SIMPLE = {"background": 0, "liver": 1, "kidney": 2}


def resampling(**changed) -> dict:
    """The keys that nnU-Net's default planner writes; `changed` overrides kwargs of all three."""
    kinds = {"data": (False, 3), "seg": (True, 1), "probabilities": (False, 1)}
    keys = {}
    for kind, (is_seg, order) in kinds.items():
        keys[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        kwargs = {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}
        keys[f"resampling_fn_{kind}_kwargs"] = kwargs | changed
    return keys


def torch_resampling() -> dict:
    keys = {}
    for kind in ("data", "seg", "probabilities"):
        keys[f"resampling_fn_{kind}"] = "resample_torch_fornnunet"
        keys[f"resampling_fn_{kind}_kwargs"] = {
            "is_seg": kind == "seg", "force_separate_z": None, "memefficient_seg_resampling": False}
    return keys


@dataclasses.dataclass
class Case:
    """Sizes and spacings of the image are [x, y, z]; those of plans are in the network's order, as in plans.json."""

    name: str
    proves: str
    target: list
    patch: list
    shape: tuple = (40, 36, 24)
    spacing: tuple = (1.25, 1.25, 2.0)
    kinds: tuple = ("ct",)
    schemes: tuple = ("CTNormalization",)
    masked: tuple | None = None
    labels: dict = dataclasses.field(default_factory=lambda: dict(SIMPLE))
    regions: list | None = None
    transpose: tuple = (0, 1, 2)
    configuration: str = "3d_fullres"
    residual: bool = False
    resampling: dict = dataclasses.field(default_factory=resampling)
    folds: tuple = (0,)
    step: float = 0.5
    mirror: tuple | None = None
    lowres: tuple | None = None  # target spacing and patch of the first stage
    postprocess: bool = False
    reader: str = "SimpleITKIO"
    affine: np.ndarray | None = None
    strides: tuple = (2, 2, 2)
    seed: int = 0  # added to the seed of the name, where that leaves a class empty
    small: bool = False


def architecture(case: Case) -> dict:
    flat = case.configuration == "2d"
    dimension = "2d" if flat else "3d"
    strides = list(case.strides[1:] if flat else case.strides)
    kwargs = {
        "n_stages": 2, "features_per_stage": [4, 8], "conv_op": f"torch.nn.modules.conv.Conv{dimension}",
        "kernel_sizes": [[3] * len(strides)] * 2, "strides": [[1] * len(strides), strides],
        ("n_blocks_per_stage" if case.residual else "n_conv_per_stage"): [1, 1], "n_conv_per_stage_decoder": [1],
        "conv_bias": True, "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }
    kind = "ResidualEncoderUNet" if case.residual else "PlainConvUNet"
    return {"network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}", "arch_kwargs": kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}


def plans(case: Case) -> dict:
    """plans.json as nnU-Net's planner lays it out, cascades with inheritance."""
    masked = list(case.masked or [False] * len(case.kinds))
    base = {"preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "normalization_schemes": list(case.schemes),
            "use_mask_for_norm": masked, **copy.deepcopy(case.resampling), "batch_dice": False}
    grid = [case.shape[2 - axis] for axis in case.transpose]

    def configuration(name, target, patch):
        return {"data_identifier": f"nnUNetPlans_{name}", **base, "patch_size": list(patch),
                "median_image_size_in_voxels": [float(side) for side in grid[-len(patch):]],
                "spacing": [float(side) for side in target], "architecture": architecture(case)}

    configurations = {}
    if case.lowres:
        configurations["3d_lowres"] = configuration("3d_lowres", *case.lowres) | {"next_stage": "3d_cascade_fullres"}
        configurations["3d_fullres"] = configuration("3d_fullres", case.target, case.patch)
        configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    else:
        configurations[case.configuration] = configuration(case.configuration, case.target, case.patch)
    channels = {str(index): HU for index in range(len(case.kinds))}
    return {"dataset_name": "Dataset900_Oracle", "plans_name": "nnUNetPlans",
            "original_median_spacing_after_transp": [float(case.spacing[2 - axis]) for axis in case.transpose],
            "original_median_shape_after_transp": grid, "image_reader_writer": case.reader,
            "transpose_forward": list(case.transpose),
            "transpose_backward": [case.transpose.index(axis) for axis in range(3)], "configurations": configurations,
            "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": channels}


def dataset(case: Case) -> dict:
    names = {str(index): kind.upper() for index, kind in enumerate(case.kinds)}
    described = {"channel_names": names, "labels": case.labels, "numTraining": 1, "file_ending": ".nii.gz"}
    return described | ({"regions_class_order": case.regions} if case.regions else {})


def preprocessed(case, manager, configuration, described, files, previous) -> np.ndarray:
    """What nnU-Net's own preprocessor gives to the network, one-hot of the previous stage included."""
    data, seg, _ = configuration.preprocessor_class(verbose=False).run_case(
        [str(file) for file in files], previous and str(previous), manager, configuration, described)
    if previous:
        foreground = manager.get_label_manager(described).foreground_labels
        data = np.vstack((data, convert_labelmap_to_one_hot(seg[0], foreground, data.dtype)))
    return data


def train(case: Case, name: str, model: pathlib.Path, files, previous, seed: int) -> None:
    """A model folder as nnU-Net's trainer leaves it, with random weights instead of learned ones."""
    model.mkdir(parents=True)
    written, described = plans(case), dataset(case)
    (model / "plans.json").write_text(json.dumps(written, indent=2) + "\n")
    (model / "dataset.json").write_text(json.dumps(described, indent=2) + "\n")
    manager = PlansManager(written)
    configuration = manager.get_configuration(name)
    heads = manager.get_label_manager(described).num_segmentation_heads
    channels = determine_num_input_channels(manager, configuration, described)
    data = torch.from_numpy(preprocessed(case, manager, configuration, described, files, previous))
    data = pad_nd_image(data, configuration.patch_size)
    sides = configuration.patch_size
    starts = [[0, (whole - side) // 2, whole - side] for whole, side in zip(data.shape[-len(sides):], sides)]
    windows = [tuple(slice(start, start + side) for start, side in zip(corner, sides)) for corner in zip(*starts)]
    stack = data[:, data.shape[1] // 2] if len(sides) == 2 else data
    patches = torch.stack([stack[(slice(None), *window)] for window in windows]).float()
    for fold in case.folds:
        network = get_network_from_plans(
            configuration.network_arch_class_name, configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import, channels, heads, deep_supervision=False).eval()
        phantoms.fill_with_random_weights(network, seed + 100 * fold)
        phantoms.spread_logits(network, network.decoder.seg_layers[-1], patches, 6.0, None if case.regions else 0.5)
        (model / f"fold_{fold}").mkdir()
        torch.save({"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
                    "init_args": {"configuration": name}, "inference_allowed_mirroring_axes": case.mirror},
                   model / f"fold_{fold}" / CHECKPOINT)


def predict(case: Case, model, files, out: pathlib.Path, previous: pathlib.Path | None, module=predict_from_raw_data,
            gaussian=True):
    """nnUNetPredictor, from files to a file."""
    out.mkdir(parents=True, exist_ok=True)
    predictor = module.nnUNetPredictor(
        tile_step_size=case.step, use_gaussian=gaussian, use_mirroring=case.mirror is not None,
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), case.folds, CHECKPOINT)
    predictor.predict_from_files_sequential(
        [[str(file) for file in files]], [str(out / "image")],
        folder_with_segs_from_prev_stage=previous and str(previous.parent))
    return predictor, out / "image.nii.gz"


def with_float32_sums():
    """The predictor's module with float32 where it sums in half: tells how far a program may be that does not round.
    It has no part in what is expected."""
    source = pathlib.Path(predict_from_raw_data.__file__).read_text()
    assert source.count("torch.half") == 2, "the predictor sums in another way; look at it again"
    module = types.ModuleType("float32_sums")
    exec(compile(source.replace("torch.half", "torch.float32"), "float32_sums", "exec"), module.__dict__)
    return module


def controls(case: Case, model, files, scratch: pathlib.Path, previous, expected) -> dict:
    """Least Dice of nnU-Net when it is told something else: shows what the case would notice. 1.0 is no difference."""
    found = {}

    def run(name, changed=case, prior=previous, gaussian=True, plan=lambda configuration: None):
        other = scratch / f"{case.name}-control"
        shutil.copytree(model, other)
        text = json.loads((other / "plans.json").read_text())
        for configuration in text["configurations"].values():
            if "inherits_from" not in configuration:
                plan(configuration)
        (other / "plans.json").write_text(json.dumps(text))
        file = predict(changed, other, files, scratch / f"{case.name}-control-out", prior, gaussian=gaussian)[1]
        found[name] = round(min(compare.dice(expected, labels_of(file)).values()), 4)
        shutil.rmtree(other)

    run("no Gaussian weights", gaussian=False)
    if "order" in case.resampling["resampling_fn_data_kwargs"]:
        run("image resampled by order 1", plan=lambda found: found["resampling_fn_data_kwargs"].update(order=1))
    else:
        run("the default functions of resampling", plan=lambda found: found.update(resampling()))
    separate = case.resampling["resampling_fn_data_kwargs"]["force_separate_z"]
    separate = max(case.target) / min(case.target) > 3 if separate is None else separate
    run("separate z the other way", plan=lambda found: [
        found[f"resampling_fn_{kind}_kwargs"].update(force_separate_z=not separate) for kind in ("data", "probabilities")])
    if case.mirror is not None:
        run("no mirroring", dataclasses.replace(case, mirror=None))
    if len(case.folds) > 1:
        run("first fold only", dataclasses.replace(case, folds=case.folds[:1]))
    if case.step != 0.5:
        run("tile step size 0.5", dataclasses.replace(case, step=0.5))
    if any(case.masked or ()):
        run("statistics without mask", plan=lambda found: found.update(use_mask_for_norm=[False] * len(case.kinds)))
    if previous:
        nothing = scratch / f"{case.name}-nothing" / "image.nii.gz"
        nothing.parent.mkdir()
        original = nibabel.load(str(previous))
        phantoms.save(np.zeros(original.shape, np.uint8), original.affine, nothing)
        run("previous stage empty", prior=nothing)
    return found


def labels_of(file) -> np.ndarray:
    """A label map on the axes of the file, [x, y, z]."""
    return np.ascontiguousarray(np.asarray(nibabel.load(str(file)).dataobj)).astype(np.uint8)


def learn_postprocessing(case: Case, model: pathlib.Path, prediction: pathlib.Path, affine) -> pathlib.Path:
    """nnU-Net's own choice: it keeps what raises Dice with a reference, here each label's largest component."""
    results = model / "crossval_results_folds_0"
    reference = results.with_name("reference")
    for folder in (results, reference):
        folder.mkdir()
    shutil.copy(prediction, results / "image.nii.gz")
    labels = labels_of(prediction)
    kept = np.zeros_like(labels)
    for label in (value for key, value in case.labels.items() if key != "background"):
        parts = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(
            SimpleITK.GetImageFromArray((labels == label).astype(np.uint8)), True))
        kept[SimpleITK.GetArrayFromImage(parts) == 1] = label
    phantoms.save(kept, affine, reference / "image.nii.gz")
    determine_postprocessing(str(results), str(reference), str(model / "plans.json"), str(model / "dataset.json"),
                             num_processes=1, keep_postprocessed_files=False)
    shutil.rmtree(reference)
    return results


def one_patch(predictor, data: np.ndarray, folder: pathlib.Path, network) -> dict:
    """patch_in.npy and patch_out.npy: the middle one of nnU-Net's own windows, through the first fold, not mirrored."""
    sides = predictor.configuration_manager.patch_size
    padded = pad_nd_image(torch.from_numpy(data), sides, "constant", {"value": 0})
    slicers = predictor._internal_get_sliding_window_slicers(padded.shape[1:])
    number = len(slicers) // 2
    window = padded[slicers[number]][None].float()
    with torch.no_grad():
        logits = network(window)
    np.save(folder / "patch_in.npy", window.numpy())
    np.save(folder / "patch_out.npy", logits.numpy())
    start = [part if isinstance(part, int) else part.start for part in slicers[number][1:]]
    return {"preprocessed_shape": list(data.shape), "padded_shape": list(padded.shape), "windows": len(slicers),
            "window": number, "start": [int(part) for part in start]}


def make(case: Case, out: pathlib.Path, scratch: pathlib.Path, seed: int) -> dict:
    """Writes one case into `out`; `scratch` gets the checkpoints, which are not kept."""
    seed += case.seed
    out.mkdir(parents=True)
    affine = phantoms.lps_affine(case.spacing) if case.affine is None else case.affine
    files = []
    for index, kind in enumerate(case.kinds):
        files.append(out / f"image_{index:04d}.nii.gz")
        phantoms.save(phantoms.image(case.shape, seed + 7 * index, kind), affine, files[-1])
    results, previous, stages = scratch / case.name, None, []
    name = "3d_cascade_fullres" if case.lowres else case.configuration
    if case.lowres:
        model = results / "nnUNetTrainer__nnUNetPlans__3d_lowres"
        train(case, "3d_lowres", model, files, None, seed + 1)
        previous = predict(case, model, files, scratch / f"{case.name}-lowres", None)[1]
        stages.append(model)
    model = results / f"nnUNetTrainer__nnUNetPlans__{name}"
    train(case, name, model, files, previous, seed)
    stages.append(model)

    predictor, prediction = predict(case, model, files, scratch / f"{case.name}-out", previous)
    low = predict(case, stages[0], files, scratch / f"{case.name}-low32", None, with_float32_sums())[1] \
        if case.lowres else None
    float32 = labels_of(predict(case, model, files, scratch / f"{case.name}-out32", low, with_float32_sums())[1])
    expected, post = labels_of(prediction), None
    noticed = controls(case, model, files, scratch, previous, expected)
    if case.postprocess:
        phantoms.save(expected, affine, out / "expected_before_post.nii.gz")
        post = learn_postprocessing(case, model, prediction, affine)
        functions, kwargs = pickle.loads((post / "postprocessing.pkl").read_bytes())
        # nnU-Net's axes are [z, y, x]; components do not depend on it.
        expected = apply_postprocessing(expected, functions, kwargs)
        float32 = apply_postprocessing(float32, functions, kwargs)
        (post / "image.nii.gz").unlink()
        assert functions, "the reference made nnU-Net choose nothing"
    phantoms.save(expected, affine, out / "expected.nii.gz")
    if case.lowres:
        phantoms.save(labels_of(previous), affine, out / "expected_lowres.nii.gz")

    kept = out / "input"
    for stage in stages:
        nnunet.export(stage, checkpoint=CHECKPOINT)
    shutil.copytree(results, kept, ignore=shutil.ignore_patterns("*.pth", "*.pkl", "summary.json"))
    described = dataset(case)
    data = preprocessed(case, predictor.plans_manager, predictor.configuration_manager, described, files, previous)
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    patch = one_patch(predictor, data, out, predictor.network)
    voxels = {str(int(label)): int((expected == label).sum()) for label in np.unique(expected)}
    dice = compare.dice(expected, float32)
    record = {
        "kind": "nnunet", "proves": case.proves, "model": f"input/{model.name}", "configuration": name,
        "folds": [str(fold) for fold in case.folds], "tile_step_size": case.step, "use_gaussian": True,
        "use_mirroring": case.mirror is not None, "mirroring_axes": case.mirror,
        "images": [file.name for file in files], "previous_stage": f"input/{stages[0].name}" if case.lowres else None,
        "postprocessing": f"input/{model.name}/{post.name}/postprocessing.json" if post else None,
        "expected_voxels": voxels, "patch": patch,
        "float32_sums": {"dice": {str(key): round(value, 5) for key, value in dice.items()},
                         "differing_voxels": int((expected != float32).sum())},
        "controls": noticed,
        "tolerance": {"patch": 1e-3, "differing_voxels": 10 + 3 * int((expected != float32).sum()),
                      "dice": round(np.floor(1000 * min(dice.values()) - 3) / 1000, 3)},
    }
    (out / "case.json").write_text(json.dumps(record, indent=2) + "\n")
    return record


REORIENTED = np.array([[0, 0, -2.2, 50], [1.3, 0, 0, -20], [0, -1.6, 0, 70], [0, 0, 0, 1.0]])
ISO, PATCH = [1.5, 1.5, 1.5], [12, 16, 16]
MR = dict(kinds=("mr",), schemes=("ZScoreNormalization",))
CASES = [
    Case("nnunet_isotropic", "Cubic resampling of all axes at once, CT normalisation, overlapping Gaussian windows, "
         "linear resampling of logits back.", ISO, PATCH, small=True),
    Case("nnunet_anisotropic", "Separate z: cubic in the plane, nearest along z, also on the way back.",
         [4.0, 1.2, 1.2], [8, 16, 16], spacing=(0.9, 0.9, 5.0), shape=(44, 40, 16), strides=(1, 2, 2)),
    Case("nnunet_smaller_than_patch", "Padding on every axis with the odd voxel on the high side, one window; ZScore "
         "without mask.", [2.0, 1.5, 1.5], [16, 32, 32], shape=(23, 21, 11), spacing=(1.6, 1.4, 2.2),
         schemes=("ZScoreNormalization",)),
    Case("nnunet_crop_nonzero", "Crop to non-zero with a filled hole, ZScore within that mask, labels put back at the "
         "box.", ISO, PATCH, masked=(True,), small=True, **MR),
    Case("nnunet_transpose_102", "transpose_forward [1, 0, 2]: plans, spacing and patch in the transposed order.",
         [1.4, 2.0, 1.3], [16, 12, 16], transpose=(1, 0, 2)),
    Case("nnunet_transpose_201", "transpose_forward [2, 0, 1], with separate z along an axis that is moved.",
         [1.1, 4.0, 1.2], [16, 8, 16], transpose=(2, 0, 1), spacing=(1.0, 1.0, 4.5), shape=(38, 42, 15),
         strides=(2, 1, 2), small=True),
    Case("nnunet_mirroring", "Mean over the eight mirrored inputs.", ISO, PATCH, mirror=(0, 1, 2)),
    Case("nnunet_mirroring_two_axes", "Two folds, each the mean over four mirrored inputs; the axes are those of the "
         "transposed patch.", [1.4, 2.0, 1.3], [16, 12, 16], transpose=(1, 0, 2), mirror=(0, 2), folds=(0, 1),
         small=True),
    Case("nnunet_two_folds", "Mean of logits of two folds, before resampling.", ISO, PATCH, folds=(0, 1)),
    Case("nnunet_2d", "2d configuration: slices stay, windows in the plane.", [1.6, 1.4], [16, 20],
         configuration="2d", shape=(40, 36, 13), spacing=(1.1, 1.2, 3.0), small=True),
    Case("nnunet_cascade", "3d_lowres, its labels on the image's grid, one-hot into 3d_cascade_fullres (which inherits).",
         ISO, PATCH, lowres=([2.6, 2.6, 2.6], [8, 8, 8]), small=True),
    Case("nnunet_step_size", "tile_step_size 0.75: fewer windows, starts rounded half to even.", [1.3, 1.3, 1.3], PATCH,
         step=0.75),
    Case("nnunet_residual_encoder", "ResidualEncoderUNet, tile_step_size 0.3.", ISO, PATCH, residual=True, step=0.3),
    Case("nnunet_two_channels", "Two channels with schemes of their own (ZScore in the mask, and CT); the mask is the "
         "union of both, here everything.", ISO, PATCH, kinds=("mr", "ct"), schemes=("ZScoreNormalization", "CTNormalization"),
         masked=(True, False), seed=1),
    Case("nnunet_other_schemes", "RescaleTo01, NoNormalization, RGBTo01 on three channels.", ISO, PATCH,
         kinds=("ct", "unit", "rgb"),
         schemes=("RescaleTo01Normalization", "NoNormalization", "RGBTo01Normalization")),
    Case("nnunet_regions", "Overlapping regions: sigmoid above 0.5, painted in regions_class_order; with an ignore "
         "label that has no head.", ISO, PATCH,
         labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
         regions=[1, 2, 3], seed=1, small=True, **MR),
    Case("nnunet_regions_order", "regions_class_order that is not ascending: later heads overwrite.", ISO, PATCH,
         labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, regions=[3, 1, 2]),
    Case("nnunet_ignore", "An ignore label among plain labels: one head less than labels.", ISO, PATCH,
         labels=SIMPLE | {"spleen": 3, "ignore": 4}),
    Case("nnunet_postprocessing", "postprocessing.json that nnU-Net determined itself; expected_before_post.nii.gz is "
         "without it.", ISO, PATCH, postprocess=True),
    Case("nnunet_force_separate_z", "force_separate_z true and order_z 1 in all kwargs, at a mild anisotropy.",
         [1.5, 1.3, 1.3], PATCH, resampling=resampling(force_separate_z=True, order_z=1)),
    Case("nnunet_force_not_separate", "force_separate_z false at a strong anisotropy.", [4.0, 1.2, 1.2], [8, 16, 16],
         spacing=(0.9, 0.9, 5.0), shape=(44, 40, 16), strides=(1, 2, 2), resampling=resampling(force_separate_z=False)),
    Case("nnunet_torch_resampling", "resample_torch_fornnunet for data and logits: no spline, no half logits.",
         ISO, PATCH, resampling=torch_resampling()),
    Case("nnunet_torch_resampling_separate", "resample_torch_fornnunet with separate z.", [4.0, 1.2, 1.2], [8, 16, 16],
         spacing=(0.9, 0.9, 5.0), shape=(44, 40, 16), strides=(1, 2, 2), resampling=torch_resampling()),
    Case("nnunet_reoriented", "NibabelIOWithReorient: an image whose axes are permuted and flipped comes to RAS first.",
         ISO, PATCH, reader="NibabelIOWithReorient", affine=REORIENTED, spacing=(1.3, 1.6, 2.2)),
]
