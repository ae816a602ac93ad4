"""A CT, images of another Frame of Reference, structures drawn on these, and a Spatial Registration object that pydicom
writes, sent by DCMTK to the running gateway: it waits for the registration, refuses without it in time, runs once it is
there, whatever comes first, and puts the structures where SimpleITK does.

  registration.py [CT IMAGES STRUCTURES NAME]   folders of a CT and of images in its Frame of Reference, an RT Structure
                                                Set drawn on the images, and the structure; synthetic ones without

The images are moved into a frame of their own here, so that the truth is known."""

import json
import math
import pathlib
import sys
import tempfile
import time

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import peers
import synthetic
from peers import Gateway, check, free_port, run, start, stop, wait_for, wait_port

UID = "1.2.826.0.1.3680043.10.7." + str(int(time.time()))
REG = "1.2.840.10008.5.1.4.1.1.66.1"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def pose():
    """From the coordinates of the CT to those of the moved images: 11 degrees about z, 6 about x, and centimetres."""
    c, s, d, t = math.cos(0.192), math.sin(0.192), math.cos(0.105), math.sin(0.105)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, d, -t], [0, t, d]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_z @ about_x, [35.0, -42.0, 61.0]
    return matrix


def moved(matrix, points):
    return np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]


def decimals(values):
    return [f"{value:.9f}"[:16] for value in np.ravel(values)]


def meta(data):
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


class Study:
    """What is sent: the CT as it is, under new UIDs; the images and the structures moved into a frame of their own."""

    def __init__(self, folder, ct, images, structures, name, number):
        self.name, self.root = name, f"{UID}.{number}"
        self.fixed_frame, self.moving_frame = self.root + ".1", self.root + ".2"
        self.patient = f"REG{number}"
        self.ct = self.series(folder / "ct", ct, 3, self.fixed_frame, None)
        self.images = self.series(folder / "images", images, 4, self.moving_frame, pose())
        self.structures = self.drawn(folder / "structures", structures)
        self.folder = folder

    def whose(self, data, series, instance):
        data.PatientID, data.PatientName, data.StudyInstanceUID = self.patient, "Registration^Test", self.root
        data.SeriesInstanceUID, data.SOPInstanceUID = f"{self.root}.{series}", f"{self.root}.{series}.{instance}"
        data.SpecificCharacterSet = "ISO_IR 192"

    def series(self, folder, source, series, frame, matrix):
        files = []
        for number, path in enumerate(sorted(source.iterdir()), 1):
            data = pydicom.dcmread(path)
            self.whose(data, series, number)
            data.FrameOfReferenceUID = frame
            if matrix is not None:
                data.ImagePositionPatient = decimals(moved(matrix, data.ImagePositionPatient))
                axes = np.array(data.ImageOrientationPatient, float).reshape(2, 3) @ matrix[:3, :3].T
                data.ImageOrientationPatient = decimals(axes)
                data.SeriesDescription = "MOVED"
            meta(data)
            files.append(save(data, folder / f"{number:04}.dcm"))
        return files

    def drawn(self, folder, source):
        data = pydicom.dcmread(source)
        self.whose(data, 5, 1)
        data.FrameOfReferenceUID = self.moving_frame
        data.Manufacturer = "somebody"
        for roi in data.StructureSetROISequence:
            roi.ReferencedFrameOfReferenceUID = self.moving_frame
        # What it refers to is under new UIDs; the contours say by their points on which slice they lie.
        data.ReferencedFrameOfReferenceSequence = []
        for roi in data.ROIContourSequence:
            for contour in roi.get("ContourSequence", []):
                points = np.array(contour.ContourData, float).reshape(-1, 3)
                contour.ContourData = decimals(moved(pose(), points))
                if "ContourImageSequence" in contour:
                    del contour.ContourImageSequence
        meta(data)
        return save(data, folder / "rs.dcm")

    def registration(self, matrix, number=1, date="20260101"):
        """From the frame of the images to that of the CT, by `matrix`."""
        data = Dataset()
        data.SOPClassUID = REG
        self.whose(data, 60 + number, 1)
        data.Modality, data.SeriesNumber, data.InstanceNumber = "REG", "60", "1"
        data.ContentDate, data.ContentTime = date, "120000"
        data.ContentLabel, data.ContentDescription, data.ContentCreatorName = "REGISTRATION", "", ""
        data.Manufacturer, data.PositionReferenceIndicator = "pydicom", ""
        data.StudyDate = data.StudyTime = data.AccessionNumber = data.StudyID = ""
        data.PatientBirthDate = data.PatientSex = data.ReferringPhysicianName = ""
        data.FrameOfReferenceUID = self.fixed_frame
        items = []
        for frame, numbers in ((self.fixed_frame, np.eye(4)), (self.moving_frame, matrix)):
            one, registration, item = Dataset(), Dataset(), Dataset()
            one.FrameOfReferenceTransformationMatrixType = "RIGID"
            one.FrameOfReferenceTransformationMatrix = decimals(numbers)
            registration.MatrixSequence = [one]
            item.FrameOfReferenceUID, item.MatrixRegistrationSequence = frame, [registration]
            items.append(item)
        data.RegistrationSequence = items
        meta(data)
        return save(data, self.folder / f"registration-{number}/reg.dcm")


