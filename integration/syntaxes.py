"""Each transfer syntax that the node accepts, sent for real: images of several kinds, encoded by DCMTK, OpenJPEG and OpenJPH,
are sent by pynetdicom, storescu and dcmsend with that syntax alone proposed. What is stored has to be what was sent, byte by
byte; what a job then sees of the pixels has to be what DCMTK and pydicom decode. A network that returns its input and a
parametric map as output bring the decoded pixels out. What is not accepted has to be refused in the negotiation.

    syntaxes.py [--all]      every kind of image in every syntax; without it two kinds for each

The list is asked of the running node, and held against docs/conformance.md."""

import copy
import hashlib
import json
import pathlib
import re
import shutil
import struct
import sys
import tempfile
import time
import warnings

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, UID as Uid, AllTransferSyntaxes, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

import peers
from peers import ROOT, Gateway, check, free_port, run, stop, wait_for

TITLE = "SYNTAXES"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SERIES = ROOT.parent / "shared/data/series"
HTJ2K = {"1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000, lossless only",
         "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL, lossless only",
         "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000"}
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
# Never to be accepted: video, pixels that are elsewhere (JPIP), MIME and XML wrappers, and what makers have made up (that of GE
# mixes byte orders).
NEVER = [f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 100, 101, 102, 103, 104, 105, 106, 107, 108, 204, 205)] + [
    "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2", "1.2.840.10008.1.2.7.1", "1.2.840.113619.5.2",
    "1.3.46.670589.33.1.4.1", "1.2.826.0.1.3680043.10.7.99"]


def name_of(syntax):
    return HTJ2K.get(syntax) or Uid(syntax).name


# --- images ---------------------------------------------------------------------------------------------------------------

def phantom(bits, stored, signed, rows, columns, full):
    """Three MR slices of smooth shapes with noise, over the whole range of values where `full`."""
    random, images = np.random.default_rng(bits + stored), []
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    for slice_number in range(3):
        y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
        values = np.sin(7 * x + slice_number) * np.cos(9 * y) / 2 + 0.5 + random.normal(0, 0.01, (rows, columns))
        values = np.clip(np.rint(low + values * (high - low)), low, high).astype(np.int64)
        if full:
            values[0, :2], values[-1, -2:] = (low, high), (high, low)
        image = pydicom.Dataset()
        image.SOPClassUID, image.Modality = MR, "MR"
        image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Phantom^Syntaxes", "PHANTOM", "", "O"
        image.StudyDate, image.StudyTime, image.AccessionNumber, image.ReferringPhysicianName = "20260101", "120000", "", ""
        image.StudyID, image.SeriesNumber, image.InstanceNumber, image.SliceThickness = "1", 1, slice_number + 1, 3
        image.ImagePositionPatient, image.ImageOrientationPatient = [-50, -50, 3 * slice_number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.PatientPosition, image.PositionReferenceIndicator = [1, 1], "HFS", ""
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns, image.BitsAllocated = rows, columns, bits
        image.BitsStored, image.HighBit, image.PixelRepresentation = stored, stored - 1, int(signed)
        kind = {8: "u1", 16: "<u2"}[bits]
        mask = (1 << bits) - 1
        raw = (values & mask).astype(kind).tobytes()
        image.add_new(0x7FE00010, "OB" if bits == 8 else "OW", raw + bytes(len(raw) % 2))
        images.append(image)
    return images


def real(folder, first):
    """Three slices of a real series, or None. Padding would be replaced by the node, which is not what is looked at here."""
    paths = sorted(path for path in (SERIES / folder).rglob("*") if path.suffix in ("", ".dcm")) if SERIES.exists() else []
    images = [pydicom.dcmread(path) for path in paths if path.is_file()]
    images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
    for image in images[first:first + 3]:
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if keyword in image:
                delattr(image, keyword)
    return images[first:first + 3] or None


def kinds():
    """What is encoded: name -> three slices. Odd sides, so that 8-bit pixels have to be padded."""
    ct, mr = real("05_ct_thigh_sts002_crop/ct", 20), real("03_mr_thigh_sts001_siemens/mr", 10)
    if not (ct and mr):
        print("shared/data is not here: phantoms stand in for the real CT and MR")
    return {
        "CT, 16 bits signed": ct or phantom(16, 16, True, 128, 96, False),
        "MR, 12 bits": mr or phantom(16, 12, False, 128, 96, False),
        "8 bits": phantom(8, 8, False, 99, 101, True),
        "8 bits signed": phantom(8, 8, True, 99, 101, True),
        "12 bits signed": phantom(16, 12, True, 99, 101, True),
        "16 bits": phantom(16, 16, False, 99, 101, True),
        "16 bits signed": phantom(16, 16, True, 99, 101, True),
    }


# --- encoders -------------------------------------------------------------------------------------------------------------

def dcmtk(*command):
    def encode(source, target):
        code, text = run(*command, source, target)
        return None if code == 0 else text.strip().splitlines()[-1][-160:] if text.strip() else f"exit {code}"
    return encode


def by_pydicom(syntax, **settings):
    def encode(source, target):
        image = pydicom.dcmread(source)
        image.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False, **settings)
        between = target.with_suffix(".pydicom")
        image.save_as(between, enforce_file_format=True)
        # DCMTK sends sequences and lengths in its own way: as it writes them here.
        return dcmtk("dcmconv")(between, target)
    return encode


