"""Tries every script of this folder on tiny networks of random weights: onnxruntime must give what torch gives.

    integration/oracles/run.sh FOLDER --only nnunet_2d    # makes the environment, once
    target/oracles-venv/bin/python -m pytest scripts/export

Architectures: PlainConvUNet and ResidualEncoderUNet as nnU-Net builds them from plans, UNet, SegResNet, DynUNet and
UNETR of MONAI. CERR's wrappers are not packages, so that three networks below follow what their papers describe:
residual streams with a tuple of outputs, self-attention over positions, DeepLabV3+.
"""

import itertools
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

import cerr_wrapper
import monai_bundle
import nnunet
import totalsegmentator
import write_onnx

AGREEMENT = 1e-4


def run(path, tensor: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor.numpy()})[0]


def shake(network: nn.Module, seed: int) -> nn.Module:
    """Random weights and running statistics: fresh ones would hide a norm that was left out."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in itertools.chain(network.named_parameters(), network.named_buffers()):
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=random)
                value.copy_(noise.abs() + 0.5 if "var" in name else value + 0.1 * noise)
    return network.eval()


def check(network: nn.Module, path, shape, select=lambda out: out) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = select(network(tensor)).numpy()
    found = run(path, tensor)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() < AGREEMENT * max(1.0, np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------------- nnU-Net


def nnunet_model(folder: pathlib.Path, labels: dict, folds=("0",), configuration="3d_fullres", kind="PlainConvUNet",
                 trainer="nnUNetTrainer", mirror=(0, 1, 2)) -> pathlib.Path:
    """A model folder with checkpoints, as nnU-Net's trainer leaves it."""
    flat = configuration == "2d"
    sides, dimension = (2, "2d") if flat else (3, "3d")
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 2, "features_per_stage": [4, 8], "conv_op": f"torch.nn.modules.conv.Conv{dimension}",
            "kernel_sizes": [[3] * sides] * 2, "strides": [[1] * sides, [2] * sides], blocks: [1, 1],
            "n_conv_per_stage_decoder": [1], "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}},
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}
    fullres = {"patch_size": [8, 16, 16][-sides:], "spacing": [1.0] * sides, "architecture": architecture}
    configurations = {configuration: fullres}
    if configuration == "3d_cascade_fullres":
        configurations = {"3d_fullres": fullres,
                          configuration: {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}}
    plans = {"plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2],
             "transpose_backward": [0, 1, 2], "label_manager": "LabelManager", "configurations": configurations}
    described = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", "regions_class_order": [1, 2]}
    model = folder / f"{trainer}__nnUNetPlans__{configuration}"
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(described))
    for seed, fold in enumerate(folds):
        (model / f"fold_{fold}").mkdir()
        weights = shake(nnunet_network(model, configuration), seed).state_dict()
        torch.save({"network_weights": weights, "trainer_name": trainer, "init_args": {"configuration": configuration},
                    "inference_allowed_mirroring_axes": mirror}, model / f"fold_{fold}" / "checkpoint_final.pth")
    return model


def nnunet_network(model: pathlib.Path, configuration: str) -> nn.Module:
    """Built by nnU-Net's plans, as its trainer does: with deep supervision, switched off afterwards."""
    manager = nnunet.predict_from_raw_data.PlansManager(json.loads((model / "plans.json").read_text()))
    described = json.loads((model / "dataset.json").read_text())
    chosen = manager.get_configuration(configuration)
    network = nnunet.nnUNetTrainer.build_network_architecture(
        manager, chosen, nnunet.determine_num_input_channels(manager, chosen, described),
        manager.get_label_manager(described).num_segmentation_heads, enable_deep_supervision=True)
    network.decoder.deep_supervision = False
    return network


def trained(model: pathlib.Path, configuration: str, fold: str) -> nn.Module:
    network = nnunet_network(model, configuration)
    saved = torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
    network.load_state_dict(saved["network_weights"])
    return network.eval()


LABELS = {"background": 0, "liver": 1, "kidney": 2}


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_writes_every_fold_of_a_model(tmp_path, kind):
    model = nnunet_model(tmp_path, LABELS, ("0", "3"), kind=kind)
    written = nnunet.export(model)
    assert [fold["file"] for fold in written["folds"]] == ["fold_0/fold_0.onnx", "fold_3/fold_3.onnx"]
    for fold in ("0", "3"):
        check(trained(model, "3d_fullres", fold), model / f"fold_{fold}" / f"fold_{fold}.onnx", (3, 1, 8, 16, 16))
    assert written == json.loads((model / "export.json").read_text())
    assert written["inference_allowed_mirroring_axes"] == [0, 1, 2] and written["configuration"] == "3d_fullres"
    known = {entry.key: json.loads(entry.value) for entry in onnx.load(model / "fold_3" / "fold_3.onnx").metadata_props}
    assert known["fold"] == "3" and known["inference_allowed_mirroring_axes"] == [0, 1, 2]


