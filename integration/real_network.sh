#!/usr/bin/env bash
# Runs a published, trained network from DICOM to a structure set and by hand, and compares; see real_network.py.
# The network is not part of contourd: give its folder, or have it beside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
network=${1:-../shared/data/models/niivue-onnx-meshnet-gwm}
if [ ! -f "$network/model.onnx" ]; then
    echo "skipped: no network in $network (github.com/niivue/niivue-onnx, model.onnx and t1_crop.nii.gz)"
    exit 0
fi
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/.runtime/libonnxruntime.so}"
[ -x target/release/contourd ] || make build
venv=target/real-network-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 onnxruntime==1.23.2 pydicom==3.0.2
"$venv/bin/python" integration/real_network.py target/release/contourd "$network"