def inside(points, rows, columns):
    """The pixels of a polygon of (column, row), even-odd, at the centres of pixels."""
    mask = np.zeros((rows, columns), bool)
    column = np.arange(columns)[None, :]
    row = np.arange(rows)[:, None]
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0)):
        if y0 == y1:
            continue
        crosses = (y0 <= row) != (y1 <= row)
        mask ^= crosses & (column < x0 + (row - y0) * (x1 - x0) / (y1 - y0))
    return mask


def image_of(files):
    """The grid of a series as SimpleITK has it, without values."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    axes = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    slices.sort(key=lambda one: normal @ np.array(one.ImagePositionPatient, float))
    places = np.array([one.ImagePositionPatient for one in slices], float)
    step = normal @ (places[-1] - places[0]) / (len(slices) - 1)
    image = sitk.Image(int(slices[0].Columns), int(slices[0].Rows), len(slices), sitk.sitkFloat32)
    image.SetOrigin(places[0].tolist())
    down, across = (float(value) for value in slices[0].PixelSpacing)
    image.SetSpacing((across, down, float(step)))
    image.SetDirection(np.stack([axes[0], axes[1], normal], axis=1).ravel().tolist())
    return image


def mask_of(path, name, grid):
    """A structure of a structure set on a grid whose slices its contours lie on."""
    data = pydicom.dcmread(path)
    number = next(roi.ROINumber for roi in data.StructureSetROISequence if roi.ROIName == name)
    mask = np.zeros(grid.GetSize()[::-1], bool)
    for roi in data.ROIContourSequence:
        for contour in roi.get("ContourSequence", []) if roi.ReferencedROINumber == number else []:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            indices = np.array([grid.TransformPhysicalPointToContinuousIndex(point.tolist()) for point in points])
            index = round(float(indices[:, 2].mean()))
            if 0 <= index < mask.shape[0]:
                mask[index] ^= inside(indices[:, :2], *mask.shape[1:])
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    image.CopyInformation(grid)
    return image


def centre(mask, grid):
    found = np.argwhere(mask)[:, ::-1].mean(axis=0)
    return np.array(grid.TransformContinuousIndexToPhysicalPoint([float(value) for value in found]))


def by_simpleitk(study, registration):
    """The structure on the grid of the CT, moved by the matrix as the object says it: moving to registered, so that its
    inverse leads from a place of the CT to the images."""
    data = pydicom.dcmread(registration)
    item = next(item for item in data.RegistrationSequence if item.FrameOfReferenceUID == study.moving_frame)
    numbers = item.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix
    back = np.linalg.inv(np.array(numbers, float).reshape(4, 4))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(back[:3, :3].ravel().tolist())
    transform.SetTranslation(back[:3, 3].tolist())
    mask = mask_of(study.structures, study.name, image_of(study.images))
    return sitk.GetArrayFromImage(sitk.Resample(mask, image_of(study.ct), transform, sitk.sitkLinear, 0.0)) >= 0.5


def another_reader(study, registration, matrix):
    try:
        from pydicomrt.reg.parser import get_spatial_registrations
    except ImportError:
        print("  skipped: pydicomrt is not installed, which would read the registration too", flush=True)
        return
    read = get_spatial_registrations(pydicom.dcmread(registration))
    found = np.array(read[study.fixed_frame][study.moving_frame]).reshape(4, 4)
    check(np.abs(found - matrix).max() < 1e-6, "pydicomrt reads the same matrix from the images to the CT")


def compared(study, registration, result):
    grid = image_of(study.ct)
    found = sitk.GetArrayFromImage(mask_of(result, "Drawn", grid)) > 0.5
    expected = by_simpleitk(study, registration)
    overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    apart = np.linalg.norm(centre(found, grid) - centre(expected, grid))
    return overlap, apart


def send(gateway, *files):
    code, text = run("dcmsend", "-aet", "DCMSEND", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *files)
    check(code == 0, f"dcmsend sends {len(files)} objects" + text[-300:])


def pipeline():
    return {
        "id": "pair", "revision": 1, "mode": "live",
        "inputs": {
            "ct": {"all": [{"tag": "Modality", "eq": "CT"}], "none": [{"tag": "SeriesDescription", "eq": "MOVED"}]},
            "images": {"all": [{"tag": "SeriesDescription", "eq": "MOVED"}], "frame": "any"},
            "rs": {"structures": {"Drawn": [None]}, "frame": "any", "drawn_on": "images"},
        },
        "steps": [{"id": "taken", "post": {"Drawn": [{"op": "take", "of": ["rs:Drawn"]}]}}],
        "structures": {"taken:Drawn": {"name": "Drawn", "type": "CONTROL", "color": [255, 0, 0]}},
        "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}],
    }


def plays(work, sources):
    ct, images, structures, name = sources
    port = free_port()
    gateway = Gateway(work / "gateway", {"tps": ("TPS", port)})
    (gateway.folder / "pipelines/ct-basic.json").unlink()
    document = pipeline()
    document["inputs"]["rs"]["structures"]["Drawn"] = [name]
    (gateway.folder / "pipelines/pair.json").write_text(json.dumps(document))
    received = work / "received"
    received.mkdir()
    scp = start("storescp", ["storescp", "-aet", "TPS", "-od", received, port], work / "storescp.log")
    wait_port(port, scp, work / "storescp.log")
    gateway.serve()
    truth = np.linalg.inv(pose())

    study = Study(work / "late", ct, images, structures, name, 1)
    send(gateway, *study.images, study.structures)
    send(gateway, *study.ct)
    note = lambda: (gateway.series(study.root + ".3")[0] or {}).get("note", "")
    check(wait_for(lambda: "waits for a registration" in note(), 60), "the pair waits for a registration: " + note()[:160])
    check(wait_for(lambda: "refused, because no registration came in time" in note(), 60), "it is refused after the wait")
    check(not gateway.series(study.root + ".3")[1], "and nothing runs")
    registration = study.registration(truth)
    another_reader(study, registration, truth)
    send(gateway, registration)
    done = lambda number, count: len([job for job in gateway.series(f"{UID}.{number}.3")[1] if job["state"] == "sent"]) == count
    check(wait_for(lambda: done(1, 1), 120), "it runs when the registration comes")
    overlap, apart = compared(study, registration, newest(received))
    check(overlap > 0.9 and apart < 1, f"the structure lies where SimpleITK puts it: overlap {overlap:.3f}, {apart:.2f} mm")
    job = gateway.series(study.root + ".3")[1][0]
    code, text = gateway.command("show", job["id"])
    check(code == 0 and f"registered by object {study.root}.61.1" in text, "contourd show names the registration")

    # A newer one, which is wrong by its direction, makes another result far off: the direction is not a matter of taste.
    wrong = study.registration(pose(), number=2, date="20260102")
    send(gateway, wrong)
    check(wait_for(lambda: done(1, 2) or failed(gateway, study), 120), "a newer registration runs again")
    text = gateway.command("jobs")[1]
    if done(1, 2):
        overlap, apart = compared(study, registration, newest(received))
        check(overlap < 0.5 and apart > 20, f"its inverse is far off: overlap {overlap:.3f}, {apart:.0f} mm")
    else:
        check("nothing of it within the images" in str(gateway.jobs()), "its inverse leads out of the images")

    first = Study(work / "first", ct, images, structures, name, 2)
    registration = first.registration(truth)
    send(gateway, registration)
    send(gateway, *first.ct, *first.images, first.structures)
    check(wait_for(lambda: done(2, 1), 120), "with the registration before the images it runs at once")
    send(gateway, registration, *first.ct[:3])
    time.sleep(8)
    check(done(2, 1), "what is sent again makes no second job")
    overlap, apart = compared(first, registration, newest(received))
    check(overlap > 0.9 and apart < 1, f"and lies there too: overlap {overlap:.3f}, {apart:.2f} mm")
    stop(gateway.process)
    stop(scp)


def failed(gateway, study):
    return any("failed" in str(job["state"]) for job in gateway.series(study.root + ".3")[1])


def newest(folder):
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime)


def synthetic_sources(work):
    """A CT and the same again, with an ellipsoid drawn on it."""
    ct = synthetic.series(work / "source-ct", UID + ".7")
    images = synthetic.series(work / "source-images", UID + ".8", slices=26)
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = STRUCTURE_SET, generate_uid()
    data.Modality, data.StructureSetLabel, data.StructureSetDate, data.StructureSetTime = "RTSTRUCT", "X", "20260101", "1200"
    roi, contours = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = "1", "Ellipsoid", "MANUAL"
    contours.ReferencedROINumber, contours.ContourSequence = "1", []
    for number in range(6, 20):
        z = number * 5.0
        radius = math.sqrt(max(1 - ((z - 62.5) / 40) ** 2, 0))
        angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        points = np.stack([30 + 50 * radius * np.cos(angles), 10 + 30 * radius * np.sin(angles), np.full(72, z)], axis=1)
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", "72"
        contour.ContourData = decimals(points)
        contours.ContourSequence = [*contours.ContourSequence, contour]
    data.StructureSetROISequence, data.ROIContourSequence = [roi], [contours]
    meta(data)
    return ct, images, save(data, work / "source-rs/rs.dcm"), "Ellipsoid"


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-registration-"))
    try:
        (work / "synthetic").mkdir()
        print("\nregistration, synthetic", flush=True)
        plays(work / "synthetic", synthetic_sources(work))
        if len(sys.argv) == 5:
            print("\nregistration, " + sys.argv[4], flush=True)
            (work / "real").mkdir()
            plays(work / "real", (*map(pathlib.Path, sys.argv[1:4]), sys.argv[4]))
    finally:
        peers.finish(work)


main()
