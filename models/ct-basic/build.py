#!/usr/bin/env python3
"""Builds model.onnx of ct-basic: smoothing and Hounsfield classes, written down, not learned.

Usage: pip install onnx && python3 build.py   (then put the printed digest into model.json)

Input `hu`: float32 [slices, 1, rows, columns], Hounsfield units. Output `score`: float32 [slices, 4, rows, columns];
the class with the highest score wins: 0 gas, 1 lung, 2 tissue, 3 bone.

Each class is an interval of Hounsfield units. With ascending thresholds t1 < t2 < t3 the lines

    score0 = 0,  score1 = score0 + (x - t1),  score2 = score1 + (x - t2),  score3 = score2 + (x - t3)

cross at the thresholds, so that the highest one tells the interval that x lies in. Two degrees of smoothing are used
for x: edges of the body, the lungs and bone are placed on a lightly smoothed image (binomial 3 x 3, deviation 0.7
pixel), which leaves straight edges where they are; gas is told from lung on a more strongly smoothed one (twice that,
deviation 1.0 pixel), because their values are near to each other and noise in air is not.
"""

import hashlib
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GAS_LUNG_HU = -930.0  # air in airways and bowel -1000 to -950, inflated lung -900 to -700; emphysema overlaps, see model.json
LUNG_TISSUE_HU = -350.0  # half-way from lung (-800) and from air (-1000, skin at -50 to 50) to soft tissue, near enough
TISSUE_BONE_HU = 180.0  # cancellous bone 100 to 300, cortical bone above 400, muscle and blood below 80
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0  # padding of -2000 or -3024 is air; metal is no more than bone


def build() -> onnx.ModelProto:
    binomial = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32).reshape(1, 1, 3, 3) / 16
    # Rows: classes; columns: strongly smoothed, lightly smoothed.
    weight = np.array([[0, 0], [1, 0], [1, 1], [1, 2]], np.float32).reshape(4, 2, 1, 1)
    bias = np.cumsum([0, -GAS_LUNG_HU, -LUNG_TISSUE_HU, -TISSUE_BONE_HU]).astype(np.float32)
    constants = {
        "lowest": np.float32(LOWEST_HU),
        "highest": np.float32(HIGHEST_HU),
        "margin": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "binomial": binomial,
        "class_weight": weight,
        "class_bias": bias,
    }
    nodes = [
        helper.make_node("Clip", ["hu", "lowest", "highest"], ["clipped"]),
        helper.make_node("Pad", ["clipped", "margin"], ["framed"], mode="edge"),
        helper.make_node("Conv", ["framed", "binomial"], ["light"]),
        helper.make_node("Pad", ["light", "margin"], ["framed_again"], mode="edge"),
        helper.make_node("Conv", ["framed_again", "binomial"], ["strong"]),
        helper.make_node("Concat", ["strong", "light"], ["smoothed"], axis=1),
        helper.make_node("Conv", ["smoothed", "class_weight", "class_bias"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ct-basic",
        [helper.make_tensor_value_info("hu", TensorProto.FLOAT, ["slices", 1, "rows", "columns"])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["slices", 4, "rows", "columns"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="contourd")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("model.onnx")
    path.write_bytes(build().SerializeToString(deterministic=True))
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, path.stat().st_size, "bytes")
