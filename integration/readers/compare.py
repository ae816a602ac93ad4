#!/usr/bin/env python3
"""Reads structure sets with pydicom, and compares the masks of foreign readers with ours on our grid.

    compare.py FOLDER            every case under FOLDER: CASE/rtstruct.dcm, CASE/ct/*.dcm, CASE/masks/NAME.nii.gz
                                 (or NAME.raw: bytes in the order slice, row, column, where slices are uneven),
                                 CASE/plastimatch/NAME.nii.gz, CASE/rtstruct2nii/mask_NAME.nii.gz
    compare.py FOLDER --min 0.999

Also CASE/rt-utils/NAME.raw, CASE/platipy/NAME.raw and CASE/dicompyler/NAME.volume where foreign.py made them.

Judged are Dice (1 on boxes), the shift of the centroid (below 0.05 pixel) and the volume (within 0.5 %). Readers that are
themselves wrong are printed with their figures and not judged:
- rt-utils 1.2.7 rounds to whole pixels and counts the boundary in (cv2.fillPoly): BODY +1.1 to 2.4 %, a lung +7 to 15 %;
  where PixelSpacing is not square it takes it in the wrong order and loses the place (Dice 0.2 on a lung);
- platipy 0.7.2 rounds and counts the boundary in too (BODY +1.6 %, a lung +6 %) and is moved by up to 8 pixels where
  pixels are not square;
- pyCERR 2.5.1 takes PixelSpacing of DICOM in the wrong order (dataclasses/scan.py: grid1Units, between rows, is its second
  value), so that it is judged on square pixels only; on an oblique MR it is one row off on half of the slices, where
  plastimatch and dcmrtstruct2nii are not, so that it is judged on images along the axes of the patient;
- dicompyler-core 0.5.6 adds up areas of polygons with the first and the last plane by halves: 0.93 to 0.96 of the voxels
  on large structures, nothing for a structure on one slice.

pymedphys 0.41 is judged on what it takes: axial images that make a grid, and ROIs of one contour a slice. Contours that are put together by
exclusive disjunction (CLOSEDPLANAR_XOR) are judged by the reader that is here only: plastimatch and dcmrtstruct2nii take
CLOSED_PLANAR alone, rt-utils and platipy join them, pyCERR loses the inner of rings in rings (Dice 0.57).

One more reader is here: contours by pydicom, filled slice by slice by the centres of pixels (numpy), which is the only
one of them that does not need even spacing.

A case whose folder of a reader holds a file `expected-to-fail` is printed and not judged.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import config

READERS = {"plastimatch": "{}.nii.gz", "rtstruct2nii": "mask_{}.nii.gz"}
RAW_READERS = ("rt-utils", "platipy", "pycerr", "pymedphys")
NOT_JUDGED = ("rt-utils", "platipy", "dicompyler")


class Case:
    """The images and the structure set of one folder."""

    def __init__(self, folder):
        config.settings.reading_validation_mode = config.RAISE
        self.ds = pydicom.dcmread(folder / "rtstruct.dcm")
        config.settings.reading_validation_mode = config.WARN
        images = [pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / "ct").glob("*.dcm")]
        directions = np.array(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self.normal = np.cross(*self.directions)
        images.sort(key=lambda image: np.array(image.ImagePositionPatient, dtype=float) @ self.normal)
        self.images = images
        self.slices = {image.SOPInstanceUID: k for k, image in enumerate(images)}

    def is_plain(self):
        """Square pixels along the axes of the patient."""
        down, across = (float(mm) for mm in self.images[0].PixelSpacing)
        return down == across and np.allclose(np.abs(self.directions).max(axis=1), 1)

    def shape(self):
        return len(self.images), self.images[0].Rows, self.images[0].Columns

    def check(self):
        """Everything that a validator of single attributes does not see."""
        ds, first = self.ds, self.images[0]
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
            assert ds[keyword].value == first[keyword].value if keyword in first else not ds[keyword].value, keyword
        series = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == first.SeriesInstanceUID
        assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == set(self.slices)
        numbers = [roi.ROINumber for roi in ds.StructureSetROISequence]
        assert len(set(numbers)) == len(numbers)
        assert numbers == [item.ReferencedROINumber for item in ds.ROIContourSequence]
        assert numbers == [item.ReferencedROINumber for item in ds.RTROIObservationsSequence]
        assert all(roi.ReferencedFrameOfReferenceUID == ds.FrameOfReferenceUID for roi in ds.StructureSetROISequence)

    def masks(self):
        """Every ROI, filled by pixel centres: even-odd in a contour, the union of the contours of a slice."""
        names = {roi.ROINumber: roi.ROIName for roi in self.ds.StructureSetROISequence}
        kinds = lambda item: {contour.ContourGeometricType for contour in item.get("ContourSequence", [])}  # noqa: E731
        self.by_xor = {names[item.ReferencedROINumber] for item in self.ds.ROIContourSequence
                       if "CLOSEDPLANAR_XOR" in kinds(item)}
        return {names[item.ReferencedROINumber]: self.mask(item) for item in self.ds.ROIContourSequence}

    def mask(self, item):
        mask = np.zeros(self.shape(), dtype=bool)
        for contour in item.get("ContourSequence", []):
            k = self.slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            image = self.images[k]
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints >= 3
            offset = points - np.array(image.ImagePositionPatient, dtype=float)
            assert np.abs(offset @ self.normal).max() < 0.005, "a contour off the plane of its image"
            down, across = (float(mm) for mm in image.PixelSpacing)
            polygon = np.stack([offset @ self.directions[0] / across, offset @ self.directions[1] / down], axis=1)
            filled = fill(polygon, mask[k].shape)
            # PS3.3 C.8.8.6.3: contours of this type are put together by exclusive disjunction.
            mask[k] = mask[k] ^ filled if contour.ContourGeometricType == "CLOSEDPLANAR_XOR" else mask[k] | filled
        return mask


def fill(polygon, shape):
    """Pixels whose centres see an odd number of edges on their left."""
    flips = np.zeros((shape[0], shape[1] + 1), dtype=int)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(0, int(np.ceil(y0))), min(shape[0], int(np.ceil(y1))))
        columns = np.ceil(x0 + (rows - y0) * (x1 - x0) / (y1 - y0)) if len(rows) else rows
        np.add.at(flips, (rows, np.clip(columns, 0, shape[1]).astype(int)), 1)
    return np.cumsum(flips, axis=1)[:, :-1] % 2 == 1


def on_grid(mask, image):
    """A mask of another reader on our grid."""
    same = (
        image.GetSize() == mask.GetSize()
        and np.allclose(image.GetOrigin(), mask.GetOrigin(), atol=1e-2)
        and np.allclose(image.GetDirection(), mask.GetDirection(), atol=1e-4)
    )
    if not same:
        image = sitk.Resample(image, mask, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(image) > 0


def dice(a, b):
    both = a.sum() + b.sum()
    return 2.0 * (a & b).sum() / both if both else 1.0


def shift(a, b):
    """How far the centroids are apart, in voxels along the axis where it is most."""
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else np.inf
    return max(abs(np.mean(x) - np.mean(y)) for x, y in zip(np.nonzero(a), np.nonzero(b)))


def ours(case, name, shape):
    """Our mask as (array, image); there is no image where slices are uneven."""
    path = case / "masks" / f"{name}.nii.gz"
    try:
        image = sitk.ReadImage(str(path))
        return sitk.GetArrayFromImage(image) > 0, image
    except RuntimeError:  # None is there, or its axes are sheared (a tilted gantry), which ITK does not take.
        pass
    return np.fromfile(case / "masks" / f"{name}.raw", dtype=np.uint8).reshape(shape) > 0, None


def rebuilt(case, folder, name):
    """Pairs of a reader and its mask of one ROI, on our grid; none where it made no mask."""
    mask, image = ours(folder, name, case.shape())
    yield "pydicom", case.filled[name]
    if not mask.any():
        return
    for reader, pattern in READERS.items():
        theirs = folder / reader / pattern.format(name)
        if image is not None:
            yield reader, on_grid(image, sitk.ReadImage(str(theirs))) if theirs.exists() else None
    for reader in RAW_READERS:
        theirs = folder / reader / f"{name}.raw"
        not_read = (folder / reader / f"{name}.not-read").exists() or reader == "pymedphys" and not theirs.exists()
        if (folder / reader).is_dir() and not not_read:
            yield reader, np.fromfile(theirs, np.uint8).reshape(case.shape()) > 0 if theirs.exists() else None


def verdict(case, folder, reader, name, value, moved, ratio, least):
    if reader in NOT_JUDGED or (folder / reader / "expected-to-fail").exists():
        return "not judged"
    if reader != "pydicom" and name in case.by_xor or reader == "pycerr" and not case.is_plain():
        return "not judged"
    good = value >= (1.0 if name == "Box" else least) and moved < 0.05 and abs(ratio - 1) <= 0.005
    return "ok" if good else "FAILED"


def volumes(case, folder, name, mask):
    """The volume that dicompyler-core finds, as part of that of the voxels; for even slices."""
    path = folder / "dicompyler" / f"{name}.volume"
    if path.exists() and mask.any():
        first = case.images[0]
        steps = np.diff([np.array(i.ImagePositionPatient, dtype=float) @ case.normal for i in case.images])
        voxel = float(first.PixelSpacing[0]) * float(first.PixelSpacing[1]) * float(np.median(steps)) / 1000
        ratio = float(path.read_text()) / (mask.sum() * voxel)
        print(f"  {'dicompyler':13} {name:12} {mask.sum():8d} voxels  volume {ratio:.4f}  not judged")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--min", type=float, default=0.999)
    arguments = arguments.parse_args()
    failures, judged = 0, 0
    for folder in sorted(path.parent for path in arguments.folder.glob("*/rtstruct.dcm")):
        case = Case(folder)
        case.check()
        case.filled = case.masks()
        print(f"{folder.name}: {len(case.images)} images, {len(case.filled)} ROIs")
        for name in case.filled:
            mask, _ = ours(folder, name, case.shape())
            for reader, theirs in rebuilt(case, folder, name):
                theirs = np.zeros_like(mask) if theirs is None else theirs
                value, moved = dice(mask, theirs), shift(mask, theirs)
                ratio = theirs.sum() / mask.sum() if mask.any() else 1.0 + theirs.sum()
                said = verdict(case, folder, reader, name, value, moved, ratio, arguments.min)
                failures += said == "FAILED"
                judged += said != "not judged"
                print(f"  {reader:13} {name:12} {mask.sum():8d} voxels  Dice {value:.6f}  moved {moved:.4f} px  "
                      f"volume {ratio:.4f}  {said}")
            volumes(case, folder, name, mask)
    print(f"{judged} masks compared, {failures} outside of Dice {arguments.min} (1 on boxes), 0.05 pixel or 0.5 % of volume")
    return 1 if failures or not judged else 0


if __name__ == "__main__":
    sys.exit(main())
