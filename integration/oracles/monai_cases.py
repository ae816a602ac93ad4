"""Cases of MONAI: a bundle in its real layout, random weights, an image, and the labels that its transforms give."""

import dataclasses
import json
import pathlib
import shutil

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch
from monai.data.utils import dense_patch_slices, list_data_collate
from monai.inferers.utils import _get_scan_interval

import monai_bundle
import phantoms

UNET = {"_target_": "UNet", "spatial_dims": 3, "channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "batch"}
SEGRESNET = {"_target_": "SegResNet", "spatial_dims": 3, "init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1],
             "norm": ["GROUP", {"num_groups": 2}]}


def step(target: str, keys="@image_key", **values) -> dict:
    return {"_target_": target, "keys": keys, **values}


def ras(*pixdim, mode="bilinear", **values) -> list:
    return [step("Orientationd", axcodes="RAS"), step("Spacingd", pixdim=list(pixdim), mode=mode, **values)]


def window(low, high) -> dict:
    return step("ScaleIntensityRanged", a_min=low, a_max=high, b_min=0, b_max=1, clip=True)


def invert(nearest=False) -> dict:
    return step("Invertd", "pred", transform="@preprocessing", orig_keys="@image_key", nearest_interp=nearest,
                to_tensor=True)


SOFTMAX, SIGMOID = step("Activationsd", "pred", softmax=True), step("Activationsd", "pred", sigmoid=True)
ARGMAX, THRESHOLD = step("AsDiscreted", "pred", argmax=True), step("AsDiscreted", "pred", threshold=0.5)
LPS = phantoms.lps_affine((1.25, 1.25, 2.25))
PERMUTED = np.array([[0, 0, 2.2, -20], [-1.3, 0, 0, 40], [0, 1.6, 0, -35], [0, 0, 0, 1.0]])  # z, x, y of the body; PSR
TURN = np.radians(12)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0, -28], [np.sin(TURN), np.cos(TURN), 0, 33], [0, 0, 1, -12],
                    [0, 0, 0, 1.0]]) @ np.diag([1.3, -1.3, 2.2, 1])


@dataclasses.dataclass
class Case:
    """`pre` stands after LoadImaged and EnsureChannelFirstd, `post` before SaveImaged."""

    name: str
    proves: str
    pre: list
    post: list = dataclasses.field(default_factory=lambda: [SOFTMAX, invert(), ARGMAX])
    roi: tuple | None = (20, 20, 12)  # None: the whole image at once
    inferer: dict = dataclasses.field(default_factory=lambda: {"overlap": 0.5})
    network: dict = dataclasses.field(default_factory=lambda: UNET)
    shape: tuple = (40, 36, 24)
    affine: np.ndarray = dataclasses.field(default_factory=lambda: LPS)
    kinds: tuple = ("ct",)
    labels: tuple = ("background", "liver", "kidney")
    overlapping: bool = False
    seed: int = 0
    small: bool = False


def configuration(case: Case) -> dict:
    """configs/inference.json with the entries that bundles of the model zoo have."""
    load = [step("LoadImaged"), step("EnsureChannelFirstd")]
    save = step("SaveImaged", "pred", output_dir="@output_dir", output_postfix="seg", separate_folder=False)
    inferer = {"_target_": "SimpleInferer"} if case.roi is None else {
        "_target_": "SlidingWindowInferer", "roi_size": list(case.roi), "sw_batch_size": 4, **case.inferer}
    network = case.network | {"in_channels": len(case.kinds), "out_channels": len(case.labels)}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/data/images",
        "datalist": "$list(sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz'))))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*load, *case.pre, step("EnsureTyped")]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]",
                    "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
                       "num_workers": 0},
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": [*case.post, save]},
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
                      "load_dict": {"model": "@network"}}],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
                      "val_handlers": "@handlers", "amp": False},
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