def by_openjph(syntax, reversible):
    """OpenJPH writes its packets by resolution (RPCL) without being asked."""
    def encode(source, target):
        image = pydicom.dcmread(source)
        codestream = imagecodecs.htj2k_encode(image.pixel_array, reversible=reversible)
        image.PixelData = encapsulate([codestream])
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
        image.file_meta.TransferSyntaxUID = Uid(syntax)
        image.save_as(target, enforce_file_format=True)
    return encode


# Syntax -> who encodes, what storescu is told to propose it, how far decoders may differ in stored values (the inverse DCT and
# the irreversible wavelet are not exact), and whether the original has to come back.
J = "1.2.840.10008.1.2.4."
CODECS = {
    "1.2.840.10008.1.2": ("dcmconv", dcmtk("dcmconv", "+ti"), "-xi", 0, True),
    "1.2.840.10008.1.2.1": ("dcmconv", dcmtk("dcmconv", "+te"), "-xe", 0, True),
    "1.2.840.10008.1.2.1.99": ("dcmconv", dcmtk("dcmconv", "+td"), "-xd", 0, True),
    "1.2.840.10008.1.2.2": ("dcmconv", dcmtk("dcmconv", "+tb"), "-xb", 0, True),
    "1.2.840.10008.1.2.5": ("dcmcrle", dcmtk("dcmcrle"), "-xr", 0, True),
    J + "50": ("dcmcjpeg", dcmtk("dcmcjpeg", "+eb", "+un"), "-xy", 1, False),
    J + "51": ("dcmcjpeg", dcmtk("dcmcjpeg", "+ee", "+un"), "-xx", 1, False),
    J + "57": ("dcmcjpeg", dcmtk("dcmcjpeg", "+el"), None, 0, True),
    J + "70": ("dcmcjpeg", dcmtk("dcmcjpeg", "+e1"), "-xs", 0, True),
    J + "80": ("dcmcjpls", dcmtk("dcmcjpls", "+el"), "-xt", 0, True),
    J + "81": ("dcmcjpls", dcmtk("dcmcjpls", "+en", "+un"), "-xu", 0, False),
    J + "90": ("OpenJPEG", by_pydicom(JPEG2000Lossless), "-xv", 0, True),
    J + "91": ("OpenJPEG", by_pydicom(JPEG2000, j2k_psnr=[60]), "-xw", 1, False),
    J + "201": ("OpenJPH", by_openjph(J + "201", True), None, 0, True),
    J + "202": ("OpenJPH", by_openjph(J + "202", True), None, 0, True),
    J + "203": ("OpenJPH", by_openjph(J + "203", False), None, 1, False),
}


def series(images, uid):
    """The same images under UIDs of their own; a study for each, by which the results are told apart."""
    made, frame = [], generate_uid()
    for number, image in enumerate(images):
        image = copy.deepcopy(image)
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = uid + ".1", uid, frame
        image.SOPInstanceUID, image.PatientID = f"{uid}.{number + 10}", "CONTOURD-TEST"
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        made.append(image)
    return made


def data_set(path):
    """The bytes behind the file meta group."""
    content = path.read_bytes()
    found = content[144 + struct.unpack("<I", content[140:144])[0]:]
    # Senders make a deflated data set of odd length even (PS3.5 A.5).
    return found + bytes(len(found) % 2)


