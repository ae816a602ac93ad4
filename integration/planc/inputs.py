#!/usr/bin/env python3
"""Writes a series with other programs, for `contourd segment` to read, and compares its masks with those of the DICOM.

    inputs.py make IMAGES FOLDER               plan.h5 (pyCERR's saveToH5), and with SimpleITK image.nii.gz, turned.nrrd and
                                               detached.nhdr, whose axes run in other orders and directions
    inputs.py check FOLDER RESULTS REFERENCE   RESULTS: what segment made of FOLDER; REFERENCE: the results of the DICOM

Every mask must hold the voxels of the reference at the same place, and lie on the grid of its image. Ends with 1 when one
does not.
"""

import pathlib
import sys

import numpy as np
import SimpleITK as sitk

FILES = {"plan": "plan.h5", "image": "image.nii.gz", "turned": "turned.nrrd", "detached": "detached.nhdr"}


def make(images, folder):
    from cerr import plan_container as pc

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    plan = pc.loadDcmDir(str(images))
    # pyCERR 2.5.1 saves no list of texts and no text outside of ASCII, which attributes of DICOM may be.
    for info in plan.scan[0].scanInfo:
        for key, value in vars(info).items():
            if isinstance(value, (list, np.ndarray)) and np.array(value).dtype.kind == "U":
                value = "\\".join(value)
            if isinstance(value, str):
                setattr(info, key, value.encode("ascii", "replace").decode())
    pc.saveToH5(plan, str(folder / FILES["plan"]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(images)))
    image = sitk.Cast(reader.Execute(), sitk.sitkInt16)
    sitk.WriteImage(image, str(folder / FILES["image"]))
    sitk.WriteImage(sitk.DICOMOrient(image, "RSA"), str(folder / FILES["turned"]), useCompression=True)
    sitk.WriteImage(sitk.DICOMOrient(image, "PIL"), str(folder / FILES["detached"]))


def check(folder, results, reference):
    folder, results, reference = pathlib.Path(folder), pathlib.Path(results), pathlib.Path(reference)
    problems, count = [], 0
    for name, file in FILES.items():
        image = None if file.endswith(".h5") else sitk.ReadImage(str(folder / file))
        cases = list(results.glob(f"{name}/*/"))
        if len(cases) != 1 or list(cases[0].glob("*.dcm")):
            problems.append(f"{name}: found {len(cases)} results, expected one without DICOM")
            continue
        for expected in sorted(reference.glob("*.nii.gz")):
            if expected.name == "structures.nii.gz":
                continue
            mask = sitk.ReadImage(str(cases[0] / expected.name))
            if image is not None and not same_grid(mask, image):
                problems.append(f"{name}, {expected.name}: not on the grid of the image")
            ours, theirs = (sitk.DICOMOrient(i, "LPS") for i in (mask, sitk.ReadImage(str(expected))))
            count += 1
            if not same_grid(ours, theirs) or (sitk.GetArrayFromImage(ours) != sitk.GetArrayFromImage(theirs)).any():
                problems.append(f"{name}, {expected.name}: other voxels, or at another place")
    print("\n".join(problems))
    print(f"{count} masks of {len(FILES)} files, {len(problems)} differences")
    return 1 if problems or not count else 0


def same_grid(a, b):
    near = [np.allclose(f(a), f(b), atol=1e-3) for f in (sitk.Image.GetOrigin, sitk.Image.GetSpacing, sitk.Image.GetDirection)]
    return a.GetSize() == b.GetSize() and all(near)


if __name__ == "__main__":
    sys.exit({"make": make, "check": check}[sys.argv[1]](*sys.argv[2:]))
