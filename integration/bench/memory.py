"""How much memory a whole trunk with many classes takes: 512 x 512 x 1,000 voxels, 117 structures, as TotalSegmentator's
`total` would have them in one network. The network is a stand-in of the same signature (one channel for each of 118
ranges of Hounsfield units), because memory depends on shapes and not on weights.

  memory.py CONTOURD [SLICES]          needs numpy, pydicom and onnx; prints the peak of the process and the stages
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

CLASSES, SIDE, PATCH = 117, 512, 128


def write_network(path):
    """Channel c scores 1.5 - |x - c|, at least 0, of the number x = (HU + 1024) / 16: one class for each whole number."""
    steps = numpy.arange(CLASSES + 1, dtype=numpy.float32)
    weight = numpy.full((CLASSES + 1, 1, 1, 1, 1), 1 / 16, numpy.float32)
    constants = {"weight": weight, "bias": 1024 / 16 - steps, "reach": numpy.float32(1.5)}
    nodes = [("Conv", ["image", "weight", "bias"], "from"), ("Abs", ["from"], "off"), ("Sub", ["reach", "off"], "near"),
             ("Relu", ["near"], "score")]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [result]) for kind, inputs, result in nodes], "organs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, PATCH, PATCH, PATCH])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, CLASSES + 1, PATCH, PATCH, PATCH])],
        [numpy_helper.from_array(numpy.asarray(value, numpy.float32), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, str(path))


def write_series(folder, slices):
    """An ellipsoid for each class, six by five in a slice and four along the stack, each of its own density."""
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    y, x = numpy.mgrid[:SIDE, :SIDE]
    wide, high = SIDE / 6, SIDE / 5
    cell = (y // high) * 6 + x // wide
    across = (x % wide / wide - 0.5) ** 2 + (y % high / high - 0.5) ** 2
    for number in range(slices):
        layer, along = divmod(number * 4 / slices, 1)
        label = numpy.minimum(layer * 30 + cell + 1, CLASSES)
        plane = numpy.where(across + (along - 0.5) ** 2 < 0.2, label * 16 - 1024, -1024)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ct = FileDataset(None, Dataset(), file_meta=meta, preamble=bytes(128))
        ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.FrameOfReferenceUID = study, series, frame
        ct.Modality, ct.PatientName, ct.PatientID, ct.PatientPosition = "CT", "Phantom^Layers", "LAYERS", "HFS"
        ct.PatientBirthDate, ct.PatientSex, ct.StudyDate, ct.StudyTime = "", "O", "20260101", "120000"
        ct.StudyID, ct.AccessionNumber, ct.ReferringPhysicianName, ct.Manufacturer = "1", "", "", "contourd"
        ct.ImageType, ct.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
        ct.SeriesNumber, ct.InstanceNumber, ct.SliceThickness = 1, number + 1, 1
        ct.ImagePositionPatient = [-204.8, -204.8, float(number)]
        ct.ImageOrientationPatient, ct.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.8]
        ct.Rows, ct.Columns, ct.SamplesPerPixel, ct.PhotometricInterpretation = SIDE, SIDE, 1, "MONOCHROME2"
        ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 1
        ct.RescaleIntercept, ct.RescaleSlope = 0, 1
        ct.PixelData = plane.astype("<i2").tobytes()
        ct.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def write_configuration(folder):
    for name in ("ae-config/peers", "pipelines", "models/layers"):
        (folder / name).mkdir(parents=True)
    network = folder / "models/layers/model.onnx"
    write_network(network)
    names = {f"Layer_{value:03}": value for value in range(1, CLASSES + 1)}
    save = lambda name, value: (folder / name).write_text(json.dumps(value))
    save("ae-config/gateway.json", {"ae_titles": ["CONTOURD"], "port": 11112, "storage": {"folder": "var"}})
    save("models/layers/model.json", {
        "id": "layers", "name": "Layers", "version": "1", "file": "model.onnx",
        "sha256": hashlib.sha256(network.read_bytes()).hexdigest(), "licence": "Apache-2.0", "reference": "none",
        "intended_use": "measuring memory", "algorithm": "deterministic",
        "inputs": {"ct": {"pre": [{"op": "resample", "spacing_mm": [1.5, 1.5, 1.5], "grid": "edges",
                                   "method": "nearest"}]}},
        "tensor": {"layout": "NCDHW"},
        "window": {"patch": [PATCH] * 3, "overlap": 0.5, "tiling": "spread", "blend": "gaussian_nnunet",
                   "pad": "constant", "pad_side": "both"},
        "output": {"activation": "none", "decision": "argmax", "back": "linear", "labels": names},
        "structures": list(names)})
    save("pipelines/layers.json", {
        "id": "layers", "revision": 1, "mode": "shadow", "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}]}},
        "steps": [{"id": "all", "model": "layers", "in": {"ct": "ct"}}],
        "structures": {f"all:{name}": {"name": name, "type": "ORGAN", "color": [value, 255 - value, 0]}
                       for name, value in names.items()},
        "outputs": [{"rtstruct": {"label": "AUTO"}}]})


def main(contourd, slices=1000):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_series(folder / "series", slices)
        write_configuration(folder / "config")
        command = [contourd, "segment", folder / "series", "--config", folder / "config", "-o", folder / "out"]
        done = subprocess.run(["/usr/bin/env", "time", "-v", *command], capture_output=True, text=True)
        print("\n".join(line for line in done.stdout.splitlines() if "Layer_" not in line))
        print(done.stderr[-3000:] if done.returncode else "")
        peak = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr).group(1)) / 2**20
        print(f"{SIDE} x {SIDE} x {slices}, {CLASSES} classes: peak {peak:.2f} GiB")
        for report in (folder / "out").rglob("report.html"):
            for name, seconds in re.findall(r"<td>([^<]+)</td><td[^>]*>([\d.]+) s</td>", report.read_text()):
                print(f"  {name}: {seconds} s")
        return 0 if done.returncode == 0 and peak <= 8 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
