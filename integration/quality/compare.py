#!/usr/bin/env python3
"""Random masks through `contourd compare`, DeepMind's surface-distance and SimpleITK; fails where the figures differ.

    compare.py COUNT        CONTOURD in the environment names the program
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

# surface-distance 0.1 still uses names that numpy 2 and scipy 1.15 took away.
np.Inf, np.NaN = np.inf, np.nan
ndimage.filters = ndimage.morphology = ndimage
import surface_distance as sd  # noqa: E402


def shape_of(rng, size):
    """Smooth blobs, a ball, a box or single voxels; some touch the border of the image."""
    kind = rng.integers(4)
    if kind == 0:
        noise = ndimage.gaussian_filter(rng.standard_normal(size), rng.uniform(1, 4))
        return noise > np.quantile(noise, rng.uniform(0.6, 0.97))
    if kind == 1:
        at = np.indices(size) - (rng.uniform(0.3, 0.7, 3) * size)[:, None, None, None]
        return (at**2).sum(0) < (rng.uniform(0.15, 0.4) * min(size)) ** 2
    if kind == 2:
        mask = np.zeros(size, bool)
        low = [rng.integers(0, n - 2) for n in size]
        high = [rng.integers(a + 1, n + 1) for a, n in zip(low, size)]
        mask[tuple(slice(a, b) for a, b in zip(low, high))] = True
        return mask
    return rng.random(size) < 0.01


def write(mask, spacing, path):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(mm) for mm in spacing[::-1]])
    image.SetOrigin((-12.5, 31.0, -204.75))
    sitk.WriteImage(image, str(path))


def contour(mask):
    """Pixels of the outline of each slice, by SimpleITK."""
    outline = np.zeros_like(mask)
    for k, plane in enumerate(mask):
        padded = sitk.GetImageFromArray(np.pad(plane, 1).astype(np.uint8))
        outline[k] = sitk.GetArrayFromImage(sitk.BinaryContour(padded, False, 0, 1))[1:-1, 1:-1] > 0
    return outline


def expected(a, b, spacing, tolerance):
    volume = np.prod(spacing) / 1000
    distances = sd.compute_surface_distances(b, a, spacing)
    both = [(distances[f"distances_{way}"], distances[f"surfel_areas_{side}"])
            for way, side in (("gt_to_pred", "gt"), ("pred_to_gt", "pred"))]
    return {
        "volume_a_cm3": a.sum() * volume,
        "volume_b_cm3": b.sum() * volume,
        "dice": sd.compute_dice_coefficient(b, a),
        "surface_dice": sd.compute_surface_dice_at_tolerance(distances, tolerance),
        "hausdorff_95_mm": sd.compute_robust_hausdorff(distances, 95),
        "hausdorff_mm": sd.compute_robust_hausdorff(distances, 100),
        "mean_surface_distance_mm": sum((d * s).sum() for d, s in both) / sum(s.sum() for _, s in both),
        "added_path_length_mm": (contour(b) & ~contour(a)).sum() * np.sqrt(spacing[1] * spacing[2]),
    }


def main():
    count = int(sys.argv[1])
    rng = np.random.default_rng(20)
    worst, cases = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        while cases < count:
            size = [int(n) for n in rng.integers((6, 20, 20), (25, 60, 60))]
            spacing = [float(rng.uniform(0.5, 2))] * 3 if cases % 2 == 0 else [float(mm) for mm in rng.uniform(0.4, 5, 3)]
            # NIfTI keeps spacing in 32 bits.
            spacing = [float(np.float32(mm)) for mm in spacing]
            a, b = shape_of(rng, size), shape_of(rng, size)
            if rng.random() < 0.5:
                b = np.roll(a, tuple(rng.integers(-3, 4, 3)), (0, 1, 2))
            if not a.any() or not b.any():
                continue
            tolerance = round(float(rng.uniform(0.3, 4)), 4)
            write(a, spacing, folder / "A.nii.gz")
            write(b, spacing, folder / "B.nii")
            subprocess.run(
                [os.environ["CONTOURD"], "compare", folder / "A.nii.gz", folder / "B.nii", "--pair", "A=B",
                 "--tolerance-mm", str(tolerance), "--json", folder / "found.json"],
                check=True, stdout=subprocess.DEVNULL)
            found = json.loads((folder / "found.json").read_text())["structures"][0]
            for name, value in expected(a, b, spacing, tolerance).items():
                off = abs(found[name] - value) / max(1.0, abs(value))
                if off > 1e-4:
                    print(f"case {cases}, {size} voxels of {spacing} mm: {name} is {found[name]}, expected {value}")
                worst[name] = max(worst.get(name, 0.0), off)
            cases += 1
    print(f"{cases} cases; the largest difference, relative above 1:")
    for name, off in worst.items():
        print(f"  {name:26} {off:.1e}")
    sys.exit(max(worst.values()) > 1e-4)


main()
