#!/usr/bin/env bash
# Shows our RT Structure Sets to foreign programs: dciodvfy and dcentvfy (dicom3tools), DCMTK, pydicom, plastimatch,
# dcmrtstruct2nii, rt-utils, platipy, dicompyler-core, pyCERR, pymedphys. Fails when one of them finds an error or rebuilds a mask with Dice
# below 0.999, moved or of another volume; compare.py says which are judged.
#
#   integration/readers/run.sh            the series of the test `rtstruct`: synthetic ones of five kinds, real ones
#                                         where they are
#   integration/readers/run.sh FOLDER     cases that lie there: CASE/ct/*.dcm, CASE/rtstruct.dcm, CASE/masks/NAME.nii.gz
#
# Packages of Debian and PyPI are installed where they are missing (as root, or with sudo).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"

install_tools() {
    local missing=()
    command -v dciodvfy >/dev/null || missing+=(dicom3tools)
    command -v plastimatch >/dev/null || missing+=(plastimatch)
    command -v dcmdump >/dev/null || missing+=(dcmtk)
    if [ ${#missing[@]} -gt 0 ]; then
        local as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"
    fi
    # dcmrtstruct2nii 5 needs a pydicom before 3, which removed dcmread's old name; the checks use the current one.
    [ -x .venv/readers/bin/python ] || python3 -m venv .venv/readers
    .venv/readers/bin/pip install -q --disable-pip-version-check 'pydicom>=3' 'SimpleITK>=2.3' numpy
    [ -x .venv/rtstruct2nii/bin/python ] || python3 -m venv .venv/rtstruct2nii
    .venv/rtstruct2nii/bin/pip install -q --disable-pip-version-check 'dcmrtstruct2nii==5' 'pydicom<3'
    local reader
    for reader in 'rt-utils==1.2.7' platipy 'dicompyler-core==0.5.6 shapely pydicom<3' 'pycerr==2.5.1'; do
        local folder=.venv/${reader%%[= ]*}
        [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
        # shellcheck disable=SC2086  # Two packages are two words.
        "$folder/bin/pip" install -q --disable-pip-version-check $reader SimpleITK ||
            echo "$reader cannot be installed here: it is left out"
    done
    # What pymedphys asks for by itself takes pip half an hour to choose; its masks need no more than this, and a numpy
    # that still takes an array of one for a number.
    [ -x .venv/pymedphys/bin/python ] || python3 -m venv .venv/pymedphys
    {
        .venv/pymedphys/bin/pip install -q --disable-pip-version-check --no-deps 'pymedphys==0.41.0' &&
            .venv/pymedphys/bin/pip install -q --disable-pip-version-check pydicom 'numpy<2.3' scipy shapely matplotlib \
                typing-extensions setuptools tomlkit requests tqdm pandas
    } || echo "pymedphys cannot be installed here: it is left out"
}

# The validator's word on one object; its edition is of 2022, so what came later may only be reported, not failed.
validate() {
    local file=$1 report
    report=$(dciodvfy -new "$file" 2>&1 || true)
    echo "$report" | grep -q '^RTStructureSet' || { echo "$file: dciodvfy sees no RT Structure Set"; return 1; }
    # UIDs of the images are repeated as they are, so an illegal root in them is not our error. The validator of 2022 does
    # not know the contours of PS3.3 C.8.8.6.3 that are put together by exclusive disjunction.
    local known='Illegal root for UID|Unrecognized enumerated value = <CLOSEDPLANAR_XOR>'
    if echo "$report" | grep '^Error' | grep -Ev "$known"; then
        return 1
    fi
    dcmftest "$file" >/dev/null
    dcmdump "$file" >/dev/null
    report=$(dcentvfy "$(dirname "$file")"/ct/*.dcm "$file" 2>&1 || true)
    [ -z "$report" ] || { echo "$report"; return 1; }
    echo "$(basename "$(dirname "$file")"): dciodvfy, dcentvfy and DCMTK find nothing"
}

rebuild() {
    local case=$1 name
    name=$(basename "$case")
    rm -rf "$case/plastimatch" "$case/rtstruct2nii"
    mkdir -p "$case/plastimatch" "$case/rtstruct2nii"
    plastimatch convert --input "$case/rtstruct.dcm" --referenced-ct "$case/ct" \
        --output-prefix "$case/plastimatch" --prefix-format nii.gz >"$case/plastimatch/log" 2>&1 ||
        echo "$name: plastimatch failed, see $case/plastimatch/log"
    .venv/rtstruct2nii/bin/dcmrtstruct2nii convert -r "$case/rtstruct.dcm" -d "$case/ct" -o "$case/rtstruct2nii" \
        >"$case/rtstruct2nii/log" 2>&1 || echo "$name: dcmrtstruct2nii failed, see $case/rtstruct2nii/log"
}

failed=0
install_tools
if [ $# -gt 0 ]; then
    folder=$1
else
    folder=$(mktemp -d)
    CONTOURD_READERS_DIR=$folder cargo test --quiet --test rtstruct masks_
    # plastimatch loses single pixels at straight edges of sagittal series (Dice 0.9976 on one lung); it is made for
    # axial ones.
    expected_to_fail=("$folder/sagittal/plastimatch" "$folder/sagittal-xor/plastimatch")
fi
for case in "$folder"/*/; do
    case=${case%/}
    [ -f "$case/rtstruct.dcm" ] || continue
    validate "$case/rtstruct.dcm" || failed=1
    rebuild "$case"
done
# Reader, its virtual environment, its module.
while read -r reader venv module; do
    python=.venv/$venv/bin/python
    "$python" -c "import $module" 2>/dev/null || { echo "$reader is not here"; continue; }
    "$python" integration/readers/foreign.py "$reader" "$folder" </dev/null
done <<'READERS'
rt-utils rt-utils rt_utils
platipy platipy platipy
dicompyler dicompyler-core dicompylercore
pycerr pycerr cerr
pymedphys pymedphys pymedphys
READERS
for mark in "${expected_to_fail[@]:-}"; do [ -z "$mark" ] || touch "$mark/expected-to-fail"; done
.venv/readers/bin/python integration/readers/compare.py "$folder" || failed=1
exit "$failed"
