#!/usr/bin/env bash
# Says what is missing to build contourd, all of it at once, each with the command that cures it; installs nothing.
#
# Usage: scripts/check-tools.sh RUST_VERSION
set -euo pipefail

needed=${1:?the least version of Rust, as in Cargo.toml}
missing=0
miss() {
    echo "missing: $1" >&2
    echo "   cure: $2" >&2
    missing=1
}

rustup="curl -sSf https://sh.rustup.rs | sh -s -- -y      (or from your own mirror; Debian 12's rustc is too old)"
if ! command -v cargo >/dev/null; then
    miss "Rust $needed or later (cargo)" "$rustup"
else
    found=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$needed" "${found:-0}" | sort -V | head -n 1)" != "$needed" ]; then
        miss "Rust $needed or later; found ${found:-none} at $(command -v rustc || echo 'no rustc')" \
             "rustup update stable, or: $rustup"
    fi
fi
# SQLite, which is part of the binary, is C; and Rust links with the C compiler.
command -v "${CC:-cc}" >/dev/null || miss "a C compiler" "apt-get install gcc libc6-dev      (as root)"
if [ ! -f "${ORT_DYLIB_PATH:-}" ]; then
    if ! python3 -m pip --version >/dev/null 2>&1; then
        miss "Python's pip, which fetches ONNX Runtime" "apt-get install python3 python3-pip      (as root)"
    fi
fi
exit "$missing"
