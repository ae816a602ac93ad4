"""Query/Retrieve as SCU between contourd and foreign archives: DCMTK's dcmqrscp, Orthanc and pynetdicom. Studies are pulled by
UID and by accession number, by C-GET and by C-MOVE; a missing input and a prior are fetched; a series is waited for of which
the archive has more. Every instance in the spool is compared with what was given to the archive."""

import json
import pathlib
import shutil
import sqlite3
import struct
import sys
import tempfile
import time

import pydicom
from pydicom.uid import MRImageStorage, RLELossless
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import CTImageStorage
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

import peers
import synthetic
from peers import Gateway, check, free_port, rest, run, start, stop, wait_for, wait_port

UID = "1.2.826.0.1.3680043.10.8." + str(int(time.time()))
FRAME = UID + ".9"


def make(folder, number, modality="CT", study=None, slices=6, patient="PHANTOM", date="20260101", accession="", rle=False,
         description="axial"):
    """A series with UIDs of this number, in a study of its own or another; the paths of its files."""
    uid = f"{UID}.{number}"
    synthetic.series(folder / f"{number}", uid, slices)
    for path in sorted((folder / f"{number}").iterdir()):
        data = pydicom.dcmread(path)
        data.StudyInstanceUID, data.FrameOfReferenceUID = study or f"{uid}.0", FRAME
        data.AccessionNumber, data.PatientID, data.StudyDate = accession, patient, date
        data.SeriesDate, data.SeriesTime, data.SeriesDescription, data.Modality = date, "120000", description, modality
        data.StudyID = str(number)
        if modality == "MR":
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
            data.ScanningSequence, data.SequenceVariant, data.EchoTime, data.RepetitionTime = "SE", "NONE", "10", "500"
        if rle:
            # It makes a new SOP Instance UID, unless told not to.
            data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    return uid, f"{study or uid + '.0'}", sorted((folder / f"{number}").iterdir())


def body(path):
    """The data set of a file, without its meta group."""
    data = path.read_bytes()
    return data[144 + struct.unpack("<I", data[140:144])[0]:]


def same(sent, spool):
    """How many instances in the spool are the same bytes, the same elements, or another thing, or absent."""
    counts = {"bytes": 0, "elements": 0, "pixels": 0, "other": 0, "absent": 0}
    for path in sent:
        data = pydicom.dcmread(path)
        here = spool / "instances" / data.StudyInstanceUID / data.SeriesInstanceUID / f"{data.SOPInstanceUID}.dcm"
        if not here.exists():
            counts["absent"] += 1
            continue
        other = pydicom.dcmread(here)
        if body(path) == body(here):
            counts["bytes"] += 1
        elif data.file_meta.TransferSyntaxUID == other.file_meta.TransferSyntaxUID and data == other:
            counts["elements"] += 1
        elif (data.pixel_array == other.pixel_array).all():
            counts["pixels"] += 1
        else:
            counts["other"] += 1
    return {name: count for name, count in counts.items() if count}


