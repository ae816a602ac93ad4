"""Shows what we write besides structure sets to readers that are not ours, on the objects of tests/outputs.rs.

    outputs.py FOLDER     a folder with SEG, labelmap.dcm, REG, PM, CT, MR, SR, polygons.dcm, DOC and SC objects and the
                          images, as that test leaves it

The images are the phantom; the network gave its values as an image, 1, 2 and 3 times its values as displacements in
voxels, and the classes of -700 and 140 HU. highdicom, SimpleITK, pydicom and pypdf have to find the same. Exits with 1
when one of them does not.
"""

import io
import pathlib
import sys

import highdicom as hd
import numpy as np
import pydicom
import pypdf
import SimpleITK as sitk
from pydicom.sr.codedict import codes


def image(files):
    reader = sitk.ImageSeriesReader()
    ordered = sorted(files, key=lambda file: float(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2]))
    reader.SetFileNames([str(file) for file in ordered])
    return reader.Execute()


def close(what, found, expected, tolerance, failures):
    difference = float(np.abs(np.asarray(found, dtype=float) - np.asarray(expected, dtype=float)).max())
    print(f"{what}: largest difference {difference:.3g}")
    if difference > tolerance:
        failures.append(f"{what}: {difference} above {tolerance}")


def figures(values):
    return {codes.SCT.Mean: values.mean(), codes.SCT.StandardDeviation: values.std(), codes.SCT.Minimum: values.min(),
            codes.SCT.Maximum: values.max(), codes.SCT.Median: np.median(values)}


def measurements(file, regions, hu, voxel_cm3, reference, failures):
    """A structured report: its volumes and HU, by highdicom, against those worked out here."""
    report = hd.sr.srread(file)
    groups = report.content.get_volumetric_roi_measurement_groups(reference_type=reference)
    print(f"SR {file.name[:12]} (highdicom): {type(report).__name__}, {len(groups)} volumetric groups by {reference.meaning}")
    if len(groups) != len(regions):
        failures.append(f"SR {file.name}: {len(groups)} groups, expected {len(regions)}")
    for group, (name, inside) in zip(groups, regions):
        if group.tracking_identifier != name:
            failures.append(f"SR {file.name}: {group.tracking_identifier}, expected {name}")
        volume, = group.get_measurements(name=codes.SCT.Volume)
        close(f"SR {name} volume, relative", volume.value / (inside.sum() * voxel_cm3), 1.0, 1e-4, failures)
        found = {one.derivation: one.value for one in group.get_measurements(name=codes.DCM.AttenuationCoefficient)}
        for derivation, expected in figures(hu[inside]).items():
            close(f"SR {name} {derivation.meaning}, HU", found[derivation], expected, 0.05, failures)


def documents(folder, names, failures):
    """The PDF and the pictures: what they say can be read."""
    one = lambda pattern: next(folder.glob(pattern))
    document = pydicom.dcmread(one("DOC.*.dcm"))
    pdf = pypdf.PdfReader(io.BytesIO(document.EncapsulatedDocument[:document.EncapsulatedDocumentLength]))
    text = "\n".join(page.extract_text() for page in pdf.pages)
    pictures = sum(len(page.images) for page in pdf.pages)
    print(f"PDF (pypdf): {len(pdf.pages)} pages, {pictures} pictures, {len(text)} characters")
    for name in names + ["AI generated, not reviewed", "Checks", "Provenance"]:
        if name not in text:
            failures.append(f"PDF: found no {name!r}")
    captures = sorted(folder.glob("SC.*.dcm"))
    for file in captures:
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        if array.shape != (1, 1024, 1024, 3) or (pydicom.dcmread(file).pixel_array != array[0]).any():
            failures.append(f"SC {file.name}: {array.shape}, or SimpleITK and pydicom differ")
    print(f"secondary captures (SimpleITK, pydicom): {len(captures)} of 1024 x 1024 in colour")
    if len(captures) != pictures + 1:
        failures.append(f"SC: {len(captures)} objects for {pictures} pictures and a table")