# --- decoders -------------------------------------------------------------------------------------------------------------

def rescaled(image, pixels):
    return pixels.astype(np.float64) * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))


def decoded_by_dcmtk(path, work):
    family = {J + "5": "dcmdjpeg", J + "7": "dcmdjpeg", J + "8": "dcmdjpls"}
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    tool = "dcmdrle" if syntax == "1.2.840.10008.1.2.5" else family.get(syntax[:len(J) + 1]) if syntax.startswith(J) else "dcmconv"
    if tool is None or syntax in HTJ2K:
        return None
    target = work / "decoded.dcm"
    code, _ = run(tool, "+te", path, target)
    if code:
        return None
    image = pydicom.dcmread(target)
    return rescaled(image, image.pixel_array)


def decoded_by_pydicom(path, _):
    image = pydicom.dcmread(path)
    if image.file_meta.TransferSyntaxUID in HTJ2K:
        # Its decoder of J2K is OpenJPEG, which reads HT too; asked directly, because the handler knows no signs here.
        codestream = next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1))
        return rescaled(image, imagecodecs.jpeg2k_decode(codestream))
    return rescaled(image, image.pixel_array)


# --- the node -------------------------------------------------------------------------------------------------------------

def message(*fields):
    """A message of protocol buffers, of numbers, texts and messages."""
    def varint(number):
        return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def identity():
    """An ONNX graph of one node that returns its input, [N, 1, D, H, W] of float32 (onnx.proto of opset 13)."""
    sides = [message((2, "n")), message((1, 1)), *(message((2, side)) for side in "dhw")]
    shape = message(*((1, side) for side in sides))
    value = lambda name: message((1, name), (2, message((1, message((1, 1), (2, shape))))))
    node = message((1, "image"), (2, "values"), (4, "Identity"))
    graph = message((1, node), (2, "identity"), (11, value("image")), (12, value("values")))
    return message((1, 8), (8, message((1, ""), (2, 13))), (7, graph))


def configure(work, port):
    gateway = Gateway(work / "node", {"maps": ("MAPS", port)})
    for folder in ("models", "pipelines"):
        shutil.rmtree(gateway.folder / folder)
        (gateway.folder / folder).mkdir()
    network, model = identity(), gateway.folder / "models/identity"
    model.mkdir()
    (model / "model.onnx").write_bytes(network)
    (model / "model.json").write_text(json.dumps({
        "id": "identity", "name": "Identity", "version": "1", "file": "model.onnx", "sha256": hashlib.sha256(network).hexdigest(),
        "licence": "Apache-2.0", "reference": "none", "intended_use": "tests", "algorithm": "deterministic",
        "inputs": {"image": {}}, "tensor": {"layout": "NCDHW", "input": "image", "output": "values"},
        "window": {"patch": ["all", "all", "all"]},
        "output": {"activation": "none", "decision": "threshold", "labels": {"Any": {"index": 0, "threshold": 1}}},
        "images": {"values": {"kind": "image", "channels": [0]}}, "structures": ["Any"]}))
    (gateway.folder / "pipelines/pixels.json").write_text(json.dumps({
        "id": "pixels", "revision": 1, "mode": "live", "inputs": {"image": {"any": [
            {"tag": "Modality", "eq": "CT"}, {"tag": "Modality", "eq": "MR"}]}},
        "steps": [{"id": "identity", "model": "identity", "in": {"image": "image"}}],
        "outputs": [{"derived_image": {"of": "identity:values"}}], "deliver": [{"to": "maps"}]}))
    gateway.peer("syntaxes", {"ae_title": TITLE, "may": ["send"]})
    return gateway


class Maps:
    """Takes the parametric maps; `of` holds those of each study."""

    def __init__(self, port):
        self.of = {}
        entity = AE("MAPS")
        entity.add_supported_context(PARAMETRIC_MAP)
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])

    def store(self, event):
        found = event.dataset
        self.of[found.StudyInstanceUID] = found
        return 0x0000

    def slices(self, study):
        """The frames by their place along the normal, as the images are sorted."""
        found = self.of[study]
        shape = int(found.NumberOfFrames), found.Rows, found.Columns
        frames = np.frombuffer(found["FloatPixelData"].value, "<f4").reshape(shape)
        places = [item.PlanePositionSequence[0].ImagePositionPatient for item in found.PerFrameFunctionalGroupsSequence]
        return {tuple(np.round([float(x) for x in place], 3)): frame for place, frame in zip(places, frames)}


