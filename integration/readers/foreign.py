#!/usr/bin/env python3
"""Rebuilds the masks of structure sets with readers that are Python libraries, one at a time.

    foreign.py rt-utils FOLDER       CASE/rt-utils/NAME.raw: bytes in the order slice, row, column, for compare.py
    foreign.py platipy FOLDER
    foreign.py dicompyler FOLDER     CASE/dicompyler/NAME.volume: cm3 by the areas of its polygons

A reader that fails on a case leaves its words in CASE/READER/log; compare.py then counts its masks as missing.
"""

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


READERS = {"rt-utils": rt_utils, "platipy": platipy, "dicompyler": dicompyler}


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
