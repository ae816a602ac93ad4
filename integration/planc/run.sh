#!/usr/bin/env bash
# Writes NIfTI, NRRD and planC files of series and reads them with pyCERR, h5py and SimpleITK; computes pyCERR's radiomics and
# dose-volume histograms on them; and gives the series, saved by pyCERR and SimpleITK, back to contourd as input.
#
#   integration/planc/run.sh FOLDER...    each folder holds the images of one CT series, such as demo-out/images
#
# CONTOURD is the program (target/release/contourd). pyCERR is installed into a virtual environment in target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
contourd=${CONTOURD:-target/release/contourd}
python=${PLANC_PYTHON:-target/planc-venv/bin/python}
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/.runtime/libonnxruntime.so}"
if [ ! -x "$python" ]; then
    python3 -m venv target/planc-venv
    target/planc-venv/bin/pip install --quiet -r integration/planc/requirements.txt
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
for images in "$@"; do
    echo "== $images"
    "$contourd" segment "$images" -o "$out/results" --pipeline "${PIPELINE:-ct-basic}" --config "${CONFIG:-.}" \
        --write nifti,nrrd,planc >"$out/said" || { cat "$out/said"; exit 1; }
    for results in "$out"/results/*/*/; do
        "$python" integration/planc/compare.py "$images" "$results" || failed=1
        "$python" integration/planc/figures.py "$results" || failed=1
        "$python" integration/planc/inputs.py make "$images" "$out/files"
        "$contourd" segment "$out/files" -o "$out/again" --pipeline "${PIPELINE:-ct-basic}" --config "${CONFIG:-.}" \
            --write nifti >"$out/said" || { cat "$out/said"; exit 1; }
        "$python" integration/planc/inputs.py check "$out/files" "$out/again" "$results" || failed=1
        rm -rf "$out/files" "$out/again"
    done
    rm -rf "$out/results"
done
exit $failed
