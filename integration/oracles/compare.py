#!/usr/bin/env python3
"""Compares two label maps: Dice and differing voxels per class; it does not resample, the grids must be the same.

    python3 compare.py EXPECTED.nii.gz FOUND.nii.gz [--least 0.99]

Label maps are 3-D; maps of overlapping structures are 4-D, [x, y, z, channel] of zeros and ones, where a class is a
channel. Exits with 1 when a class is below --least, with 2 when shapes or affines differ (by more than 0.001 mm).
"""

import argparse

import nibabel
import numpy as np


def masks_of(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Class to mask; 0 is background in label maps, and the first structure in maps of channels."""
    if labels.ndim == 4:
        return {channel: labels[..., channel] > 0 for channel in range(labels.shape[3])}
    return {int(label): labels == label for label in np.unique(labels) if label != 0}


def dice(expected: np.ndarray, found: np.ndarray) -> dict[int, float]:
    """Dice of each class that one of both has; 1 where neither has a voxel."""
    left, right = masks_of(expected), masks_of(found)
    result = {}
    for name in sorted(left.keys() | right.keys()):
        nothing = np.zeros(expected.shape[:3], bool)
        one, other = left.get(name, nothing), right.get(name, nothing)
        sizes = int(one.sum()) + int(other.sum())
        result[name] = 2 * int((one & other).sum()) / sizes if sizes else 1.0
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("expected")
    parser.add_argument("found")
    parser.add_argument("--least", type=float, default=0.0, help="Dice that every class must reach")
    arguments = parser.parse_args()
    expected, found = nibabel.load(arguments.expected), nibabel.load(arguments.found)
    if expected.shape != found.shape:
        print(f"shape: found {found.shape}, expected {expected.shape}")
        return 2
    if not np.allclose(expected.affine, found.affine, atol=1e-3):
        print(f"affine: found\n{found.affine}\nexpected\n{expected.affine}")
        return 2
    one, other = np.asarray(expected.dataobj), np.asarray(found.dataobj)
    result = dice(one, other)
    for name, value in result.items():
        print(f"class {name}: Dice {value:.5f}, {int(masks_of(one).get(name, np.zeros(1)).sum())} voxels expected")
    print(f"voxels that differ: {int((one != other).sum())} of {one.size}")
    return int(any(value < arguments.least for value in result.values()))


if __name__ == "__main__":
    raise SystemExit(main())