def test_writes_a_2d_model_without_mirroring(tmp_path):
    model = nnunet_model(tmp_path, LABELS, configuration="2d", mirror=None)
    assert nnunet.export(model)["inference_allowed_mirroring_axes"] is None
    check(trained(model, "2d", "0"), model / "fold_0" / "fold_0.onnx", (2, 1, 16, 16))


def test_second_stage_of_a_cascade_takes_labels_as_channels(tmp_path):
    model = nnunet_model(tmp_path, LABELS, configuration="3d_cascade_fullres")
    assert nnunet.export(model)["folds"][0]["inputs"] == {"image": [1, 3, 8, 16, 16]}
    check(trained(model, "3d_cascade_fullres", "0"), model / "fold_0" / "fold_0.onnx", (1, 3, 8, 16, 16))


def test_regions_have_a_head_each_and_ignore_has_none(tmp_path):
    model = nnunet_model(tmp_path, {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3})
    assert nnunet.export(model)["folds"][0]["output"] == {"logits": [1, 2, 8, 16, 16]}
    check(trained(model, "3d_fullres", "0"), model / "fold_0" / "fold_0.onnx", (1, 1, 8, 16, 16))


def test_takes_the_fold_all_only_alone(tmp_path):
    model = nnunet_model(tmp_path, LABELS, ("all",))
    assert nnunet.folds_in(model, "checkpoint_final.pth") == ["all"]
    assert nnunet.export(model)["folds"][0]["file"] == "fold_all/fold_all.onnx"


def test_finds_models_in_the_folder_of_a_dataset(tmp_path):
    made = [nnunet_model(tmp_path, LABELS, configuration=name) for name in ("2d", "3d_fullres")]
    assert nnunet.models_in(tmp_path) == made and nnunet.models_in(made[0]) == made[:1]
    with pytest.raises(SystemExit, match="plans.json"):
        nnunet.models_in(tmp_path / "nothing")


# -------------------------------------------------------------------------------------------------- TotalSegmentator


def test_writes_all_parts_of_a_task(tmp_path):
    configurations, binary = totalsegmentator.tables()
    parts = {850: "organs", 851: "muscles"}
    for dataset, part in parts.items():
        names = binary.class_map_parts_mr[f"class_map_part_{part}"].items()
        nnunet_model(tmp_path / f"Dataset{dataset}_TotalSegMRI_{part}", {"background": 0} | {v: k for k, v in names},
                     trainer="nnUNetTrainer_2000epochs_NoMirroring", mirror=None)
    found = totalsegmentator.export("total_mr", weights=tmp_path)
    assert found["resample_mm"] == 1.5 and [model["dataset"] for model in found["models"]] == [850, 851]
    assert set().union(*(model["labels"] for model in found["models"])) == set(found["labels"])
    assert found["labels"]["spleen"] == 1
    for model in found["models"]:
        assert (tmp_path / model["folder"] / model["onnx"][0]).is_file()
    assert json.loads((tmp_path / "total_mr.default.json").read_text()) == found


def test_takes_a_trainer_that_is_not_installed(tmp_path):
    nnunet_model(tmp_path / "Dataset300_body_6mm", {"background": 0, "body_trunc": 1, "body_extremities": 2},
                 trainer="nnUNetTrainer_of_somebody_else")
    found = totalsegmentator.export("body", "fast", tmp_path, tmp_path / "out.json")
    assert found["models"][0]["labels"] == {"body_trunc": 1, "body_extremities": 2} and found["resample_mm"] == 6.0


def test_refuses_labels_that_are_not_those_of_the_task(tmp_path):
    nnunet_model(tmp_path / "Dataset299_body", LABELS | {"spleen": 3})
    with pytest.raises(SystemExit, match="expected"):
        totalsegmentator.export("body", weights=tmp_path)
    with pytest.raises(SystemExit, match="Dataset300"):
        totalsegmentator.export("body", "fast", tmp_path)
    with pytest.raises(SystemExit, match="total_mr"):
        totalsegmentator.export("everything", weights=tmp_path)


# ------------------------------------------------------------------------------------------------------------- MONAI

