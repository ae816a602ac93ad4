#!/usr/bin/env bash
# Makes cases whose results nnU-Net v2 and MONAI themselves computed: tiny networks of random weights, images, labels.
#
#   integration/oracles/run.sh FOLDER               every case, into FOLDER
#   integration/oracles/run.sh --small tests/oracles   only the cases that the repository keeps
#   ... --only NAME...                              only these
#
# The packages are installed once, into target/oracles-venv (6 GB, a few minutes). NOTES.md tells what they compute.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/target/oracles-venv
wanted=$root/integration/oracles/requirements.txt

if ! cmp -s "$wanted" "$venv/installed.txt"; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    # By hand and without dependencies: theirs would bring torchvision, triton and 30 more that no case imports.
    "$venv/bin/pip" install -q --disable-pip-version-check --no-deps -r "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi

# One thread: sums in one order, so that two runs write the same bytes.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONHASHSEED=0 CUDA_VISIBLE_DEVICES=
exec "$venv/bin/python" -W ignore "$root/integration/oracles/make.py" "$@"