def main(folder):
    failures = []
    one = lambda pattern: next(folder.glob(pattern))
    original = image(list(folder.glob("2.25.*.dcm")))
    hu = sitk.GetArrayFromImage(original).astype(float)
    column_mm, row_mm, slice_mm = original.GetSpacing()

    for kind in ("CT", "MR"):
        derived = image(list(folder.glob(f"{kind}.*.dcm")))
        close(f"{kind} pixels (SimpleITK)", sitk.GetArrayFromImage(derived), hu, 0.0, failures)
        place = np.subtract(derived.GetOrigin() + derived.GetSpacing(), original.GetOrigin() + original.GetSpacing())
        close(f"{kind} place (SimpleITK)", place, 0.0 * place, 1e-6, failures)

    expected = [(hu > -700) & (hu <= 140), hu > 140]
    border = (np.abs(hu + 700) < 1e-3) | (np.abs(hu - 140) < 1e-3)
    for name, file in (("binary", one("SEG.*.dcm")), ("label map", one("labelmap.dcm"))):
        seg = hd.seg.segread(file)
        volume = seg.get_volume()
        voxels, positions = volume.array, volume.affine
        # highdicom orders slices along the normal of its own choice; ours go up.
        if np.dot(positions[:3, 0], [0, 0, 1]) < 0:
            voxels = voxels[::-1]
        first = min(range(hu.shape[0]), key=lambda k: abs(original.TransformIndexToPhysicalPoint((0, 0, k))[2]
                    - min(positions[2, 3], (positions @ [voxels.shape[0] - 1, 0, 0, 1])[2])))
        for index, number in enumerate(seg.segment_numbers):
            found = np.zeros_like(border)
            plane = voxels[..., index] if voxels.ndim == 4 else voxels == number
            found[first:first + voxels.shape[0]] = plane.astype(bool)
            wrong = int(((found != expected[index]) & ~border).sum())
            label = seg.get_segment_description(number).segment_label
            print(f"SEG {name}, {label} (highdicom): {wrong} voxels differ of {int(expected[index].sum())}")
            if wrong:
                failures.append(f"SEG {name} {label}: {wrong} voxels differ")

    parametric = hd.imread(one("PM.*.dcm"))
    frames = parametric.get_frames(apply_real_world_transform=True)
    order = np.argsort([float(group.PlanePositionSequence[0].ImagePositionPatient[2])
                        for group in parametric.PerFrameFunctionalGroupsSequence])
    close("parametric map (highdicom)", frames[order], hu, 0.0, failures)

    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    registration = pydicom.dcmread(one("REG.*.dcm"))
    grid = registration.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    shape = [int(side) for side in np.frombuffer(grid["GridDimensions"].value, "<u4")] \
        if isinstance(grid["GridDimensions"].value, bytes) else [int(side) for side in grid.GridDimensions]
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(shape[::-1] + [3])
    for axis, (times, mm) in enumerate(((1, column_mm), (2, row_mm), (3, slice_mm))):
        expected_mm = times * mm * hu
        close(f"displacement along {'xyz'[axis]} (pydicom)", vectors[..., axis] / np.abs(expected_mm).max(),
              expected_mm / np.abs(expected_mm).max(), 1e-6, failures)
    close("grid of the registration (pydicom)", [float(v) for v in grid.GridResolution], [column_mm, row_mm, slice_mm],
          1e-6, failures)

    # A voxel of exactly the border is in neither count: none is.
    regions = list(zip(("Brain", "Bone"), expected))
    voxel_cm3 = column_mm * row_mm * slice_mm / 1000
    measurements(one("SR.*.dcm"), regions, hu, voxel_cm3, codes.DCM.ReferencedSegment, failures)
    measurements(folder / "polygons.dcm", regions, hu, voxel_cm3, codes.DCM.ImageRegion, failures)
    documents(folder, ["Brain", "Bone"], failures)

    for failure in failures:
        print("FAILED", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
