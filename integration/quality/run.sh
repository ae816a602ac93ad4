#!/usr/bin/env bash
# Compares `contourd compare` and `contourd dvh` with foreign programs, on random shapes and on a real plan.
#
#   integration/quality/run.sh compare [COUNT]   random masks against DeepMind's surface-distance and SimpleITK
#   integration/quality/run.sh dvh [FOLDER]      a plan against pyCERR, dicompyler-core and the planning system's own DVHs;
#                                                without a FOLDER (rtdose.dcm, rtss.dcm, ct.0.dcm) the plan of
#                                                dicompyler-core's tests is fetched from PyPI
#
# CONTOURD names the program; without it target/release/contourd is built. Packages are installed into .venv/quality.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
venv=.venv/quality

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check pycerr==2.5.1 dicompyler-core==0.5.6 SimpleITK \
    surface-distance-based-measures==0.1
if [ -z "${CONTOURD:-}" ]; then
    cargo build --release --quiet
    CONTOURD=target/release/contourd
fi
export CONTOURD

case ${1:-} in
compare) exec "$venv/bin/python" integration/quality/compare.py "${2:-40}" ;;
dvh)
    folder=${2:-$(mktemp -d)}
    if [ $# -lt 2 ]; then
        "$venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: dicompyler-core==0.5.6 -d "$folder"
        tar xzf "$folder"/dicompyler*.tar.gz -C "$folder" --strip-components=4 --wildcards '*/example_data/*.dcm'
    fi
    exec "$venv/bin/python" integration/quality/dvh.py "$folder"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