class Archive:
    """An archive of pynetdicom, which holds files, and takes its time for each."""

    def __init__(self, port, gateway_port):
        self.port, self.files, self.delay, self.hide = port, [], 0.0, 0
        entity = AE("PYARCHIVE")
        for model in (Find, Get, Move):
            entity.add_supported_context(model)
        for sop_class in (CTImageStorage, MRImageStorage):
            # As acceptor it is SCU of storage: the requestor, contourd, proposes to be SCP.
            entity.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES, scu_role=False, scp_role=True)
            entity.add_requested_context(sop_class, ["1.2.840.10008.1.2.1"])
        self.gateway_port = gateway_port
        handlers = [(evt.EVT_C_FIND, self.find), (evt.EVT_C_GET, self.get), (evt.EVT_C_MOVE, self.move)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def matching(self, identifier, keys):
        fits = lambda data, key: not identifier.get(key) or str(data.get(key)) == str(identifier.get(key))
        return [data for data in self.files if all(fits(data, key) for key in keys)]

    def find(self, event):
        asked = event.identifier
        level = asked.QueryRetrieveLevel
        key = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
        keys = ["StudyInstanceUID", "AccessionNumber", "PatientID", "SeriesInstanceUID", "Modality", "SOPInstanceUID"]
        groups = {}
        for data in self.matching(asked, [name for name in keys if name in asked]):
            groups.setdefault(data[key].value, []).append(data)
        for group in groups.values():
            answer = pydicom.Dataset()
            answer.QueryRetrieveLevel = level
            for element in asked:
                if element.keyword and element.keyword in group[0]:
                    answer[element.tag] = group[0][element.tag]
            if level == "SERIES":
                answer.NumberOfSeriesRelatedInstances = len(group) - self.hide
            yield 0xFF00, answer
        yield 0x0000, None

    def send(self, event):
        found = self.matching(event.identifier, ["StudyInstanceUID", "SeriesInstanceUID"])
        yield len(found)
        for data in found:
            time.sleep(self.delay)
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, data

    def get(self, event):
        yield from self.send(event)

    def move(self, event):
        yield "127.0.0.1", self.gateway_port
        yield from self.send(event)


class Archives:
    """All three, empty; `give` files to one of them."""

    def __init__(self, work, gateway_port):
        self.ports = {name: free_port() for name in ("dcmtk", "orthanc", "http", "pynetdicom")}
        storage = work / "dcmqrscp"
        storage.mkdir()
        (work / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {self.ports['dcmtk']}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            f"HostTable BEGIN\ncontourd = (CONTOURD, 127.0.0.1, {gateway_port})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nQRSCP {storage} RW (500, 1024mb) ANY\nAETable END\n")
        # It keeps what it gets bit by bit, and takes and sends compressed images.
        command = ["dcmqrscp", "-c", work / "dcmqrscp.cfg", "+B", "+xr", "-xr"]
        config = peers.orthanc_config(work / "orthanc", self.ports["orthanc"], self.ports["http"], gateway_port)
        self.processes = []
        for name, words, port in (("dcmqrscp", command, self.ports["dcmtk"]), ("Orthanc", ["Orthanc", config], self.ports["http"])):
            process = start(name, words, work / f"{name}.log")
            wait_port(port, process, work / f"{name}.log")
            self.processes.append(process)
        self.python = Archive(self.ports["pynetdicom"], gateway_port)

    TITLES = {"dcmtk": "QRSCP", "orthanc": "ORTHANC", "pynetdicom": "PYARCHIVE"}

    def peers(self, gateway):
        retry = {"initial_s": 1, "multiplier": 2, "max_s": 4, "max_age_h": 1}
        for name, title in self.TITLES.items():
            for way in ("get", "move"):
                gateway.peer(f"{name}-{way}", {"ae_title": title, "host": "127.0.0.1", "port": self.ports[name],
                                               "may": ["send"], "retrieve": way, "retry": retry})

    def give(self, name, files):
        if name == "orthanc":
            for path in files:
                rest(self.ports["http"], "/instances", path.read_bytes())
        elif name == "pynetdicom":
            self.python.files += [pydicom.dcmread(path) for path in files]
        else:
            for path in files:
                rle = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == RLELossless
                code, text = run("storescu", "-aec", "QRSCP", *(["-xr"] if rle else []), "127.0.0.1", self.ports["dcmtk"], path)
                if code:
                    sys.exit(f"storescu to dcmqrscp: {text}")

    def stop(self):
        self.python.server.shutdown()
        for process in self.processes:
            stop(process)


def pulls(work):
    print("\npulled by UID and by accession number, by C-GET and by C-MOVE", flush=True)
    gateway = Gateway(work / "pulls", {"tps": ("TPS", free_port())})
    archives = Archives(work, gateway.port)
    (gateway.folder / "ae-config/peers/orthanc-in.json").unlink()
    archives.peers(gateway)
    gateway.serve()
    spool = work / "pulls/var"
    number = 0
    for name in archives.TITLES:
        for way in ("get", "move"):
            for by in ("study", "accession"):
                number += 10
                accession = f"A{number}"
                # By C-MOVE, pynetdicom sends in the one syntax that it was told to propose, and dcmqrscp in the uncompressed
                # one that is preferred here, into which it converts nothing.
                rle = name == "orthanc" or way == "get"
                _, study, plain = make(work / "sent", number, accession=accession)
                _, _, packed = make(work / "sent", number + 1, study=study, accession=accession, rle=rle, description="packed")
                archives.give(name, plain + packed)
                what = ["--study", study] if by == "study" else ["--accession", accession]
                code, text = gateway.command("pull", f"{name}-{way}", *what)
                found = same(plain + packed, spool)
                good = found.get("other", 0) == found.get("absent", 0) == 0
                check(code == 0 and good, f"{name}, C-{way.upper()} by {by}: exit {code}, {found}" + ("" if code == 0 and good else f"\n{text}"))
    # Only a series, only a modality; what is not there; an accession number of two studies.
    _, study, ct = make(work / "sent", 500, accession="TWO")
    mr_uid, _, mr = make(work / "sent", 501, modality="MR", study=study, accession="TWO")
    _, other, ct2 = make(work / "sent", 502, accession="TWO")
    archives.give("orthanc", ct + mr + ct2)
    code, text = gateway.command("pull", "orthanc-get", "--accession", "TWO")
    check(code == 1 and "found 2 studies" in text and "--all" in text, f"two studies: exit {code}: {text.strip().splitlines()[-1]}")
    code, text = gateway.command("pull", "orthanc-get", "--study", study, "--modality", "MR")
    found = same(mr, spool), same(ct, spool)
    check(code == 0 and found == ({"bytes": 6}, {"absent": 6}), f"one modality: exit {code}, {found}")
    code, text = gateway.command("pull", "orthanc-get", "--accession", "TWO", "--all")
    check(code == 0 and same(ct + ct2, spool) == {"bytes": 12}, f"both studies: exit {code}, {same(ct + ct2, spool)}")
    code, text = gateway.command("pull", "orthanc-move", "--study", "1.2.3.4")
    check(code == 1 and "nothing that fits" in text, f"a study that is not there: exit {code}: {text.strip().splitlines()[-1]}")
    code, text = gateway.command("pull", "orthanc-get", "--accession", "T*")
    check(code == 1 and "wildcard" in text, f"an accession number that matches others: exit {code}")
    code, text = gateway.command("pull", "tps", "--study", study)
    check(code == 1 and '"retrieve"' in text, f"a peer without retrieve: exit {code}: {text.strip()[:90]}")

    # Asked for while the gateway is down; killed in the middle; ended in order in the middle.
    stop(gateway.process)
    _, study, files = make(work / "sent", 510)
    archives.give("pynetdicom", files)
    code, _ = gateway.command("pull", "pynetdicom-get", "--study", study, "--no-wait")
    gateway.serve()
    check(code == 0 and wait_for(lambda: same(files, spool) == {"bytes": 6}, 60), f"asked for while the gateway was down: {same(files, spool)}")
    for end, way, number in (("kill", "get", 520), ("kill", "move", 530), ("terminate", "get", 540)):
        _, study, files = make(work / "sent", number, slices=30)
        archives.give("pynetdicom", files)
        archives.python.delay = 0.2
        gateway.command("pull", f"pynetdicom-{way}", "--study", study, "--no-wait")
        begun = wait_for(lambda: 0 < same(files, spool).get("bytes", 0) < 30, 30)
        if end == "kill":
            gateway.process.kill()
            gateway.process.wait()
            peers.running.remove(gateway.process)
        else:
            stop(gateway.process)
        between = same(files, spool)
        archives.python.delay = 0.0
        gateway.serve()
        whole = wait_for(lambda: same(files, spool) == {"bytes": 30}, 90)
        check(begun and whole, f"C-{way.upper()}, {end} in the middle ({between.get('bytes', 0)} of 30 were here): {same(files, spool)}")
    archives.stop()
    code, text = gateway.command("pull", "orthanc-get", "--study", study)
    check(code == 1 and "could not be reached" in text, f"an archive that is away: exit {code}: {text.strip().splitlines()[-1][:100]}")
    stop(gateway.process)
    log = gateway.log.read_text()
    check("PHANTOM" not in log and "axial" not in log, "no patient and no description in the log")


def pipeline(name, inputs, **more):
    return json.dumps({
        "id": name, "revision": 1, "mode": "shadow", "inputs": inputs,
        "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
        "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
        "outputs": [{"rtstruct": {"label": "AUTO"}}], **more})


def fetched(work):
    print("\na missing input, a prior, and completeness by the source", flush=True)
    gateway = Gateway(work / "fetches", {"tps": ("TPS", free_port())})
    archives = Archives(work, gateway.port)
    (gateway.folder / "ae-config/peers/orthanc-in.json").unlink()
    archives.peers(gateway)
    (gateway.folder / "pipelines/ct-basic.json").unlink()
    is_a = lambda modality, *more: {"all": [{"tag": "Modality", "eq": modality}, *more]}
    described = lambda text: {"tag": "SeriesDescription", "eq": text}
    fetch = {"from": "orthanc-get", "modality": "MR", "description": "T2", "after_s": 1}
    pair = {"ct": is_a("CT", described("planning")), "mr": {**is_a("MR"), "fetch": fetch}}
    (gateway.folder / "pipelines/pair.json").write_text(pipeline("pair", pair))
    prior = {"from": "dcmtk-move", "study": "prior", "modality": "CT", "within_days": 500, "after_s": 1}
    two = {"ct": is_a("CT", described("follow-up")), "before": {**is_a("CT", described("baseline")), "fetch": prior}}
    (gateway.folder / "pipelines/change.json").write_text(pipeline("change", two, same="patient"))
    alone = {"ct": is_a("CT", described("whole"))}
    (gateway.folder / "pipelines/whole.json").write_text(pipeline("whole", alone))
    document = json.loads((gateway.folder / "ae-config/gateway.json").read_text())
    document["complete"]["ask"] = "pynetdicom-get"
    (gateway.folder / "ae-config/gateway.json").write_text(json.dumps(document))
    code, text = gateway.command("check")
    check(code == 0, f"the configuration is good: {text.strip()[-300:]}")
    gateway.serve()

    def send(files):
        code, text = run("storescu", "-aet", "STORESCU", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *files)
        check(code == 0, f"storescu sends {len(files)} instances" + text[-300:])

    def history(uid):
        """What happened to a series; `contourd show` is about jobs, of which it may have none."""
        with sqlite3.connect(f"file:{work / 'fetches/var/ledger.sqlite'}?mode=ro", uri=True) as ledger:
            return "\n".join(text for text, in ledger.execute("SELECT text FROM history WHERE series = ? ORDER BY sequence", (uid,)))

    # The MR of the study is in Orthanc, one that fits among others.
    ct_uid, study, ct = make(work / "sent", 600, description="planning", slices=30)
    mr_uid, _, mr = make(work / "sent", 601, modality="MR", study=study, description="T2 ax", slices=30)
    _, _, t1 = make(work / "sent", 602, modality="MR", study=study, description="T1")
    archives.give("orthanc", mr + t1)
    send(ct)
    jobs = lambda uid: gateway.series(uid)[1]
    done = lambda uid: jobs(uid) and all(job["state"] in ("sent", "delivered") for job in jobs(uid))
    ran = wait_for(lambda: done(ct_uid), 120)
    slots = {one["slot"]: one["series"]["series_instance_uid"] for one in (jobs(ct_uid) or [{"inputs": []}])[0]["inputs"]}
    check(ran and slots == {"ct": ct_uid, "mr": mr_uid}, f"the MR was fetched, and the pipeline ran on both: {slots}")
    check(same(mr, work / "fetches/var") == {"bytes": 30} and same(t1, work / "fetches/var") == {"absent": 6}, "that MR alone")
    print(history(ct_uid))

    # Nothing fits: told, and not asked for again.
    lone_uid, _, lone = make(work / "sent", 610, description="planning", slices=30)
    send(lone)
    note = lambda uid: (gateway.series(uid)[0] or {}).get("note", "")
    check(wait_for(lambda: "none that fits" in note(lone_uid), 60), f"an MR that the archive has not: {note(lone_uid)}")

    # Priors of the patient: one too old, one of another patient, two that could be, of which the latest is taken.
    _, _, old = make(work / "sent", 620, description="baseline", date="20200101", patient="P-7", slices=30)
    _, _, early = make(work / "sent", 621, description="baseline", date="20250301", patient="P-7", slices=30)
    late_uid, _, late = make(work / "sent", 622, description="baseline", date="20250601", patient="P-7", slices=30)
    _, _, stranger = make(work / "sent", 623, description="baseline", date="20251201", patient="P-77", slices=30)
    _, _, later = make(work / "sent", 624, description="baseline", date="20260301", patient="P-7", slices=30)
    now_uid, _, now = make(work / "sent", 625, description="follow-up", date="20260101", patient="P-7", slices=30)
    archives.give("dcmtk", old + early + late + stranger + later)
    send(now)
    ran = wait_for(lambda: done(now_uid), 120)
    slots = {one["slot"]: one["series"]["series_instance_uid"] for one in (jobs(now_uid) or [{"inputs": []}])[0]["inputs"]}
    check(ran and slots == {"ct": now_uid, "before": late_uid}, f"the latest prior was fetched by C-MOVE: {slots}")
    spool = work / "fetches/var"
    check(same(old + early + stranger + later, spool) == {"absent": 120}, "and no other study")
    if not ran:
        print(history(now_uid))

    # The archive has thirty slices of which twenty came, without a gap.
    uid, _, files = make(work / "sent", 630, description="whole", slices=30)
    archives.give("pynetdicom", files)
    send(files[:20])
    said = lambda: "pynetdicom-get has 30 instances of it, and 20 are here" in history(uid)
    check(wait_for(said, 60) and not jobs(uid), "twenty of thirty slices, as the archive says: it waits")
    check(wait_for(lambda: "20 of 30" in note(uid), 60) and not jobs(uid), f"and is held: {note(uid)}")
    send(files[20:])
    ran = wait_for(lambda: done(uid), 120)
    check(ran and len(jobs(uid)) == 1 and len(jobs(uid)[0]["instances"]) == 30, "it runs once, when the others have come")
    # A source that does not know the series changes nothing.
    uid, _, files = make(work / "sent", 640, description="whole", slices=30)
    send(files)
    check(wait_for(lambda: done(uid), 120) and "it does not know the series" in history(uid), "a source that does not know the series")
    archives.stop()
    uid, _, files = make(work / "sent", 650, description="whole", slices=30)
    send(files)
    check(wait_for(lambda: done(uid), 120) and "pynetdicom-get did not say" in history(uid), "a source that is away")
    stop(gateway.process)
    log = gateway.log.read_text()
    check(not any(word in log for word in ("PHANTOM", "P-7", "follow-up")), "no patient and no description in the log")


def main():
    failed = peers.failures
    for part in (pulls, fetched):
        work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-retrieve-"))
        before = len(failed)
        try:
            part(work)
        finally:
            for process in list(peers.running):
                process.kill()
                process.wait()
                peers.running.remove(process)
            if len(failed) > before:
                print(f"logs are in {work}")
            else:
                shutil.rmtree(work, ignore_errors=True)
    print(f"\n{len(failed)} failed" if failed else "\nall held")
    sys.exit(bool(failed))


main()
