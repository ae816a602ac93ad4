"""Every pipeline of a configuration, end to end through the daemon, with stand-ins for weights that cannot be shipped.

For each pipeline: a network of the signature that model.json asks for is made and put in place by `contourd model
install`; the gateway is started with that pipeline alone; series that fill its inputs are sent by DCMTK's storescu
(images of the folders given, under new UIDs and dates, and a structure set with boxes for the structures it asks for);
and the RT Structure Set that arrives at DCMTK's storescp is read with pydicom and by dciodvfy.

  models.py CONTOURD CONFIG --ct FOLDER --mr FOLDER [--pt FOLDER] [--only NAME]     needs numpy, onnx, pydicom
"""

import argparse
import copy
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
import pydicom
from onnx import TensorProto, helper, numpy_helper
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid


def read_jsonc(path):
    """JSON with whole-line comments, as the files of a configuration have them."""
    return json.loads("\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("//")))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stages_of(model):
    """Each network file with the stage that it belongs to."""
    for stage in filter(None, [model.get("previous"), model]):
        files = stage.get("networks") or [{"file": stage["file"], "sha256": stage["sha256"]}]
        for network in files:
            yield network, stage


def write_network(path, stage):
    """Scores of classes that are layers of a squashed intensity: some of each, whatever the input's unit."""
    layout, output = stage["tensor"]["layout"], stage["output"]
    channels = len(stage.get("channels") or stage["inputs"])
    labels = [label if isinstance(label, int) else label.get("index", label.get("to")) for label in output["labels"].values()]
    classes = len(output["region_order"]) if output["decision"] == "regions" else max(labels) + 1
    sides = [side if isinstance(side, int) else None for side in stage["window"]["patch"]]
    number = "NHWC" if layout == "NHWC" else layout
    volume = "D" in number
    shape = [None, channels, *sides] if volume else [None, channels, *sides[1:]]
    kernel = [1, 1, 1] if volume else [1, 1]
    pick = numpy.zeros((1, channels, *kernel), numpy.float32)
    pick[0, min(channels - 1, channels // 2)] = 1
    steps = numpy.arange(classes, dtype=numpy.float32)
    to_map = output["decision"] == "label_map"
    # Twelve classes at most are found: a hundred layers would have contours by the hundred thousand.
    scale = min(max(classes - 1, 1), 12)
    weight = (2 * steps * scale).reshape(-1, 1, *kernel) if not to_map else numpy.full((1, 1, *kernel), scale, numpy.float32)
    bias = -(steps**2) if not to_map else numpy.zeros(1, numpy.float32)
    constants = {"pick": pick, "fine": numpy.float32(3), "coarse": numpy.float32(0.01), "half": numpy.float32(0.5),
                 "weight": weight.astype(numpy.float32), "bias": bias.astype(numpy.float32)}
    nodes = [("Mul", ["x", "fine"], "xf"), ("Mul", ["x", "coarse"], "xc"),
             ("Sigmoid", ["xf"], "sf"), ("Sigmoid", ["xc"], "sc"), ("Add", ["sf", "sc"], "sum"), ("Mul", ["sum", "half"], "part"),
             ("Conv", ["part", "weight", "bias"], "score")]
    nodes = [helper.make_node(kind, inputs, [result]) for kind, inputs, result in nodes]
    # Smoothed, or noise would have contours by the hundred thousand.
    reach = [3, 9, 9] if volume else [9, 9]
    nodes[:0] = [helper.make_node("Conv", ["image", "pick"], ["raw"]),
                 helper.make_node("AveragePool", ["raw"], ["x"], kernel_shape=[2 * side + 1 for side in reach],
                                  pads=reach * 2, count_include_pad=0)]
    name_in, name_out = stage["tensor"].get("input") or "image", stage["tensor"].get("output") or "score"
    last = layout in ("NHWC", "NDHWC")
    order = ([0, 4, 1, 2, 3], [0, 2, 3, 4, 1]) if volume else ([0, 3, 1, 2], [0, 2, 3, 1])
    if to_map:
        nodes[-1].output[0] = "values"
        nodes.append(helper.make_node("Round", ["values"], ["labels"]))
    result = "labels" if to_map else "score"
    if last:
        nodes.insert(0, helper.make_node("Transpose", [name_in], ["image"], perm=order[0]))
        nodes.append(helper.make_node("Transpose", [result], [name_out], perm=order[1]))
        shape = [shape[0], *shape[2:], shape[1]]
    else:
        nodes.insert(0, helper.make_node("Identity", [name_in], ["image"])) if name_in != "image" else None
        nodes.append(helper.make_node("Identity", [result], [name_out])) if name_out != result else None
    extra = []
    for image in (stage.get("images") or {}).values():
        if image.get("output"):
            width = max(image["channels"]) + 1
            constants[image["output"] + "_w"] = numpy.full((width, 1, *kernel), 0.1, numpy.float32)
            nodes.append(helper.make_node("Conv", ["part", image["output"] + "_w"], [image["output"]]))
            extra.append(helper.make_tensor_value_info(image["output"], TensorProto.FLOAT, [None, width, *shape[2:]]))
    outside = [shape[0], classes if not to_map else 1, *shape[2:]] if not last else [*shape[:-1], classes if not to_map else 1]
    graph = helper.make_graph(
        nodes, "stand_in", [helper.make_tensor_value_info(name_in, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name_out, TensorProto.FLOAT, outside), *extra],
        [numpy_helper.from_array(numpy.asarray(value), name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), str(path))


def tests_of(condition):
    """All tests of a tree of conditions that must hold."""
    for node in condition if isinstance(condition, list) else [condition]:
        if "tag" in node:
            yield node
        elif "all" in node:
            yield from tests_of(node["all"])
        elif "any" in node:
            yield from list(tests_of(node["any"]))[:1]


def middle_of(images):
    """The place in the middle of a series, mm."""
    def middle(image):
        across, down = numpy.array(image.ImageOrientationPatient, float).reshape(2, 3)
        half = [(image.Columns - 1) / 2 * image.PixelSpacing[1], (image.Rows - 1) / 2 * image.PixelSpacing[0]]
        return numpy.array(image.ImagePositionPatient, float) + across * half[0] + down * half[1]

    return numpy.mean([middle(image) for image in images], axis=0)


def read_images(source):
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        try:
            image = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        if "PixelData" in image:
            yield image


def write_images(folder, source, number, study, patient, frame, wanted, middle):
    """The images of a folder as a new series around a place; `wanted` are tests that they have to pass."""
    folder.mkdir(parents=True)
    series, images = generate_uid(), list(read_images(source))
    move = numpy.zeros(3) if middle is None else middle - middle_of(images)
    for index, image in enumerate(images):
        image.ImagePositionPatient = [f"{value:.6g}" for value in numpy.array(image.ImagePositionPatient, float) + move]
        # Some archives leave the command that brought an image in its file.
        for element in [element for element in image if element.tag.group == 0]:
            del image[element.tag]
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PatientID, image.PatientName = patient, "Test^Models"
        image.StudyDate = image.SeriesDate = f"202601{10 + number:02}"
        image.StudyTime = image.SeriesTime = "120000"
        for test in wanted:
            for operator in ("eq", "contains", "glob"):
                if operator in test and isinstance(test[operator], str):
                    setattr(image, test["tag"], test[operator].strip("*"))
            if "regex" in test:
                setattr(image, test["tag"], re.sub(r"\(\?i\)|[\^$().*\\?]|\|.*", "", test["regex"]))
            if isinstance(test.get("in"), list):
                setattr(image, test["tag"], test["in"][0])
        image.save_as(folder / f"{index:04}.dcm")
    return images


def write_structures(path, images, names):
    """A structure set with a box in the middle of the images for each name, somewhat apart."""
    first = images[0]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rt = FileDataset(None, Dataset(), file_meta=meta, preamble=bytes(128))
    rt.SOPClassUID, rt.SOPInstanceUID, rt.Modality = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID, "RTSTRUCT"
    for key in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "SeriesDate", "SeriesTime"):
        setattr(rt, key, getattr(first, key))
    rt.SeriesInstanceUID, rt.StructureSetLabel = generate_uid(), "DRAWN"
    rt.StructureSetDate, rt.StructureSetTime = first.StudyDate, "120000"
    rt.PatientBirthDate, rt.PatientSex, rt.StudyID, rt.AccessionNumber = "", "O", "1", ""
    rt.ReferringPhysicianName, rt.Manufacturer, rt.SeriesNumber = "", "Drawn by hand", 90
    frame = Dataset()
    frame.FrameOfReferenceUID = first.FrameOfReferenceUID
    study, series = Dataset(), Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", first.StudyInstanceUID
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = Sequence()
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        series.ContourImageSequence.append(reference)
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.RTReferencedStudySequence = Sequence([study])
    rt.ReferencedFrameOfReferenceSequence = Sequence([frame])
    rt.StructureSetROISequence, rt.ROIContourSequence, rt.RTROIObservationsSequence = Sequence(), Sequence(), Sequence()
    for number, name in enumerate(names, 1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, first.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "MANUAL"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for image in sorted(images, key=lambda i: float(i.ImagePositionPatient[2]))[len(images) // 4:3 * len(images) // 4]:
            origin = numpy.array(image.ImagePositionPatient, float)
            across, down = numpy.array(image.ImageOrientationPatient, float).reshape(2, 3)
            rows, columns = image.Rows, image.Columns
            top, left = rows * (0.35 + 0.01 * number), columns * (0.35 + 0.01 * number)
            corners = [(left, top), (left + columns / 4, top), (left + columns / 4, top + rows / 4), (left, top + rows / 4)]
            points = [origin + across * x * image.PixelSpacing[1] + down * y * image.PixelSpacing[0] for x, y in corners]
            contour, reference = Dataset(), Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            contour.ContourData = [f"{value:.3f}" for point in points for value in point]
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
            contour.ContourImageSequence = Sequence([reference])
            drawn.ContourSequence.append(contour)
        seen.ObservationNumber = seen.ReferencedROINumber = number
        seen.RTROIInterpretedType, seen.ROIInterpreter = "ORGAN", ""
        rt.StructureSetROISequence.append(roi)
        rt.ROIContourSequence.append(drawn)
        rt.RTROIObservationsSequence.append(seen)
    rt.save_as(path, enforce_file_format=True)


def first_names(structures):
    """A name for each structure that an input asks for."""
    for name, aliases in structures.items():
        yield from aliases.get("union", [name])[:1] if isinstance(aliases, dict) else [(aliases or [name])[0]]


def prepare(arguments, config, pipeline, work):
    """The configuration with this pipeline alone, live, and stand-ins for its models; the ports of gateway and sink."""
    ports = free_port(), free_port()
    (work / "ae-config/peers").mkdir(parents=True)
    (work / "pipelines").mkdir()
    save = lambda name, value: (work / name).write_text(json.dumps(value))
    save("ae-config/gateway.json", {
        "ae_titles": ["CONTOURD"], "bind": "127.0.0.1", "port": ports[0], "storage": {"folder": "var", "free_floor_mb": 16},
        "complete": {"quiet_s": 1, "gap_quiet_s": 2, "max_wait_s": 20, "on_timeout": "run"}})
    save("ae-config/peers/scanner.json", {"ae_title": "SCANNER", "may": ["send"]})
    save("ae-config/peers/sink.json", {"ae_title": "SINK", "host": "127.0.0.1", "port": ports[1], "may": ["receive"]})
    live = copy.deepcopy(pipeline)
    live.pop("$schema", None)
    live.pop("when", None)
    live.update(mode="live", deliver=[{"to": "sink"}])
    live.pop("complete", None)
    for slot in live["inputs"].values():
        if "structures" not in slot:
            slot.pop("slices", None)
            slot["geometry"] = {"max_gap": 9}
    save(f"pipelines/{pipeline['id']}.json", live)
    for name in {step["model"] for step in pipeline["steps"] if "model" in step}:
        shutil.copytree(config / "models" / name, work / "models" / name)
        for network, stage in stages_of(read_jsonc(work / "models" / name / "model.json")):
            if network["sha256"] is None:
                made = work / "made.onnx"
                write_network(made, stage)
                subprocess.run([arguments.contourd, "model", "install", name, made, "--as", network["file"], "--config", work],
                               check=True, capture_output=True, text=True)
    return ports


def fill(arguments, pipeline, work):
    """Writes what the inputs ask for; the folders to send, structures last."""
    study, patient, frame = generate_uid(), "MODELS", generate_uid()
    folders, images = [], {}
    for number, (name, slot) in enumerate(pipeline["inputs"].items()):
        if "structures" in slot:
            continue
        wanted = [test for key in ("all", "any") if key in slot for test in tests_of({key: slot[key]})]
        modality = next((test.get("eq") for test in wanted if test["tag"] == "Modality"), "CT")
        source = {"CT": arguments.ct, "MR": arguments.mr, "PT": arguments.pt}[modality]
        day = {"first": 1, "last": 5}.get(slot.get("pick"), 2 + number % 3)
        same_study = pipeline.get("same") != "patient"
        folder = work / "send" / f"{number}-{name}"
        # Series of different patients come to lie on one another.
        middle = middle_of(next(iter(images.values()))) if images else None
        in_study = study if same_study else generate_uid()
        images[name] = write_images(folder, source, day, in_study, patient, frame, wanted, middle)
        folders.append(folder)
    names = [name for slot in pipeline["inputs"].values() if "structures" in slot for name in first_names(slot["structures"])]
    if names:
        folder = work / "send/structures"
        folder.mkdir()
        for number, of in enumerate(images.values()):
            write_structures(folder / f"{number}.dcm", of, names)
        folders.append(folder)
    return folders


def one(arguments, config, pipeline):
    """Runs one pipeline; what arrived, or why nothing did."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        try:
            ports = prepare(arguments, config, pipeline, work)
        except subprocess.CalledProcessError as error:
            return False, f"a stand-in could not be installed: {error.stderr.strip()}"
        sink, log = work / "sink", (work / "log").open("w")
        sink.mkdir()
        folders = fill(arguments, pipeline, work)
        running = [subprocess.Popen(["storescp", "-od", sink, str(ports[1])], stdout=log, stderr=log),
                   subprocess.Popen([arguments.contourd, "serve", "--config", work], stdout=log, stderr=log)]
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", ports[0])) == 0:
                        break
                time.sleep(0.1)
            for path in folders:
                sent = subprocess.run(
                    ["storescu", "-aet", "SCANNER", "-aec", "CONTOURD", "+sd", "+r", "127.0.0.1",
                     str(ports[0]), path], stdout=log, stderr=log, env={"TCP_NODELAY": "1", "PATH": "/usr/bin:/bin"})
                if sent.returncode:
                    return False, f"storescu ended with {sent.returncode}: {(work / 'log').read_text()[-800:]}"
            for _ in range(arguments.wait * 2):
                time.sleep(0.5)
                if list(sink.iterdir()) or "failed" in (work / "log").read_text():
                    break
            time.sleep(1)
        finally:
            for process in running:
                process.terminate()
                process.wait(30)
        found = list(sink.iterdir())
        if not found:
            listed = subprocess.run([arguments.contourd, "jobs", "--config", work], capture_output=True, text=True).stdout
            text = (work / "log").read_text()
            causes = re.findall(r'cause="?([^\n]+)', text) or [text[-1500:]]
            return False, f"nothing arrived\n{listed}{causes[-1][:1500]}"
        told = pydicom.dcmread(found[0])
        checked = subprocess.run(["dciodvfy", found[0]], capture_output=True, text=True)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        filled = sum("ContourSequence" in roi for roi in told.ROIContourSequence)
        names = [roi.ROIName for roi in told.StructureSetROISequence]
        return not errors, f"{len(found)} structure set, {filled} of {len(names)} structures drawn {errors[:2] or ''}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("contourd", type=pathlib.Path)
    parser.add_argument("config", type=pathlib.Path)
    for modality in ("ct", "mr", "pt"):
        parser.add_argument(f"--{modality}", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--wait", type=int, default=120, help="seconds for one pipeline")
    arguments = parser.parse_args()
    arguments.contourd = arguments.contourd.resolve()
    bad = 0
    for path in sorted((arguments.config / "pipelines").glob("*.json")):
        if arguments.only not in path.stem:
            continue
        began = time.time()
        good, told = one(arguments, arguments.config, read_jsonc(path))
        bad += not good
        print(f"{'ok' if good else 'FAILED':7} {path.stem}: {told} ({time.time() - began:.0f} s)", flush=True)
    print(f"{bad} failed")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
