#!/usr/bin/env bash
# Real associations between contourd and foreign programs: DCMTK and Orthanc, good and bad input (peers.py); the same by TLS
# (tls.py, which needs openssl); Orthanc's DICOMweb, a folder, standbys and senders as destinations (dicomweb.py); DCMTK,
# Orthanc and pynetdicom, storage commitment and verified delivery (commitment.py).
#
#   integration/peers.sh [FOLDER...]     folders with CT series of your own, besides the synthetic one
#
# It takes target/release/contourd, or the program that CONTOURD names. Peers come from Debian's packages.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

missing=()
command -v storescp >/dev/null || missing+=(dcmtk)
command -v dciodvfy >/dev/null || missing+=(dicom3tools)
command -v openssl >/dev/null || missing+=(openssl)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v Orthanc >/dev/null || [ -x /usr/sbin/Orthanc ] || missing+=(orthanc)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
export CONTOURD="${CONTOURD:-$root/target/release/contourd}"
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$root/.runtime/libonnxruntime.so}"
# DCMTK waits for acknowledgements of TCP else, which makes it twenty times slower on loopback.
export TCP_NODELAY=1
export PATH="$PATH:/usr/sbin"
export PYTHONDONTWRITEBYTECODE=1
python3 "$root/integration/peers.py" "$@"
python3 "$root/integration/tls.py"
python3 "$root/integration/dicomweb.py"
# Storage commitment and C-FIND: DCMTK has only a part of them, so that pynetdicom stands beside it.
venv=$root/target/peers-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! "$venv/bin/pip" install --quiet --disable-pip-version-check pynetdicom==3.0.4 pydicom==3.0.2; then
    echo "skipped: storage commitment and verified delivery, because pynetdicom cannot be installed here"
    exit 0
fi
exec "$venv/bin/python" "$root/integration/commitment.py"
