#!/usr/bin/env python3
"""Writes the PyTorch network of a CERR model wrapper as ONNX; the wrapper's own pre- and post-processing is left to it.

    python3 cerr_wrapper.py NETWORK WEIGHTS --input 1,512,512 --out model.onnx
        [--path WRAPPER] [--arguments JSON] [--output-index 0] [--free-sides] [--trust-weights]

NETWORK   `module:name`: a class, or a function that returns the network, as the wrapper's run script imports it
WEIGHTS   the .pth of the wrapper: a state dictionary, or a checkpoint that holds one as state_dict, model or net
--path    folder to import from, the root of the wrapper's repository
--input   channel,row,column of one slice, or channel,slice,row,column; the batch is free

Written are OUT, with input `image` [batch, channel, ...] and output `logits` [batch, class, ...], both float32, and
OUT with .json after it: shapes, digest, how far onnxruntime is from torch, and where it came from. Of a tuple the
output is element 0 unless --output-index says otherwise; softmax and argmax are not in the file.

Of the models that CERR installs, with the commands in their folders:

    lung OARs, incrMRRN      model_wrapper.incre_MRRN:get_Incre_MRRN_Pytorch   --input 1,512,512
    head and neck,           model_wrapper.models.networks:get_Unet_Block_SA_inter_intra_wd_stride_kernel
      self-attention           --arguments '[1, CLASSES, "normal", [], WIDTH, STRIDE, KERNEL]' --input 1,256,256
    swallowing and chewing,  model_wrapper.modeling.deeplab:DeepLab
      DeepLabV3+               --arguments '{"num_classes": CLASSES, "sync_bn": false}' --input 3,321,321

While the network is built `.cuda()` does nothing and pretrained backbones are not downloaded: the weights are loaded
strictly afterwards, so nothing of the backbone's would be left. The wrapper's code runs; use wrappers that you trust.
Needs: torch, onnx, onnxruntime, and what the wrapper's network imports.
"""

import argparse
import contextlib
import importlib
import json
import pathlib
import sys

import torch

from write_onnx import OneOutput, write


@contextlib.contextmanager
def built_on_this_machine():
    """No GPU is asked for and nothing is downloaded while a network is constructed."""
    import torch.utils.model_zoo

    kept = torch.nn.Module.cuda, torch.utils.model_zoo.load_url, torch.hub.load_state_dict_from_url
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    torch.utils.model_zoo.load_url = torch.hub.load_state_dict_from_url = lambda *args, **kwargs: {}
    try:
        yield
    finally:
        torch.nn.Module.cuda, torch.utils.model_zoo.load_url, torch.hub.load_state_dict_from_url = kept


def network_of(name: str, arguments, folder=None) -> torch.nn.Module:
    """Builds `module:name` with a list or dictionary of arguments; functions may return (network, ...)."""
    module, _, attribute = name.partition(":")
    if not attribute:
        raise SystemExit(f"{name}: expected module:name, as in model_wrapper.modeling.deeplab:DeepLab")
    if folder:
        sys.path.insert(0, str(folder))
    with built_on_this_machine():
        make = getattr(importlib.import_module(module), attribute)
        made = make(**arguments) if isinstance(arguments, dict) else make(*arguments)
    if isinstance(made, (tuple, list)):
        made = made[0]
    if not isinstance(made, torch.nn.Module):
        raise SystemExit(f"{name}: found {type(made).__name__}, expected a torch.nn.Module")
    return made


def state_of(file, trusted=False) -> dict:
    """Tensors by name; `module.` of data-parallel training is dropped."""
    state = torch.load(file, map_location="cpu", weights_only=not trusted)
    for key in ("state_dict", "model", "net", "model_state_dict"):
        if isinstance(state.get(key), dict):
            state = state[key]
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)}


def export(name, weights, sides, out, arguments=(), folder=None, index=0, free_sides=False, trusted=False) -> dict:
    out = pathlib.Path(out)
    network = network_of(name, arguments, folder)
    network.load_state_dict(state_of(weights, trusted), strict=True)
    example = torch.rand((1, *sides), generator=torch.Generator().manual_seed(0)) * 2 - 1
    known = {"network": name, "arguments": arguments, "output_index": index}
    record = write(OneOutput(network, index), example, out, free_sides=free_sides, metadata=known)
    written = {"format": 1, "from": "cerr", **known, "free_sides": free_sides, **record}
    out.with_name(out.name + ".json").write_text(json.dumps(written, indent=2) + "\n")
    print(f"{out}: {out.stat().st_size} bytes, differs by {record['difference']:.1e}", file=sys.stderr)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("--input", required=True, type=lambda text: [int(side) for side in text.split(",")])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--path", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--arguments", type=json.loads, default=[])
    parser.add_argument("--output-index", type=int, default=0)
    parser.add_argument("--free-sides", action="store_true")
    parser.add_argument("--trust-weights", action="store_true", help="unpickle objects other than tensors: runs code")
    found = parser.parse_args()
    export(found.network, found.weights, found.input, found.out, found.arguments, found.path, found.output_index,
           found.free_sides, found.trust_weights)


if __name__ == "__main__":
    main()
