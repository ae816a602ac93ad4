#!/usr/bin/env python3
"""Rebuilds the masks of structure sets with readers that are Python libraries, one at a time.

    foreign.py rt-utils FOLDER       CASE/rt-utils/NAME.raw: bytes in the order slice, row, column, for compare.py
    foreign.py platipy FOLDER
    foreign.py pycerr FOLDER
    foreign.py pymedphys FOLDER      CASE/pymedphys/NAME.not-read: why it does not take the ROI
    foreign.py dicompyler FOLDER     CASE/dicompyler/NAME.volume: cm3 by the areas of its polygons

A reader that fails on a case leaves its words in CASE/READER/log; compare.py then counts its masks as missing.
"""

import shutil
import sys
import traceback
from pathlib import Path

import numpy as np
import pydicom


def images(case):
    """The images by their positions along the normal."""
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in (case / "ct").glob("*.dcm")]
    directions = np.array(read[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(*directions)
    return sorted(read, key=lambda image: np.array(image.ImagePositionPatient, dtype=float) @ normal)


def rt_utils(case, out):
    from rt_utils import RTStructBuilder

    builder = RTStructBuilder.create_from(dicom_series_path=str(case / "ct"), rt_struct_path=str(case / "rtstruct.dcm"))
    # Its slices run by its own order, which is that of the positions along the normal.
    for name in builder.get_roi_names():
        try:
            mask = builder.get_roi_mask_by_name(name)
        except AttributeError:  # A region without contours.
            continue
        np.moveaxis(mask, 2, 0).astype(np.uint8).tofile(out / f"{name}.raw")


def platipy(case, out):
    from platipy.dicom.io.rtstruct_to_nifti import convert_rtstruct
    import SimpleITK as sitk

    convert_rtstruct(str(case / "ct"), str(case / "rtstruct.dcm"), prefix="", output_dir=str(out))
    rows = [(image.Rows, image.Columns) for image in images(case)]
    for path in out.glob("*.nii.gz"):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert array.shape == (len(rows), *rows[0]), f"{path.name}: another grid, {array.shape}"
        (array > 0).astype(np.uint8).tofile(out / f"{path.name.removesuffix('.nii.gz')}.raw")


def dicompyler(case, out):
    from dicompylercore import dicomparser

    parser = dicomparser.DicomParser(str(case / "rtstruct.dcm"))
    for number, structure in parser.GetStructures().items():
        planes = parser.GetStructureCoordinates(number)
        if planes:
            volume = parser.CalculateStructureVolume(planes, parser.CalculatePlaneThickness(planes))
            (out / f"{structure['name']}.volume").write_text(f"{volume:.4f}\n")


def pycerr(case, out):
    """Contours and masks by pyCERR's own import of DICOM. Its slices ascend against the normal."""
    import cerr.contour.rasterseg as rs
    from cerr import plan_container as pc

    folder = out / "dicom"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(case / "ct", folder)
    shutil.copy(case / "rtstruct.dcm", folder)
    plan = pc.loadDcmDir(str(folder))
    shutil.rmtree(folder)
    for number, structure in enumerate(plan.structure):
        mask = np.moveaxis(rs.getStrMask(number, plan), 2, 0)[::-1]
        np.ascontiguousarray(mask).astype(np.uint8).tofile(out / f"{structure.structureName}.raw")


def pymedphys(case, out):
    """Masks on the grid of a dose, which is given that of the images. It takes axial images, and one contour a slice."""
    from pymedphys._dicom.dose import get_dose_grid_structure_mask
    from pymedphys._dicom.structure import list_structures

    stack = images(case)
    if any(image.ImagePositionPatient[:2] != stack[0].ImagePositionPatient[:2] for image in stack):
        raise ValueError("slices that shift against each other, which are no grid of a dose")
    dose = pydicom.Dataset()
    dose.Modality = "RTDOSE"
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns"):
        setattr(dose, keyword, stack[0][keyword].value)
    z = [float(image.ImagePositionPatient[2]) for image in stack]
    dose.NumberOfFrames, dose.GridFrameOffsetVector = len(z), [position - z[0] for position in z]
    structures = pydicom.dcmread(case / "rtstruct.dcm")
    for name in list_structures(structures):
        try:
            mask = get_dose_grid_structure_mask(name, structures, dose)
        except (ValueError, IndexError, AttributeError) as error:  # An empty ROI has no ContourSequence.
            (out / f"{name}.not-read").write_text(f"{error}\n")
            continue
        mask.astype(np.uint8).tofile(out / f"{name}.raw")


READERS = {"rt-utils": rt_utils, "platipy": platipy, "dicompyler": dicompyler, "pycerr": pycerr, "pymedphys": pymedphys}


def main():
    reader, folder = sys.argv[1], Path(sys.argv[2])
    for case in sorted(path.parent for path in folder.glob("*/rtstruct.dcm")):
        out = case / reader
        out.mkdir(exist_ok=True)
        try:
            READERS[reader](case, out)
        except Exception:  # Whatever it is: it is what the reader says of the case.
            (out / "log").write_text(traceback.format_exc())
            print(f"{case.name}: {reader} failed: {traceback.format_exc().splitlines()[-1]}")


if __name__ == "__main__":
    main()
