"""Writes a PyTorch network as ONNX and compares both; it knows nothing of nnU-Net, MONAI or CERR.

The file has one float32 input and one output with names of our choice; the batch is free, other sides only if asked.
What an application needs to know besides the graph goes into the metadata of the file, each value as JSON.
"""

import hashlib
import inspect
import json
import pathlib
import warnings

import numpy as np
import onnx
import torch

OPSET = 17  # every operator of these networks; runtimes since 2022 have it
TOLERANCE = 1e-4  # largest absolute difference between torch and onnxruntime, on logits of size 1 to 10


class OneOutput(torch.nn.Module):
    """The tensor that counts, out of networks that return tuples, lists or dictionaries.

    `index` selects within a tuple or list, `key` within a dictionary. Networks with deep supervision return the full
    resolution first.
    """

    def __init__(self, network: torch.nn.Module, index: int = 0, key: str | None = None):
        super().__init__()
        self.network, self.index, self.key = network, index, key

    def forward(self, *tensors):
        out = self.network(*tensors)
        if isinstance(out, dict):
            return out[self.key] if self.key else next(iter(out.values()))
        return out[self.index] if isinstance(out, (tuple, list)) else out


def write(network, example, path, names=("image", "logits"), free_sides=False, metadata=None, check=True) -> dict:
    """Exports `network` for `example` (a tensor, or several with their names in `names`; the output's name is last).

    Returns what a record of the file needs: name, sha256, shapes, and the difference to onnxruntime, measured on the
    example, on a batch of two, and with free sides on another length of the first one. Raises ValueError when that is above TOLERANCE (relative to logits above 1).
    """
    path = pathlib.Path(path)
    examples = example if isinstance(example, (tuple, list)) else (example,)
    examples = tuple(tensor.float() for tensor in examples)
    if len(names) != len(examples) + 1:
        raise ValueError(f"names: found {len(names)}, expected {len(examples)} inputs and one output")
    # A TorchScript module is its own graph and cannot be traced within another module.
    network = (network if isinstance(network, torch.jit.ScriptModule) else OneOutput(network)).eval().float().cpu()
    with torch.no_grad():
        found = network(*examples)
    if not isinstance(found, torch.Tensor) or found.ndim < 4:
        raise ValueError(f"output: found {type(found).__name__}, expected a tensor [batch, channel, ...]")

    axes = {name: {0: "batch"} for name in names}
    if free_sides:
        for name, tensor in zip(names, (*examples, found)):
            axes[name] |= {axis: f"side{axis - 2}" for axis in range(2, tensor.ndim)}
    settings = dict(input_names=list(names[:-1]), output_names=[names[-1]], opset_version=OPSET, dynamic_axes=axes)
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        settings["dynamo"] = False  # the exporter that traces; its files are the same from one run to the next
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, examples, str(path), **settings)

    model = onnx.load(str(path))
    for node in model.graph.node:
        node.doc_string = ""  # the tracer writes paths of this machine here
    for key, value in sorted((metadata or {}).items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))

    trials = [examples, tuple(torch.cat([tensor, tensor.flip(-1)]) for tensor in examples)]
    if free_sides:
        # Twice, or 32 more where that is less: a multiple of whatever the network halves the example by, or of 32.
        trials.append(tuple(torch.cat([tensor, tensor[:, :, :32]], 2) for tensor in examples))
    difference = compare(network, trials, path, names) if check else None
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "inputs": {name: list(tensor.shape) for name, tensor in zip(names, examples)},
        "output": {names[-1]: list(found.shape)},
        "difference": difference,
    }


def compare(network, trials, path, names) -> float:
    """Largest difference between torch and onnxruntime over tuples of inputs, relative where logits are above 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for inputs in trials:
        with torch.no_grad():
            expected = network(*inputs).numpy()
        found = session.run(None, dict(zip(names, (tensor.numpy() for tensor in inputs))))[0]
        worst = max(worst, float(np.max(np.abs(found - expected)) / max(1.0, float(np.max(np.abs(expected))))))
    if not worst <= TOLERANCE:
        raise ValueError(f"{path.name}: onnxruntime differs from torch by {worst:.2e}, expected at most {TOLERANCE}")
    return worst
