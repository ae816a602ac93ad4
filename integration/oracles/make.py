"""Makes the cases of nnunet_cases.py and monai_cases.py into a folder; run.sh calls it in its own environment."""

import argparse
import contextlib
import io
import logging
import pathlib
import shutil
import sys
import tempfile
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "export"))

import numpy as np
import torch

import monai_cases
import nnunet_cases


def size_of(folder: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path, nargs="?", help="folder for every case")
    parser.add_argument("--small", type=pathlib.Path, help="folder for the cases that the repository keeps, no others")
    parser.add_argument("--only", nargs="+", default=[], help="names of cases")
    arguments = parser.parse_args()
    out = arguments.small or arguments.out
    if out is None or (arguments.small and arguments.out):
        parser.error("name one folder: OUT, or --small OUT")
    cases = [(module, case) for module in (nnunet_cases, monai_cases) for case in module.CASES]
    unknown = set(arguments.only) - {case.name for _, case in cases}
    if unknown:
        parser.error(f"--only: found {sorted(unknown)}, expected some of {[case.name for _, case in cases]}")
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    total = 0
    for module, case in cases:
        if (arguments.small and not case.small) or (arguments.only and case.name not in arguments.only):
            continue
        began, folder, said = time.monotonic(), out / case.name, io.StringIO()
        shutil.rmtree(folder, ignore_errors=True)
        seed = zlib.crc32(case.name.encode()) % 100_000  # a case does not change when another one is added
        np.random.seed(seed)
        torch.manual_seed(seed)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    record = module.make(case, folder, pathlib.Path(scratch), seed)
            except BaseException:
                print(said.getvalue(), file=sys.stderr)
                raise
        size = size_of(folder)
        total += size
        voxels = " ".join(f"{name}:{count}" for name, count in record["expected_voxels"].items())
        print(f"{case.name}: {size / 1000:.0f} kB, {time.monotonic() - began:.1f} s, voxels {voxels}, "
              f"least Dice to ask for {record['tolerance']['dice']}", flush=True)
    print(f"{total / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main()