def metadata(case: Case) -> dict:
    """configs/metadata.json as the bundle schema asks for it."""
    sides = list(case.roi or (32, 32, 16))
    modality = "CT" if "ct" in case.kinds else "MR"
    image = {"type": "image", "format": "hounsfield" if modality == "CT" else "magnitude", "modality": modality,
             "num_channels": len(case.kinds), "spatial_shape": sides, "dtype": "float32", "value_range": [0, 1],
             "is_patch_data": case.roi is not None,
             "channel_def": {str(index): f"image{index}" for index in range(len(case.kinds))}}
    pred = {"type": "image", "format": "segmentation", "num_channels": len(case.labels), "spatial_shape": sides,
            "dtype": "float32", "value_range": [0, 1], "is_patch_data": case.roi is not None,
            "channel_def": {str(index): label for index, label in enumerate(case.labels)}}
    return {"version": "0.1.0", "changelog": {"0.1.0": "random weights"}, "monai_version": "1.6.1",
            "pytorch_version": "2.8.0", "numpy_version": "2.3.5", "name": case.name, "task": "segmentation",
            "description": case.proves, "authors": "contourd", "copyright": "none",
            "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}


def last_convolution(network, patches):
    """The one that is called last: it makes the logits."""
    called = []
    hooks = [module.register_forward_hook(lambda module, inputs, output: called.append(module))
             for module in network.modules() if isinstance(module, torch.nn.modules.conv._ConvNd)]
    with torch.no_grad():
        network(patches)
    for hook in hooks:
        hook.remove()
    return called[-1]


def know_batches(network, patches) -> None:
    """Gives batch norms the statistics that training would have left."""
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # a plain mean
    network.train()
    with torch.no_grad():
        network(patches)
    network.eval()


def read(bundle: pathlib.Path, out: pathlib.Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser["bundle_root"], parser["output_dir"] = str(bundle), str(out)
    return parser


class Seen(torch.nn.Module):
    """The network, with its windows and outputs kept in order."""

    def __init__(self, network):
        super().__init__()
        self.network, self.inputs, self.outputs = network, [], []

    def forward(self, windows):
        out = self.network(windows)
        self.inputs.extend(windows.as_tensor() if hasattr(windows, "as_tensor") else windows)
        # A copy: the inferer multiplies the output by its weights in place.
        self.outputs.extend((out.as_tensor() if hasattr(out, "as_tensor") else out).clone())
        return out


def evaluate(parser: ConfigParser, files):
    """What SupervisedEvaluator does with one image: transforms, batch of one, inferer, transforms of the result."""
    network = Seen(parser.get_parsed_content("network_def").eval())
    images = [str(file) for file in files]
    data = parser.get_parsed_content("preprocessing")({"image": images if len(images) > 1 else images[0]})
    batch = list_data_collate([data])
    with torch.no_grad():
        batch["pred"] = parser.get_parsed_content("inferer")(batch["image"], network)
    for item in decollate_batch(batch):
        parser.get_parsed_content("postprocessing")(item)
    return network, data["image"]


def where(case: Case, shape, number: int) -> list[int]:
    """First voxel of window `number` in the padded image, from MONAI's own list of windows."""
    roi = [side if side > 0 else whole for side, whole in zip(case.roi, shape)]
    padded = [max(side, whole) for side, whole in zip(roi, shape)]
    overlap = case.inferer["overlap"]
    interval = _get_scan_interval(padded, roi, 3, overlap if isinstance(overlap, (list, tuple)) else [overlap] * 3)
    return [int(part.start) for part in dense_patch_slices(padded, roi, interval)[number]]


def make(case: Case, out: pathlib.Path, scratch: pathlib.Path, seed: int) -> dict:
    """Writes one case into `out`; `scratch` gets the weights and what SaveImaged writes."""
    seed += case.seed
    out.mkdir(parents=True)
    files = []
    for index, kind in enumerate(case.kinds):
        files.append(out / f"image_{index:04d}.nii.gz")
        phantoms.save(phantoms.image(case.shape, seed + 7 * index, kind), case.affine, files[-1])
    bundle = scratch / "bundle"
    for folder in ("configs", "models"):
        (bundle / folder).mkdir(parents=True)
    (bundle / "configs" / "inference.json").write_text(json.dumps(configuration(case), indent=2) + "\n")
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata(case), indent=2) + "\n")

    parser = read(bundle, scratch / "first")
    network = parser.get_parsed_content("network_def").eval()
    phantoms.fill_with_random_weights(network, seed)
    seen = evaluate(parser, files)[0]  # a first time, to see what windows the network gets
    patches = torch.stack(seen.inputs[:: max(1, len(seen.inputs) // 16)])
    know_batches(network, patches)
    last = last_convolution(network, patches)
    phantoms.spread_logits(network, last, patches, 6.0, None if case.overlapping else 0.5)
    torch.save(network.state_dict(), bundle / "models" / "model.pt")

    parser = read(bundle, scratch / "second")
    parser.get_parsed_content("network_def").load_state_dict(torch.load(bundle / "models" / "model.pt"))
    seen, image = evaluate(parser, files)
    saved = nibabel.load(str(next((scratch / "second").glob("*.nii.gz"))))
    assert np.allclose(saved.affine, case.affine, atol=1e-4) and saved.shape[:3] == case.shape, "not on the image's grid"
    expected = np.asarray(saved.dataobj).astype(np.uint8)
    phantoms.save(expected, case.affine, out / "expected.nii.gz")

    monai_bundle.export(bundle)
    shutil.copytree(bundle, out / "input", ignore=shutil.ignore_patterns("*.pt", "eval"))
    number = len(seen.inputs) // 2
    np.save(out / "patch_in.npy", seen.inputs[number][None].numpy())
    np.save(out / "patch_out.npy", seen.outputs[number][None].numpy())
    if expected.ndim == 4:
        voxels = {str(channel): int(expected[..., channel].sum()) for channel in range(expected.shape[3])}
    else:
        voxels = {str(int(label)): int((expected == label).sum()) for label in np.unique(expected)}
    record = {
        "kind": "monai", "proves": case.proves, "model": "input", "configuration": "configs/inference.json",
        "images": [file.name for file in files], "overlapping": expected.ndim == 4, "expected_voxels": voxels,
        "patch": {"preprocessed_shape": list(image.shape), "windows": len(seen.inputs), "window": number,
                  "start": where(case, image.shape[1:], number) if case.roi else [0, 0, 0]},
        # No trap of rounding here: up to three voxels of the smallest structure may lie on the other side of a border.
        "tolerance": {"patch": 1e-3, "differing_voxels": 10, "dice": round(np.floor(
            1000 * min(0.998, 1 - 3 / min(voxels.values()))) / 1000, 3)},
    }
    (out / "case.json").write_text(json.dumps(record, indent=2) + "\n")
    return record


CROP = step("CropForegroundd", source_key="@image_key", margin=[3, 2, 1], k_divisible=[4, 4, 1])
MR = dict(kinds=("mr",))
# With NONZERO and CROP the spacing is odd, so that no new voxel lies on an old one: NOTES.md, 2.3, tells why.
NONZERO = step("NormalizeIntensityd", nonzero=True, channel_wise=True)
CASES = [
    Case("monai_spleen", "The order of the spleen bundle: RAS, spacing, window of HU, constant blending, softmax, "
         "probabilities back by linear interpolation, argmax.", [*ras(1.5, 1.5, 2.0), window(-157, 264)],
         roi=(16, 16, 16), labels=("background", "spleen"), small=True),
    Case("monai_gaussian", "Gaussian weights with odd overlap, SegResNet, orientation LPS (nothing to flip).",
         [step("Orientationd", axcodes="LPS"), step("Spacingd", pixdim=[1.6, 1.6, 1.6], mode="bilinear"),
          window(-500, 500)], inferer={"overlap": 0.6, "mode": "gaussian"}, network=SEGRESNET, small=True),
    Case("monai_permuted", "An image whose axes are permuted and flipped comes to RAS and goes back.",
         [*ras(1.5, 1.7, 1.9), window(-500, 500)], affine=PERMUTED, seed=1, small=True),
    Case("monai_oblique", "An image turned by 12 degrees: spacing follows its own axes.",
         [*ras(1.6, 1.6, 1.8), window(-500, 500)], affine=OBLIQUE, seed=2),
    Case("monai_coarser_and_finer", "Spacing 0.9 x 2.1 x 3.0: sizes round, the far end is clamped.",
         [*ras(0.9, 2.1, 3.0), window(-500, 500)], roi=(24, 12, 8)),
    Case("monai_crop_foreground", "CropForeground with margin and k_divisible that leave the image, SpatialPad with an "
         "odd voxel, both undone with zeros.", [*ras(1.37, 1.43, 1.9), CROP, step("SpatialPadd", spatial_size=[29, 21, 27]),
                                                 NONZERO], small=True, **MR),
    Case("monai_normalize_two_channels", "NormalizeIntensity of non-zero voxels per channel, two images.",
         [*ras(1.37, 1.43, 1.9), NONZERO], kinds=("mr", "unit")),
    Case("monai_normalize_all", "NormalizeIntensity over all voxels of both channels together.",
         [*ras(1.5, 1.5, 2.0), step("NormalizeIntensityd")], kinds=("unit", "unit")),
    Case("monai_scale_all", "ScaleIntensity by the lowest and highest value of both channels.",
         [*ras(1.5, 1.5, 2.0), step("ScaleIntensityd", minv=-1.0, maxv=2.0)], kinds=("mr", "unit")),
    Case("monai_percentiles", "ScaleIntensityRangePercentiles 2 to 98, clipped.",
         [*ras(1.5, 1.5, 2.0), step("ScaleIntensityRangePercentilesd", lower=2, upper=98, b_min=-1, b_max=1, clip=True)]),
    Case("monai_largest_component", "KeepLargestConnectedComponent and FillHoles on the label map.",
         [*ras(1.5, 1.5, 2.0), window(-500, 500)],
         [SOFTMAX, invert(), ARGMAX, step("KeepLargestConnectedComponentd", "pred", applied_labels=[1, 2]),
          step("FillHolesd", "pred", applied_labels=[1, 2])]),
    Case("monai_smaller_than_roi", "An image smaller than the window, padded by replication, the odd voxel high.",
         [*ras(2.0, 2.0, 2.0), window(-500, 500)], shape=(23, 21, 11), affine=phantoms.lps_affine((1.9, 1.9, 2.1)),
         roi=(32, 32, 16), inferer={"overlap": 0.25, "padding_mode": "replicate"}),
    Case("monai_overlapping_labels", "Sigmoid and threshold per channel (brain tumour order), SegResNet, 4-D result.",
         [*ras(1.37, 1.43, 1.9), NONZERO], [SIGMOID, invert(), THRESHOLD], kinds=("mr", "mr"), network=SEGRESNET,
         labels=("core", "whole", "enhancing"), overlapping=True, small=True),
    Case("monai_nearest_back", "Argmax first, then labels back by nearest.", [*ras(1.46, 1.46, 1.93), window(-500, 500)],
         [SOFTMAX, ARGMAX, invert(True)]),
    Case("monai_logits_back", "No activation: logits are interpolated.", [*ras(1.5, 1.5, 2.0), window(-500, 500)],
         [invert(), ARGMAX]),
    Case("monai_sigmoid_after_inverting", "Sigmoid after Invertd: cropped voxels become 0.5 and pass the threshold.",
         [*ras(1.37, 1.43, 1.9), CROP, NONZERO], [invert(), SIGMOID, THRESHOLD], labels=("lesion",), overlapping=True,
         **MR),
    Case("monai_resize_with_pad_or_crop", "ResizeWithPadOrCrop: one axis is cut, two are padded, and back.",
         [*ras(1.5, 1.5, 2.0), window(-500, 500), step("ResizeWithPadOrCropd", spatial_size=[27, 37, 32])]),
    Case("monai_resized", "Resized to a given shape by trilinear interpolation (edges aligned), and back.",
         [step("Orientationd", axcodes="RAS"), window(-500, 500),
          step("Resized", spatial_size=[29, 31, 20], mode="trilinear")]),
    Case("monai_whole_image", "SimpleInferer on an image padded to a multiple: sides of the network are free.",
         [*ras(1.5, 1.5, 2.0), window(-500, 500), step("DivisiblePadd", k=4)], roi=None, shape=(30, 26, 14)),
    Case("monai_spline", "Spacing of spline order 3, and back with the same.",
         [*ras(1.5, 1.5, 2.0, mode=3), window(-500, 500)]),
    Case("monai_spline_zeros", "A spline with zeros beyond the outermost centres, finer on one axis, coarser on two, and "
         "back.", [*ras(0.9, 2.1, 3.0, mode=3, padding_mode="zeros"), window(-500, 500)], roi=(24, 12, 8), seed=3),
    Case("monai_spline_nearest_back", "A spline, and back by the nearest, as Invertd does unless it is told otherwise.",
         [*ras(2.03, 1.13, 4.13, mode=3), window(-500, 500)], [SOFTMAX, invert(True), ARGMAX], roi=(16, 24, 8)),
    Case("monai_spline_cropped", "A spline, CropForeground and SpatialPad; back it runs on in the zeros beyond the crop.",
         [*ras(1.37, 1.43, 1.9, mode=3), CROP | {"select_fn": "$lambda x: x > 50"},
          step("SpatialPadd", spatial_size=[29, 21, 27]), window(0, 800)], [SIGMOID, invert(), THRESHOLD],
         labels=("core", "whole"), overlapping=True, small=True, **MR),
    Case("monai_spline_aligned", "A spline of order 5 with align_corners, which moves its places, and reflection; two "
         "images, sigmoid and thresholds.",
         [*ras(1.8, 1.0, 2.9, mode=5, padding_mode="reflection", align_corners=True), NONZERO],
         [SIGMOID, invert(), THRESHOLD], kinds=("mr", "unit"), labels=("core", "whole"), overlapping=True, roi=(20, 24, 8)),
    Case("monai_spline_oblique", "A spline of order 2 on an image turned by 12 degrees, logits back.",
         [*ras(1.1, 1.9, 1.3, mode=2), window(-500, 500)], [invert(), ARGMAX], affine=OBLIQUE, seed=2),
    Case("monai_cropped_before", "CropForeground before Spacing: back it is undone after it, sharply.",
         [step("Orientationd", axcodes="RAS"), CROP, step("Spacingd", pixdim=[2.63, 0.91, 3.13], mode="bilinear"), NONZERO],
         roi=(12, 24, 8), **MR),
    Case("monai_spline_cropped_before", "CropForeground before a spline of order 4.",
         [step("Orientationd", axcodes="RAS"), CROP, step("Spacingd", pixdim=[1.9, 2.1, 1.7], mode=4), window(0, 800)], **MR),
    Case("monai_cropped_before_nearest", "CropForeground before Spacing, and back by the nearest.",
         [step("Orientationd", axcodes="RAS"), CROP, step("Spacingd", pixdim=[2.63, 0.91, 3.13], mode="bilinear"), NONZERO],
         [SOFTMAX, invert(True), ARGMAX], roi=(12, 24, 8), **MR),
]