def propose(gateway, contexts):
    """An association of pynetdicom with these contexts; what was accepted, and the results of the others."""
    entity = AE(TITLE)
    entity.requested_contexts = contexts
    association = entity.associate("127.0.0.1", gateway.port, ae_title="CONTOURD")
    if not association.is_established:
        sys.exit("no association")
    accepted = {context.context_id: str(context.transfer_syntax[0]) for context in association.accepted_contexts}
    refused = {context.context_id: context.result for context in association.rejected_contexts}
    return association, accepted, refused


def negotiation(gateway):
    """What the node accepts, in its order of preference."""
    print("\nnegotiation", flush=True)
    known = [*dict.fromkeys([*map(str, AllTransferSyntaxes), *HTJ2K, *CODECS, *NEVER])]
    association, accepted, refused = propose(gateway, [build_context(CT, syntax) for syntax in known])
    association.release()
    taken = set(accepted.values())
    wrong = sorted(taken & set(NEVER))
    check(not wrong, f"video, JPIP and private syntaxes are refused: {len(NEVER)} of them" + f" {wrong}" * bool(wrong))
    results = set(refused.values())
    check(results == {4}, f"all {len(refused)} others with result 4, transfer syntaxes not supported: {sorted(results)}")
    order, left = [], sorted(taken)
    while left:
        association, accepted, _ = propose(gateway, [build_context(CT, left)])
        association.release()
        order.append(accepted[1])
        left.remove(accepted[1])
    text = (ROOT / "docs/conformance.md").read_text()
    table = text[text.index("Transfer syntaxes, in our order of preference"):]
    told = re.findall(r"^\| .* \| ([0-9.]+) \|$", table[:table.index("\n\n", table.index("| ---"))], re.M)
    check(told == order, f"docs/conformance.md tells these {len(order)} in this order"
          + (f"\n    node {order}\n    docs {told}" if told != order else ""))
    for syntax in NEVER[2], NEVER[0], "1.2.840.113619.5.2":
        association, accepted, _ = propose(gateway, [build_context(CT, [syntax, ExplicitVRLittleEndian])])
        association.release()
        check(accepted == {1: ExplicitVRLittleEndian}, f"{name_of(syntax)} beside Explicit VR: the second is taken")
    return order


def send(gateway, syntax, option, files):
    """Each slice by another sender, where DCMTK can propose this syntax alone: who sent which, and who failed."""
    def by_pynetdicom(path):
        context = build_context(pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID, syntax)
        association, accepted, _ = propose(gateway, [context])
        # A path is sent as its bytes are; a data set would be encoded again.
        status = association.send_c_store(path).get("Status") if accepted else None
        association.release()
        return status == 0
    # Contexts that are not of the syntax of the file are of no use to storescu; -R leaves out other classes.
    by_storescu = lambda path: run("storescu", "-R", option, "-aet", TITLE, "-aec", "CONTOURD", "127.0.0.1", gateway.port, path)[0] == 0
    by_dcmsend = lambda path: run("dcmsend", "-dn", "-aet", TITLE, "-aec", "CONTOURD", "127.0.0.1", gateway.port, path)[0] == 0
    senders = [("pynetdicom", by_pynetdicom)]
    if option:
        senders.append(("storescu", by_storescu))
    # dcmsend proposes all uncompressed syntaxes together.
    if syntax not in HTJ2K and syntax not in UNCOMPRESSED:
        senders.append(("dcmsend", by_dcmsend))
    used, failed = [], []
    for number, path in enumerate(files):
        name, sender = senders[number % len(senders)]
        used.append(name)
        if not sender(path):
            failed.append(name)
    return list(dict.fromkeys(used)), failed


