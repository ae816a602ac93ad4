#!/usr/bin/env python3
"""Reads what `contourd segment --write nifti,nrrd,planc` left with pyCERR, h5py and SimpleITK, and compares the three.

    compare.py IMAGES RESULTS

IMAGES: the DICOM files of one series. RESULTS: the folder of one case. pyCERR opens planC.h5 with its own loadFromH5. The
voxels of each structure by pyCERR's getStrMask must be those of the NIfTI and of the NRRD mask, on the grid of the
series as SimpleITK reads it; the scan must hold the values that SimpleITK reads; what pyCERR makes of the contours by
itself is compared by Dice. Ends with 1 when anything differs.
"""

import pathlib
import sys

import h5py
import numpy as np
import SimpleITK as sitk
from cerr import plan_container as pc
from cerr.contour import rasterseg as rs

PROBLEMS = []


def check(what, good, found=""):
    if not good:
        PROBLEMS.append(what)
        print(f"DIFFERS: {what} {found}")


def read_series(folder):
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    reader.SetFileNames(names)
    return reader.Execute()


def same_grid(what, image, series):
    """The corners of the two grids are at the same places."""
    check(f"{what}: size", image.GetSize() == series.GetSize(), f"{image.GetSize()} {series.GetSize()}")
    size = np.array(series.GetSize()) - 1
    for corner in np.ndindex(2, 2, 2):
        index = [int(i) for i in size * np.array(corner)]
        apart = np.array(image.TransformIndexToPhysicalPoint(index)) - series.TransformIndexToPhysicalPoint(index)
        check(f"{what}: corner {corner}", np.abs(apart).max() < 0.01, apart)


def of_cerr(array):
    """From CERR's (row, column, slice against the normal) to (slice, row, column)."""
    return np.transpose(array, (2, 0, 1))[::-1]


def main(images, results):
    results = pathlib.Path(results)
    series = read_series(images)
    values = sitk.GetArrayFromImage(series).astype(np.float64)
    # SimpleITK may stack the slices against our normal, which is row direction x column direction.
    direction = np.array(series.GetDirection()).reshape(3, 3)
    ours_up = np.dot(np.cross(direction[:, 0], direction[:, 1]), direction[:, 2]) > 0
    plan = pc.loadFromH5(str(results / "planC.h5"))
    scan = of_cerr(plan.scan[0].getScanArray())
    scan = scan if ours_up else scan[::-1]
    # What stands for no measurement (Pixel Padding Value) is air to contourd: -1024 HU, and further below in the images.
    values = np.maximum(values, -1024) if plan.scan[0].scanInfo[0].imageType == "CT SCAN" else values
    check("scan values", scan.shape == values.shape and np.abs(scan - values).max() < 1e-3)
    from_cerr = plan.scan[0].getSitkImage()
    same_grid("pyCERR's image", from_cerr, series)
    with h5py.File(results / "planC.h5") as file:
        array = file["planC/scan/Item_0/scanArray"]
        print(f"scanArray {array.dtype} {array.shape}, chunks {array.chunks}, {array.compression}")
    print(f"{'structure':20} {'voxels':>9} {'cm3':>10}  Dice of pyCERR's own raster of the contours")
    for number, structure in enumerate(plan.structure):
        name = structure.structureName
        mask = of_cerr(rs.getStrMask(number, plan))
        for kind in ["nii.gz", "nrrd"]:
            image = sitk.ReadImage(str(results / f"{name}.{kind}"))
            if kind == "nrrd":
                same_grid(f"{name}.{kind}", image, series)
            voxels = sitk.GetArrayFromImage(image) > 0
            check(f"{name}: getStrMask and {kind}", np.array_equal(mask, voxels), f"{mask.sum()} {voxels.sum()}")
        structure.rasterSegments = rs.generateRastersegs(structure, plan)
        traced = of_cerr(rs.getStrMask(number, plan))
        both = mask.sum() + traced.sum()
        dice = 2 * np.logical_and(mask, traced).sum() / both if both else 1.0
        check(f"{name}: contours", dice > 0.995, dice)
        spacing = np.prod(series.GetSpacing())
        print(f"{name:20} {mask.sum():9} {mask.sum() * spacing / 1000:10.2f}  {dice:.5f}")
    all_in_one(results, plan)
    print(f"{len(PROBLEMS)} differences")
    return 1 if PROBLEMS else 0


def all_in_one(results, plan):
    """structures.nii.gz and structures.seg.nrrd hold the same structures as the masks."""
    masks = {s.structureName: sitk.GetArrayFromImage(sitk.ReadImage(str(results / f"{s.structureName}.nii.gz"))) > 0
             for s in plan.structure}
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(results / "structures.nii.gz")))
    for number, (name, mask) in enumerate(masks.items()):
        one = labels[number] > 0 if labels.ndim == 4 else labels == number + 1
        check(f"{name} in structures.nii.gz", np.array_equal(one, mask))
    image = sitk.ReadImage(str(results / "structures.seg.nrrd"))
    layers = sitk.GetArrayFromImage(image)
    layers = layers if image.GetNumberOfComponentsPerPixel() > 1 else layers[..., np.newaxis]
    for number, (name, mask) in enumerate(masks.items()):
        get = lambda key: image.GetMetaData(f"Segment{number}_{key}")  # noqa: E731
        check(f"{name} in structures.seg.nrrd: name", get("Name") == name, get("Name"))
        one = layers[..., int(get("Layer"))] == int(get("LabelValue"))
        check(f"{name} in structures.seg.nrrd", np.array_equal(one, mask))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
