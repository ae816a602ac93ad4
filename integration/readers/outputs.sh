#!/usr/bin/env bash
# Shows our segmentations, registrations, derived images, structured reports, PDFs and pictures to foreign programs:
# dciodvfy and dcentvfy (dicom3tools), highdicom, SimpleITK, pydicom, pypdf. Fails when one of them finds an error or another value than was written.
#
#   integration/readers/outputs.sh            the objects of the test `outputs`, from the phantom
#
# Packages of Debian and PyPI are installed where they are missing (as root, or with sudo).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$root/.runtime/libonnxruntime.so}

if ! command -v dciodvfy >/dev/null; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get install -y --no-install-recommends dicom3tools
fi
[ -x .venv/outputs/bin/python ] || python3 -m venv .venv/outputs
.venv/outputs/bin/pip install -q --disable-pip-version-check 'highdicom>=0.28' 'pydicom>=3' 'SimpleITK>=2.3' 'pypdf>=5' numpy

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
CONTOURD_READERS_DIR=$made cargo test --quiet --test outputs
folder=$made/outputs

# The validator is of 2022: it knows no Label Map Segmentation (2024), and takes a segment 0 for an error. Classic MR images
# have no rescale in their module; a derived one that is not of whole numbers has, as scanners write it.
known='Information Object Not found|SegmentNumber not monotonically increasing from one by one'
failed=0
for file in "$folder"/{SEG,REG,PM,CT,MR,SR,DOC,SC}.*.dcm "$folder"/{labelmap,polygons}.dcm; do
    report=$(dciodvfy -new "$file" 2>&1 || true)
    errors=$(echo "$report" | grep '^Error' || true)
    [ "$(basename "$file")" != labelmap.dcm ] || errors=$(echo "$errors" | grep -Ev "$known" || true)
    [ -z "$errors" ] || { echo "$(basename "$file"): $errors"; failed=1; }
done
# In the tables of dcentvfy the Accession Number belongs to the study in SR and to the series in images, so that every SR beside
# an image is told; the values are the same.
known='Different information entities for attribute - Element=<AccessionNumber>'
report=$(dcentvfy "$folder"/2.25.*.dcm "$folder"/{RS,SEG,REG,PM,CT,MR,SR,DOC,SC}.*.dcm 2>&1 | grep -v "$known" || true)
[ -z "$report" ] || { echo "$report" | sort | uniq -c | sort -rn | head -20; failed=1; }
[ "$failed" = 1 ] || echo "dciodvfy and dcentvfy find nothing"
.venv/outputs/bin/python integration/readers/outputs.py "$folder" || failed=1
exit "$failed"