class Cell:
    """One kind of image in one syntax."""

    def __init__(self, work, number, syntax, kind, images):
        self.syntax, self.kind = syntax, kind
        self.uid = f"{peers.UID}.{number}"
        self.encoder, encode, self.option, self.tolerance, self.lossless = CODECS[syntax]
        self.what = f"{name_of(syntax)}, {kind}, by {self.encoder}"
        self.folder = work / "cells" / str(number)
        self.folder.mkdir(parents=True)
        self.files, self.originals, self.impossible = [], [], None
        for index, image in enumerate(series(images, self.uid)):
            source, target = self.folder / f"{index}.source", self.folder / f"{index}.dcm"
            image.save_as(source, enforce_file_format=True)
            self.originals.append(rescaled(image, image.pixel_array))
            try:
                self.impossible = encode(source, target)
            except Exception as error:  # Each encoder has its own way to say that it does not take an image.
                self.impossible = str(error).splitlines()[0][:160]
            if self.impossible is None and pydicom.dcmread(target, stop_before_pixels=True).file_meta.TransferSyntaxUID != syntax:
                self.impossible = "the encoder wrote another syntax"
            if self.impossible is not None:
                return
            self.files.append(target)

    def send(self, gateway):
        used, failed = send(gateway, self.syntax, self.option, self.files)
        stored = {path.name: path for path in (gateway.folder / "var").rglob("*") if path.is_file()}
        differ = []
        for path in self.files:
            uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
            here = next((found for name, found in stored.items() if uid in name), None)
            if here is None or data_set(here) != data_set(path):
                differ.append(path)
        check(not failed and not differ, f"{self.what}: sent by {', '.join(used)}, stored as it was sent"
              + f"; failed: {failed}" * bool(failed) + f"; other bytes: {len(differ)}" * bool(differ))

    def compare(self, maps, gateway, work):
        if f"{self.uid}.1" not in maps.of:
            record, jobs = gateway.series(self.uid)
            why = record and record["note"] or [job["state"] for job in jobs]
            return check(False, f"{self.what}: no pixels came out: {why}")
        found, by = maps.slices(f"{self.uid}.1"), {}
        for path, original in zip(self.files, self.originals):
            image = pydicom.dcmread(path)
            slope = abs(float(image.get("RescaleSlope", 1)))
            ours = found[tuple(np.round([float(x) for x in image.ImagePositionPatient], 3))].astype(np.float64)
            expected = {"DCMTK": decoded_by_dcmtk(path, work), "pydicom": decoded_by_pydicom(path, work)}
            if self.lossless:
                expected["before encoding"] = original
            for name, values in expected.items():
                if values is not None:
                    by[name] = max(by.get(name, 0), float(np.abs(ours - values).max()) / slope)
        worst = max(by.values())
        check(worst <= self.tolerance + 1e-3 * bool(self.tolerance), f"{self.what}: the same pixels as "
              + ", ".join(f"{name} ({difference:.3g})" for name, difference in by.items()))


def main():
    everything = "--all" in sys.argv[1:]
    warnings.filterwarnings("ignore", module="pydicom")  # Real images break value representations, here and there.
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-syntaxes-"))
    try:
        port = free_port()
        maps = Maps(port)
        gateway = configure(work, port)
        gateway.serve()
        order = negotiation(gateway)
        unknown = [name_of(syntax) for syntax in order if syntax not in CODECS]
        check(not unknown, f"each has an encoder here{': none for ' * bool(unknown)}{', '.join(unknown)}")
        print("\nstored as it was sent", flush=True)
        images, cells, number = kinds(), [], 0
        for syntax in (syntax for syntax in order if syntax in CODECS):
            made = 0
            for kind, slices in images.items():
                number += 1
                cell = Cell(work, number, syntax, kind, slices)
                if cell.impossible is not None:
                    if everything:
                        print(f"  -       {cell.what}: not encoded: {cell.impossible}")
                    continue
                cell.send(gateway)
                cells.append(cell)
                made += 1
                if made == 2 and not everything:
                    break
            if not made:
                check(False, f"{name_of(syntax)}: no image could be encoded")
        print(f"\npixels of {len(cells)} series", flush=True)
        begun = time.time()
        wait_for(lambda: len(maps.of) >= len(cells) or all_ended(gateway, cells), 60 + 5 * len(cells))
        print(f"          the jobs ended {time.time() - begun:.0f} s after the last image")
        for cell in cells:
            cell.compare(maps, gateway, work)
        maps.server.shutdown()
        stop(gateway.process)
    finally:
        peers.finish(work)


def all_ended(gateway, cells):
    """Nothing more will come: each series has a note, or a job that failed or was sent."""
    state = gateway.jobs()
    noted = sum(1 for series in state["series"] if series.get("note"))
    ended = sum(1 for job in state["jobs"] if re.search("failed|sent|delivered", json.dumps(job["state"])))
    return noted + ended >= len(cells)


if __name__ == "__main__":
    main()
