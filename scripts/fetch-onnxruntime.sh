#!/usr/bin/env bash
# Puts ONNX Runtime's shared library into .runtime/libonnxruntime.so, out of the wheel that its authors publish on
# PyPI. Every file is pinned by its SHA-256. It installs nothing, needs no root, and does nothing when the library
# is there already. The library is not linked: contourd opens it when it starts a model.
#
# Usage: scripts/fetch-onnxruntime.sh [FOLDER]        FOLDER: where it goes (default: .runtime of the repository)
set -euo pipefail

version=1.31.1
# What each wheel holds was unpacked and hashed by hand on both architectures; the models were run on x86_64 only.
case "$(uname -m)" in
    x86_64)
        wheel=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
        library=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3 ;;
    aarch64)
        wheel=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3
        library=8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467 ;;
    *)
        echo "fetch-onnxruntime: no ONNX Runtime is pinned for $(uname -m), expected x86_64 or aarch64;" \
             "set ORT_DYLIB_PATH to a libonnxruntime.so of version 1.22 or later" >&2
        exit 1 ;;
esac

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/.runtime}
target=$folder/libonnxruntime.so

digest_of() { sha256sum "$1" | cut -d' ' -f1; }

if [ -f "$target" ] && [ "$(digest_of "$target")" = "$library" ]; then
    exit 0
fi

if ! command -v python3 >/dev/null; then
    echo "fetch-onnxruntime: python3 is missing; on Debian or Ubuntu: apt-get install python3 python3-pip" >&2
    exit 1
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "fetch-onnxruntime: Python's pip is missing; on Debian or Ubuntu: apt-get install python3-pip." \
         "(Without it, set ORT_DYLIB_PATH to a libonnxruntime.so of version 1.22 or later.)" >&2
    exit 1
fi

mkdir -p "$folder"
scratch=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

echo "onnxruntime==$version --hash=sha256:$wheel" > "$scratch/requirements.txt"
echo "fetching ONNX Runtime $version for $(uname -m) from PyPI ..."
# The wheel's Python tag does not matter, the library in it is the same; cp311 is named so that any Python can ask.
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --implementation cp --python-version 311 --abi cp311 --platform "manylinux_2_28_$(uname -m)" \
        --require-hashes --requirement "$scratch/requirements.txt" --dest "$scratch"; then
    echo "fetch-onnxruntime: pip could not download onnxruntime $version; is PyPI (or the index of pip.conf)" \
         "reachable from here?" >&2
    exit 1
fi

(cd "$scratch" && python3 -m zipfile -e onnxruntime-*.whl wheel)
found=$scratch/wheel/onnxruntime/capi/libonnxruntime.so.$version
if [ "$(digest_of "$found")" != "$library" ]; then
    echo "fetch-onnxruntime: the library in the wheel has SHA-256 $(digest_of "$found"), expected $library" >&2
    exit 1
fi

cp "$scratch/wheel/onnxruntime/LICENSE" "$folder/LICENSE.onnxruntime"
chmod 0644 "$found"
mv "$found" "$target.new"
mv "$target.new" "$target" # In one step: a reader sees the old library or the new one, never a part.
echo "ONNX Runtime $version is at $target"
