"""How long it takes from voxels to a written RT Structure Set, side by side in one run: contourd, rt-utils, plastimatch.
highdicom writes no structure sets; its binary segmentation of the same voxels stands beside them.

  rtstruct.py [STRUCTURES [SLICES [SIDE [RUNS]]]]      default 150 500 512 3; run it at the root of the repository

Structures are ellipsoids, ten by fifteen in the plane, one after the other. Each program has the masks in memory (or in
its own image file) when the clock starts; reading the CT belongs to those that need it. Needs numpy, pydicom, SimpleITK,
rt-utils and highdicom; plastimatch where it is installed (it is left out, with a word, where it is not). Prints medians
of so many runs, each program's one after the other's in every round.
"""

import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(folder, slices, side):
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ct = FileDataset(None, Dataset(), file_meta=meta, preamble=bytes(128))
        ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.FrameOfReferenceUID = study, series, frame
        ct.Modality, ct.PatientName, ct.PatientID, ct.PatientPosition = "CT", "Phantom^Many", "MANY", "HFS"
        ct.PatientBirthDate, ct.PatientSex, ct.PatientAge = "", "O", ""
        ct.StudyDate, ct.StudyTime, ct.StudyID, ct.StudyDescription = "20260101", "120000", "1", ""
        ct.AccessionNumber, ct.ReferringPhysicianName, ct.SeriesNumber, ct.InstanceNumber = "", "", 1, number + 1
        ct.SeriesDescription, ct.Manufacturer, ct.SliceThickness = "", "", 1.5
        ct.ImageOrientationPatient, ct.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-200, -200, 1.5 * number]
        ct.PixelSpacing, ct.Rows, ct.Columns = [1, 1], side, side
        ct.SamplesPerPixel, ct.PhotometricInterpretation, ct.PixelRepresentation = 1, "MONOCHROME2", 1
        ct.BitsAllocated, ct.BitsStored, ct.HighBit = 16, 16, 15
        ct.RescaleIntercept, ct.RescaleSlope = 0, 1
        ct.PixelData = bytes(2 * side * side)
        ct.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def make_labels(structures, slices, side):
    """Ellipsoids that reach through all slices, so that every structure has a contour on nearly every one."""
    labels = numpy.zeros((slices, side, side), numpy.uint8)
    wide, high = side / 15, side / 10
    y, x = numpy.mgrid[:side, :side]
    cell = (y // high * 15 + x // wide).astype(int)
    across = (x % wide / wide - 0.5) ** 2 + (y % high / high - 0.5) ** 2
    plane = numpy.where(cell < structures, cell + 1, 0)
    for number in range(slices):
        reach = 0.24 * (1 - ((number + 0.5) / slices * 2 - 1) ** 2)
        labels[number] = numpy.where(across < max(reach, 0.01), plane, 0)
    return labels


def contourd(folder):
    """The test binary that holds the measurement, in the release profile; CONTOURD_SPEED names one that is built."""
    built = os.environ.get("CONTOURD_SPEED")
    command = [built] if built else ["cargo", "test", "--release", "--quiet", "--test", "rtstruct", "--"]
    command += ["--ignored", "--nocapture", "speed::"]
    done = subprocess.run(command, env={**os.environ, "CONTOURD_BENCH_DIR": str(folder)}, capture_output=True, text=True)
    found = re.search(r"seconds ([\d.]+) .*contours (\d+) mib (\d+)", done.stdout)
    if not found:
        sys.exit(f"the measurement of contourd failed:\n{done.stdout}\n{done.stderr}")
    return float(found.group(1)), int(found.group(2)), int(found.group(3))


def rt_utils(folder, labels):
    from rt_utils import RTStructBuilder

    begin = time.perf_counter()
    builder = RTStructBuilder.create_new(dicom_series_path=str(folder / "ct"))
    seconds = time.perf_counter() - begin
    for label in range(1, labels.max() + 1):
        # One mask at a time, made beside the clock: all of them would take 20 GB.
        mask = numpy.moveaxis(labels == label, 0, 2)
        begin = time.perf_counter()
        builder.add_roi(mask=mask, name=f"Organ_{label}")
        seconds += time.perf_counter() - begin
    begin = time.perf_counter()
    builder.save(str(folder / "rt-utils.dcm"))
    return seconds + time.perf_counter() - begin


def highdicom(folder, labels):
    """A segmentation, a bit for each voxel and segment; frames without voxels are left out."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    begin = time.perf_counter()
    images = [pydicom.dcmread(file) for file in sorted((folder / "ct").glob("*.dcm"))]
    algorithm = hd.AlgorithmIdentificationSequence(name="bench", version="1", family=codes.cid7162.ArtificialIntelligence)
    segments = [
        hd.seg.SegmentDescription(
            segment_number=label, segment_label=f"Organ_{label}", segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Organ, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm)
        for label in range(1, labels.max() + 1)
    ]
    seg = hd.seg.Segmentation(
        source_images=images, pixel_array=labels, segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments, series_instance_uid=generate_uid(), series_number=9051,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="bench", manufacturer_model_name="bench",
        software_versions="1", device_serial_number="1")
    seg.save_as(folder / "highdicom.dcm")
    return time.perf_counter() - begin


def plastimatch(folder, image):
    begin = time.perf_counter()
    command = ["plastimatch", "convert", "--input-ss-img", str(image), "--referenced-ct", str(folder / "ct"),
               "--output-dicom", str(folder / "plastimatch")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    structures, slices, side, runs = ([int(text) for text in sys.argv[1:]] + [150, 500, 512, 3][len(sys.argv) - 1:])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="contourd-rtstruct-"))
    print(f"{structures} structures, {slices} slices of {side} x {side}, medians of {runs}")
    write_series(folder / "ct", slices, side)
    labels = make_labels(structures, slices, side)
    labels.tofile(folder / "labels.raw")
    programs = {"contourd": lambda: contourd(folder), "rt-utils": lambda: rt_utils(folder, labels)}
    notes = {"rt-utils": "the CT read besides", "plastimatch": "the CT read besides",
             "highdicom": "a segmentation, the CT read besides"}
    if structures <= 32 and shutil.which("plastimatch"):
        # Its image of structures has a bit for each, in a number of 32 bits.
        bits = numpy.where(labels > 0, numpy.uint32(1) << numpy.maximum(labels, 1).astype(numpy.uint32) - 1, 0)
        image = SimpleITK.GetImageFromArray(bits.astype(numpy.uint32))
        image.SetSpacing((1, 1, 1.5))
        image.SetOrigin((-200, -200, 0))
        SimpleITK.WriteImage(image, str(folder / "structures.mha"))
        programs["plastimatch"] = lambda: plastimatch(folder, folder / "structures.mha")
    else:
        print("plastimatch  left out: it is not here, or there are more than the 32 structures of its images")
    programs["highdicom"] = lambda: highdicom(folder, labels)
    times = {name: [] for name in programs}
    for _ in range(runs):
        for name, measure in programs.items():
            times[name].append(measure())
    found = times["contourd"]
    size = (folder / "contourd.dcm").stat().st_size
    times["contourd"] = [seconds for seconds, _, _ in found]
    notes["contourd"] = f"{found[0][1]} contours, {size >> 20} MiB, process {max(mib for _, _, mib in found)} MiB"
    for name, seconds in times.items():
        print(f"{name:12} {statistics.median(seconds):8.2f} s  {notes[name]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"this process, with rt-utils and highdicom in it, took {peak} MiB at most")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