NETWORKS = {
    "UNet": {"channels": [4, 8], "strides": [2], "num_res_units": 2, "norm": "batch"},
    "SegResNet": {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": ["GROUP", {"num_groups": 2}]},
    "DynUNet": {"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 6, 8]},
    "UNETR": {"img_size": [32, 32, 32], "feature_size": 4, "hidden_size": 12, "mlp_dim": 24, "num_heads": 2},
}


def bundle(folder: pathlib.Path, kind: str, sides, wrap=lambda state: state, suffix=".pt"):
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    network = {"_target_": kind, "spatial_dims": 3, "in_channels": 1, "out_channels": 2} | NETWORKS[kind]
    config = {"bundle_root": ".", "network_def": network, "network": "$@network_def.to('cpu')",
              "inferer": {"_target_": "SlidingWindowInferer", "roi_size": sides}}
    shape = {"num_channels": 1, "spatial_shape": ["8*n"] * 3}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(
        {"name": kind, "version": "0.1.0", "network_data_format": {"inputs": {"image": shape}}}))
    parser = monai_bundle.ConfigParser(config)
    made = shake(parser.get_parsed_content("network_def"), 3)
    if suffix == ".ts":
        with torch.no_grad():
            torch.jit.trace(made, torch.rand(1, 1, *sides)).save(folder / "models" / "model.ts")
    else:
        torch.save(wrap(made.state_dict()), folder / "models" / "model.pt")
    return made


@pytest.mark.parametrize("kind", ["UNet", "SegResNet", "DynUNet"])
def test_writes_the_network_of_a_bundle_with_free_sides(tmp_path, kind):
    network = bundle(tmp_path, kind, [16, 16, 8])
    written = monai_bundle.export(tmp_path)
    assert written["free_sides"] and written["inputs"] == {"image": [1, 1, 16, 16, 8]}
    check(network, tmp_path / "models" / "model.onnx", (2, 1, 24, 16, 12))


def test_fixes_sides_of_a_transformer(tmp_path):
    network = bundle(tmp_path, "UNETR", [32, 32, 32])
    written = monai_bundle.export(tmp_path)  # position embeddings make free sides fail in onnxruntime
    assert not written["free_sides"]
    check(network, tmp_path / "models" / "model.onnx", (1, 1, 32, 32, 32))


def test_takes_weights_as_training_wrote_them(tmp_path):
    network = bundle(tmp_path, "UNet", [8, 8, 8], lambda state: {"model": {f"module.{k}": v for k, v in state.items()}})
    monai_bundle.export(tmp_path)
    check(network, tmp_path / "models" / "model.onnx", (1, 1, 8, 8, 8))


def test_takes_torchscript(tmp_path):
    network = bundle(tmp_path, "UNet", [8, 8, 8], suffix=".ts")
    monai_bundle.export(tmp_path, fixed_sides=True)
    check(network, tmp_path / "models" / "model.onnx", (1, 1, 8, 8, 8))


# -------------------------------------------------------------------------------------------------------------- CERR


def conv(inside, outside, side=3, **more) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, side, padding=more.get("dilation", 1) * (side // 2), **more),
                         nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class ResidualStreams(nn.Module):
    """After incremental MRRN: a stream at full resolution that every pooled unit reads, and adds to. Returns a tuple."""

    def __init__(self, classes=7):
        super().__init__()
        self.start, self.first = conv(1, 4), conv(8, 6)
        self.adjust, self.second, self.adjust_second = nn.Conv2d(6, 4, 1), conv(10, 6), nn.Conv2d(6, 4, 1)
        self.end = nn.Conv2d(4, classes, 1)
        self.cuda()  # as the wrapper does; a machine without GPU must not mind

    def forward(self, image):
        stream = self.start(image)
        pooled = self.first(torch.cat([functional.max_pool2d(stream, 2)] * 2, 1))
        stream = stream + functional.interpolate(self.adjust(pooled), scale_factor=2, mode="bilinear")
        pooled = self.second(torch.cat([functional.max_pool2d(stream, 4), functional.max_pool2d(pooled, 2)], 1))
        stream = stream + functional.interpolate(self.adjust_second(pooled), scale_factor=4, mode="bilinear")
        out = self.end(stream)
        return out, out * 2, out * 3


class SelfAttention(nn.Module):
    """After the nested block self-attention U-Net: attention among positions of blocks, written back into a copy."""

    def __init__(self, channels, classes, block=4):
        super().__init__()
        self.start, self.end, self.block = conv(channels, 8), nn.Conv2d(8, classes, 1), block
        self.query, self.key, self.value = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 8, 1)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        features = self.start(image)
        out = features.clone()
        for top in range(0, features.shape[2], self.block):
            for left in range(0, features.shape[3], self.block):
                here = (slice(None), slice(None), slice(top, top + self.block), slice(left, left + self.block))
                part = features[here]
                query, key, value = (layer(part).flatten(2) for layer in (self.query, self.key, self.value))
                attention = torch.softmax(query.transpose(1, 2) @ key, -1)
                out[here] = part + self.weight * (value @ attention.transpose(1, 2)).reshape(part.shape)
        return self.end(out)


class DeepLab(nn.Module):
    """After DeepLabV3+: strided backbone, atrous pyramid with image pooling, decoder that joins low-level features."""

    def __init__(self, backbone="resnet", num_classes=5):
        super().__init__()
        torch.utils.model_zoo.load_url("https://example.org/pretrained.pth")  # as its backbone does
        self.low, self.high = conv(3, 4, stride=2), conv(4, 8, stride=2)
        self.pyramid = nn.ModuleList([conv(8, 4, 1), conv(8, 4, dilation=2), conv(8, 4, dilation=4)])
        self.pool, self.join = nn.Conv2d(8, 4, 1), conv(16, 4, 1)
        self.end = nn.Sequential(conv(8, 8), nn.Conv2d(8, num_classes, 1))

    def forward(self, image):
        low = self.low(image)
        high = self.high(low)
        pooled = self.pool(functional.adaptive_avg_pool2d(high, 1))
        pooled = functional.interpolate(pooled, size=high.shape[2:], mode="bilinear", align_corners=True)
        joined = self.join(torch.cat([layer(high) for layer in self.pyramid] + [pooled], 1))
        joined = functional.interpolate(joined, size=low.shape[2:], mode="bilinear", align_corners=True)
        out = self.end(torch.cat([joined, low], 1))
        return functional.interpolate(out, size=image.shape[2:], mode="bilinear", align_corners=True)


def built(make, arguments=()) -> nn.Module:
    with cerr_wrapper.built_on_this_machine():
        return make(**arguments) if isinstance(arguments, dict) else make(*arguments)


@pytest.mark.parametrize("make,arguments,sides,wrap,select", [
    (ResidualStreams, [], [1, 32, 32], lambda state: state, lambda out: out[0]),
    (SelfAttention, [1, 6], [1, 16, 16], lambda state: {f"module.{k}": v for k, v in state.items()},
     lambda out: out),
    (DeepLab, {"num_classes": 5}, [3, 33, 33],
     lambda state: {"epoch": 3, "state_dict": state, "optimizer": {}, "best_pred": 0.5}, lambda out: out),
])
def test_writes_the_network_of_a_wrapper(tmp_path, make, arguments, sides, wrap, select):
    network = shake(built(make, arguments), 4)
    torch.save(wrap(network.state_dict()), tmp_path / "weights.pth")
    written = cerr_wrapper.export(f"test_export:{make.__name__}", tmp_path / "weights.pth", sides, tmp_path / "model.onnx",
                                  arguments, pathlib.Path(__file__).parent)
    check(network, tmp_path / "model.onnx", (2, *sides), select)
    assert json.loads((tmp_path / "model.onnx.json").read_text()) == written and written["difference"] < AGREEMENT


def test_takes_another_element_of_a_tuple(tmp_path):
    network = shake(built(ResidualStreams), 4)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    cerr_wrapper.export("test_export:ResidualStreams", tmp_path / "weights.pth", [1, 32, 32], tmp_path / "model.onnx",
                        folder=pathlib.Path(__file__).parent, index=2, free_sides=True)
    check(network, tmp_path / "model.onnx", (1, 1, 64, 48), lambda out: out[2])


def test_refuses_weights_of_another_network(tmp_path):
    torch.save(built(ResidualStreams, [3]).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(RuntimeError, match="end.weight"):
        cerr_wrapper.export("test_export:ResidualStreams", tmp_path / "weights.pth", [1, 32, 32],
                            tmp_path / "model.onnx", folder=pathlib.Path(__file__).parent)


# ------------------------------------------------------------------------------------------------------ write_onnx


class Trap(nn.Module):
    """Computes in Python what a trace freezes: right for the example, wrong for every other input."""

    def forward(self, image):
        return image * float(image.max())


def test_refuses_a_graph_that_differs(tmp_path):
    with pytest.raises(ValueError, match="differs"):
        write_onnx.write(Trap(), torch.rand(1, 1, 8, 8), tmp_path / "model.onnx", free_sides=False)
        network = Trap()
        write_onnx.compare(network, [(torch.rand(1, 1, 8, 8) * 9,)], tmp_path / "model.onnx", ("image", "logits"))


def test_leaves_no_path_of_this_machine_in_the_file(tmp_path):
    write_onnx.write(nn.Conv2d(1, 2, 3), torch.rand(1, 1, 8, 8), tmp_path / "model.onnx")
    assert str(pathlib.Path(__file__).parent).encode() not in (tmp_path / "model.onnx").read_bytes()
