#!/usr/bin/env bash
# contourd and foreign programs, which are started here on free ports of loopback:
#   peers.py       DCMTK and Orthanc, good and bad input        tls.py         the same by TLS (openssl)
#   doctor.py      `contourd doctor` at DCMTK and Orthanc       commitment.py  storage commitment and verified delivery
#   exchange.py    many peers, archives that C-MOVE studies here, and peers that break rules
#   retrieve.py    archives that are asked and fetched from (C-FIND, C-GET, C-MOVE)
#   capture.py     all of it as Wireshark sees it               syntaxes.py    each transfer syntax with its pixels
#   registration.py  two Frames of Reference and a registration object, whose direction SimpleITK checks
#   dicomweb.py    results by STOW-RS to Orthanc, to folders, to a standby, back to the sender
#   ways_in.py     STOW-RS and watched folders: Orthanc's DICOMweb plugin, curl, dicomweb-client
#
#   integration/peers.sh [--all] [FOLDER...]     folders with CT series of your own, besides the synthetic one
#
# --all: each kind of image in each transfer syntax, some minutes more.
# It takes target/release/contourd, or the program that CONTOURD names. Peers come from Debian's packages.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

missing=()
command -v storescp >/dev/null || missing+=(dcmtk)
command -v dciodvfy >/dev/null || missing+=(dicom3tools)
command -v openssl >/dev/null || missing+=(openssl)
command -v curl >/dev/null || missing+=(curl)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc-dicomweb)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v Orthanc >/dev/null || [ -x /usr/sbin/Orthanc ] || missing+=(orthanc)
install() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
[ ${#missing[@]} = 0 ] || install "${missing[@]}"
# Without it capture.py says that it is skipped.
command -v tshark >/dev/null || install tshark >/dev/null || true
export CONTOURD="${CONTOURD:-$root/target/release/contourd}"
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$root/.runtime/libonnxruntime.so}"
# DCMTK waits for acknowledgements of TCP else, which makes it twenty times slower on loopback.
export TCP_NODELAY=1
export PATH="$PATH:/usr/sbin"
export PYTHONDONTWRITEBYTECODE=1
everything=()
if [ "${1:-}" = --all ]; then
    everything=(--all)
    shift
fi
# Every script runs, whatever became of those before it.
failed=()
python3 "$root/integration/peers.py" "$@" || failed+=(peers)
for script in tls doctor dicomweb; do
    python3 "$root/integration/$script.py" || failed+=("$script")
done
# DCMTK has only a part of storage commitment, and knows no DICOMweb: programs of Python stand beside it.
venv=$root/target/peers-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
if pip pynetdicom==3.0.4 pydicom==3.0.2 numpy==2.4.6 dicomweb-client==0.61.2; then
    for script in commitment exchange retrieve capture ways_in; do
        "$venv/bin/python" "$root/integration/$script.py" || failed+=("$script")
    done
    if pip --only-binary :all: -r "$root/integration/requirements.txt"; then
        "$venv/bin/python" "$root/integration/syntaxes.py" "${everything[@]}" || failed+=(syntaxes)
        # It would bring a whole stack of its own.
        pip --no-deps pydicomrt==0.9.1 || true
        "$venv/bin/python" "$root/integration/registration.py" || failed+=(registration)
    else
        echo "skipped: transfer syntaxes and registrations, because integration/requirements.txt cannot be installed here"
    fi
else
    echo "skipped: what needs pynetdicom or dicomweb-client, because they cannot be installed here"
fi
[ ${#failed[@]} = 0 ] || echo "FAILED: ${failed[*]}"
[ ${#failed[@]} = 0 ]
