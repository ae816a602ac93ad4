"""A trained network from DICOM to a structure set, against the same network run by hand.

MeshNet for white and grey matter (github.com/niivue/niivue-onnx, BSD 2-Clause; weights of brainchop, MIT) expects a T1
image of 1 mm voxels, conformed to 256 cubed and scaled by its minimum and maximum to 0..1. The image it was published
with becomes an axial DICOM MR series here. `contourd segment` runs it through model.json and pipeline; ONNX Runtime runs
it on the same array in Python. The label maps must be equal, voxel by voxel, and so must the masks that the contours of
the RT Structure Set enclose.

  real_network.py CONTOURD FOLDER_OF_THE_NETWORK
"""

import gzip
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy
import onnxruntime
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SIDE = 256
LABELS = {"WhiteMatter": 1, "GreyMatter": 2}


def read_nifti(path):
    """The voxels as [k, j, i], first index fastest in the file, and the rows of the affine (RAS)."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    sides = struct.unpack("<8h", data[40:56])[1:4]
    kind = {2: "u1", 4: "<i2", 16: "<f4", 512: "<u2"}[struct.unpack("<h", data[70:72])[0]]
    start = int(struct.unpack("<f", data[108:112])[0])
    voxels = numpy.frombuffer(data, kind, offset=start, count=int(numpy.prod(sides)))
    return voxels.reshape(sides[::-1]), numpy.array(struct.unpack("<12f", data[280:328])).reshape(3, 4)


def to_axial(voxels):
    """From [anterior, inferior, left] to [superior, posterior, left], the order of an axial series."""
    return voxels.transpose(1, 0, 2)[::-1, ::-1, :]


def write_series(folder, axial, origin):
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number, plane in enumerate(axial, 1):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset(None, Dataset(), file_meta=meta, preamble=bytes(128))
        slice_.SOPClassUID, slice_.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.Modality, slice_.SeriesDescription, slice_.PatientPosition = "MR", "T1", "HFS"
        slice_.PatientName, slice_.PatientID, slice_.PatientBirthDate, slice_.PatientSex = "T1^Volunteer", "T1", "", "O"
        slice_.StudyDate, slice_.StudyTime, slice_.StudyID, slice_.AccessionNumber = "20260101", "120000", "1", ""
        slice_.ReferringPhysicianName, slice_.Manufacturer, slice_.PositionReferenceIndicator = "", "contourd", ""
        slice_.ImageType = ["DERIVED", "SECONDARY", "M", "T1"]
        slice_.ScanningSequence, slice_.SequenceVariant, slice_.MRAcquisitionType = "GR", "NONE", "3D"
        slice_.SeriesNumber, slice_.InstanceNumber, slice_.SliceThickness = 1, number, 1
        slice_.ImagePositionPatient = [origin[0], origin[1], origin[2] + number - 1]
        slice_.ImageOrientationPatient, slice_.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        slice_.Rows, slice_.Columns = plane.shape
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 0
        slice_.PixelData = numpy.ascontiguousarray(plane, "<u2").tobytes()
        slice_.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def write_configuration(folder, network):
    for name in ("ae-config/peers", "pipelines", "models/meshnet"):
        (folder / name).mkdir(parents=True)
    shutil.copy(network, folder / "models/meshnet/model.onnx")
    save = lambda name, value: (folder / name).write_text(json.dumps(value, indent=2))
    save("ae-config/gateway.json", {"ae_titles": ["CONTOURD"], "port": 11112, "storage": {"folder": "var"}})
    save("models/meshnet/model.json", {
        "id": "meshnet", "name": "MeshNet grey and white matter", "version": "model5_gw_ae",
        "file": "model.onnx", "sha256": hashlib.sha256(network.read_bytes()).hexdigest(),
        "licence": "MIT", "reference": "github.com/niivue/niivue-onnx", "intended_use": "tests",
        "algorithm": "artificial_intelligence",
        # The conformed image is stored from back to front, head to foot, right to left.
        "orientation": "AIL",
        "inputs": {"t1": {"pre": [{"op": "normalise", "by": "min_max"}]}},
        "tensor": {"layout": "NCDHW"}, "window": {"patch": [SIDE, SIDE, SIDE]},
        "output": {"activation": "none", "decision": "argmax", "back": "nearest", "labels": LABELS},
        "structures": list(LABELS)})
    save("pipelines/t1.json", {
        "id": "t1", "revision": 1, "mode": "shadow",
        "inputs": {"t1": {"all": [{"tag": "Modality", "eq": "MR"}], "slices": {"min": SIDE}}},
        "steps": [{"id": "brain", "model": "meshnet", "in": {"t1": "t1"}}],
        "structures": {f"brain:{name}": {"name": name, "type": "ORGAN", "color": [255, 80 * value, 0]}
                       for name, value in LABELS.items()},
        "outputs": [{"rtstruct": {"label": "AUTO"}}]})


def enclosed(contours, origin):
    """Voxels whose centres lie within the polygons of each plane, by crossings along rows (even-odd)."""
    mask = numpy.zeros((SIDE, SIDE, SIDE), bool)
    for contour in contours:
        points = numpy.array(contour.ContourData, float).reshape(-1, 3) - origin
        plane = numpy.zeros((SIDE, SIDE + 1), int)
        for (x0, y0, _), (x1, y1, _) in zip(points, numpy.roll(points, -1, 0)):
            if y0 == y1:
                continue
            (x0, y0), (x1, y1) = ((x0, y0), (x1, y1)) if y0 < y1 else ((x1, y1), (x0, y0))
            for row in range(max(0, int(numpy.ceil(y0))), min(SIDE, int(numpy.ceil(y1)))):
                column = int(numpy.ceil(x0 + (row - y0) * (x1 - x0) / (y1 - y0)))
                plane[row, min(max(column, 0), SIDE)] += 1
        mask[round(points[0, 2])] ^= (numpy.cumsum(plane, 1)[:, :SIDE] % 2).astype(bool)
    return mask


def main(contourd, network):
    voxels, affine = read_nifti(network / "t1_crop.nii.gz")
    assert voxels.shape == (SIDE, SIDE, SIDE) and abs(numpy.linalg.det(affine[:, :3])) == 1
    image = voxels.astype(numpy.float32)
    image = (image - image.min()) / (image.max() - image.min())
    session = onnxruntime.InferenceSession(str(network / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {session.get_inputs()[0].name: image[None, None]})[0][0]
    by_hand = to_axial(logits.argmax(0))
    # Patient position of the first voxel of the axial array, LPS.
    corner = affine @ [0, SIDE - 1, SIDE - 1, 1]
    origin = numpy.round([-corner[0], -corner[1], corner[2]], 3)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_series(folder / "series", to_axial(voxels), origin)
        write_configuration(folder / "config", network / "model.onnx")
        subprocess.run([contourd, "segment", folder / "series", "--config", folder / "config", "-o", folder / "out",
                        "--masks"], check=True)
        result = next((folder / "out").rglob("RS.*.dcm"))
        structures = pydicom.dcmread(result)
        names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
        contours = {names[roi.ReferencedROINumber]: roi.ContourSequence for roi in structures.ROIContourSequence}
        for name, value in LABELS.items():
            expected = by_hand == value
            found = read_nifti(next((folder / "out").rglob(f"{name}.nii.gz")))[0] > 0
            drawn = enclosed(contours[name], origin)
            print(f"{name}: {expected.sum()} voxels by hand; {(found != expected).sum()} differ in the label map, "
                  f"{(drawn != expected).sum()} within the contours of the structure set")
            assert (found == expected).all() and (drawn == expected).all()


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
