"""Starts contourd, DCMTK's storescp and Orthanc on free ports of loopback, sends CT series by storescu, dcmsend and
Orthanc, and checks that each whole series gave exactly one structure set at each destination, the same at both, without
an error of dciodvfy. Then sends what must be refused, and shows the message of each. Python's standard library alone."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import synthetic

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTOURD = os.environ["CONTOURD"]
WAIT_S = float(os.environ.get("PEERS_WAIT_S", "300"))
UID = "1.2.826.0.1.3680043.10.7." + str(int(time.time()))
failures, running = [], []


def check(holds, what):
    print(("  ok      " if holds else "  FAILED  ") + what, flush=True)
    if not holds:
        failures.append(what)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, command, log):
    print(f"starting {name}", flush=True)
    process = subprocess.Popen([str(part) for part in command], stdout=open(log, "ab"), stderr=subprocess.STDOUT)
    running.append(process)
    return process


def wait_port(port, process, log):
    for _ in range(300):
        if process.poll() is not None:
            sys.exit(f"it ended with {process.returncode}:\n{pathlib.Path(log).read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port} after 30 s:\n{pathlib.Path(log).read_text()[-2000:]}")


def stop(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
    running.remove(process)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def rest(port, path, data=None):
    body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=120) as answer:
        return answer.read()


class Gateway:
    """contourd on a configuration of its own."""

    def __init__(self, folder, receivers, storage=None, floor_mb=0):
        self.folder, self.port, self.log = folder, free_port(), folder / "log"
        peers = folder / "ae-config/peers"
        peers.mkdir(parents=True)
        shutil.copytree(ROOT / "models", folder / "models")
        (folder / "pipelines").mkdir()
        gateway = {
            "ae_titles": ["CONTOURD"], "bind": "127.0.0.1", "port": self.port,
            "storage": {"folder": str(storage or folder / "var"), "free_floor_mb": floor_mb},
            "complete": {"quiet_s": 3, "released_quiet_s": 2, "gap_quiet_s": 4, "max_wait_s": 20, "on_timeout": "hold"},
        }
        (folder / "ae-config/gateway.json").write_text(json.dumps(gateway))
        for title in ("STORESCU", "DCMSEND", "ORTHANC"):
            self.peer(title.lower() + "-in", {"ae_title": title, "may": ["send"]})
        for name, (title, port) in receivers.items():
            retry = {"initial_s": 1, "multiplier": 2, "max_s": 4, "max_age_h": 1}
            self.peer(name, {"ae_title": title, "host": "127.0.0.1", "port": port, "may": ["receive"], "retry": retry})
        text = (ROOT / "pipelines/ct-basic.json").read_text()
        targets = ", ".join('{ "to": "%s" }' % name for name in receivers)
        text = re.sub(r'"deliver": \[.*\]', f'"deliver": [{targets}]', text)
        (folder / "pipelines/ct-basic.json").write_text(text)

    def peer(self, name, document):
        (self.folder / f"ae-config/peers/{name}.json").write_text(json.dumps(document))

    def serve(self):
        self.process = start("contourd", [CONTOURD, "serve", "--config", self.folder], self.log)
        wait_port(self.port, self.process, self.log)

    def command(self, *words):
        return run(CONTOURD, *words, "--config", self.folder)

    def jobs(self):
        code, text = self.command("jobs", "--json", "--last", 1000)
        try:
            return json.loads(text[text.index("{"):])
        except ValueError:
            return sys.exit(f"contourd jobs --json ended with {code}:\n{text}")

    def series(self, uid):
        """The record of a series, and its jobs."""
        found = self.jobs()
        of = lambda entry: entry["series"]["series_instance_uid"] == uid
        return next(filter(of, found["series"]), None), list(filter(of, found["jobs"]))


def wait_for(what, seconds=WAIT_S):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return True
        time.sleep(1)
    return False


def dciodvfy_errors(path):
    return [line for line in run("dciodvfy", "-new", path)[1].splitlines() if line.startswith("Error")]


def referenced_series(path):
    """The Series Instance UID that a structure set refers to, and its content without file meta information."""
    content = json.loads(run("dcm2json", path)[1])
    study = content["30060010"]["Value"][0]["30060012"]["Value"][0]
    return study["30060014"]["Value"][0]["0020000E"]["Value"][0], {k: v for k, v in content.items() if k[:4] != "0002"}


def orthanc_config(folder, dicom, http, gateway_port):
    (folder / "storage").mkdir(parents=True)
    config = {
        "Name": "contourd-test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "HttpPort": http, "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "Plugins": [],
        "DicomModalities": {"contourd": ["CONTOURD", "127.0.0.1", gateway_port]},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    return folder / "orthanc.json"


def copy_series(source, target, uid, study):
    """A copy under UIDs of its own, so that each sender sends a series of its own. Some have none to begin with."""
    target.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        shutil.copyfile(path, target / f"{number:04}.dcm")
    paths = sorted(target.iterdir())
    for path in paths:
        if run("dcmdump", "-q", "+P", "0008,0060", path)[1].find("[CT]") < 0:
            path.unlink()
    paths = sorted(target.iterdir())
    nameless = "no value" in run("dcmdump", "+P", "0008,0016", paths[0])[1]
    sop_class = ["-i", f"(0008,0016)={synthetic.CT}"] if nameless else []
    code, text = run("dcmodify", "-nb", "-gin", *sop_class, "-i", f"(0020,000d)={study}", "-i", f"(0020,000e)={uid}",
                     "-i", "(0010,0020)=CONTOURD-TEST", *paths)
    if code:
        sys.exit(f"dcmodify: {text}")
    return target


def good_input(work, sources):
    print("\nwhole series, three senders, two destinations", flush=True)
    tps, orthanc_dicom, http = free_port(), free_port(), free_port()
    gateway = Gateway(work / "good", {"tps": ("TPS", tps), "pacs": ("ORTHANC", orthanc_dicom)})
    received = work / "received"
    received.mkdir()
    scp = start("storescp", ["storescp", "-aet", "TPS", "-od", received, "+B", "-fe", ".dcm", tps], work / "storescp.log")
    config = orthanc_config(work / "orthanc", orthanc_dicom, http, gateway.port)
    orthanc = start("Orthanc", ["Orthanc", config], work / "orthanc.log")
    wait_port(tps, scp, work / "storescp.log")
    wait_port(http, orthanc, work / "orthanc.log")
    gateway.serve()
    expected, inherited, number = {}, set(), 0
    for source in sources:
        for sender in ("storescu", "dcmsend", "orthanc"):
            number += 1
            uid = f"{UID}.{number}"
            folder = copy_series(source, work / "sent" / str(number), uid, f"{UID}.{number}.0")
            files = sorted(folder.iterdir())
            if sender == "storescu":
                # It proposes what the files are encoded in, so that compressed ones stay as they are.
                syntax = ["-xv"] if "JPEG2000Lossless" in run("dcmdump", "+P", "0002,0010", files[0])[1].replace(" ", "") else []
                code, text = run("storescu", "-aet", "STORESCU", "-aec", "CONTOURD", *syntax, "127.0.0.1", gateway.port, *files)
            elif sender == "dcmsend":
                code, text = run("dcmsend", "-aet", "DCMSEND", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *files)
            else:
                ids = [json.loads(rest(http, "/instances", path.read_bytes()))["ID"] for path in files]
                answer = json.loads(rest(http, "/modalities/contourd/store", {"Resources": ids}))
                code, text = answer["FailedInstancesCount"], json.dumps(answer)
            check(code == 0, f"{sender} sends {len(files)} instances of {source.name}" + (f": {text[-400:]}" if code else ""))
            expected[uid] = f"{source.name} by {sender}"
            # What is wrong with patient and study in the images is copied as it is, and is not our error.
            inherited.update(dciodvfy_errors(files[0]))

    at_pacs = lambda: json.loads(rest(http, "/tools/find", {"Level": "Instance", "Query": {"Modality": "RTSTRUCT"}}))

    def at_orthanc():
        found = {}
        for instance in at_pacs():
            path = work / f"{instance}.dcm"
            path.write_bytes(rest(http, f"/instances/{instance}/file"))
            uid, content = referenced_series(path)
            found.setdefault(uid, []).append(content)
        return found

    wait_for(lambda: len(list(received.iterdir())) >= len(expected) and len(at_pacs()) >= len(expected))
    time.sleep(3)  # A second structure set of a series would come now.
    at_tps = {}
    for path in received.iterdir():
        uid, content = referenced_series(path)
        at_tps.setdefault(uid, []).append(content)
        errors = [line for line in dciodvfy_errors(path) if line not in inherited and "Illegal root for UID" not in line]
        check(not errors, f"dciodvfy finds no error in that of {expected.get(uid, uid)}" + "".join(f"\n    {e}" for e in errors[:5]))
    pacs = at_orthanc()
    for uid, name in expected.items():
        counts = len(at_tps.get(uid, [])), len(pacs.get(uid, []))
        check(counts == (1, 1), f"{name}: {counts[0]} structure set(s) at storescp, {counts[1]} at Orthanc")
        if counts == (1, 1):
            names = [item["30060026"]["Value"][0] for item in at_tps[uid][0]["30060020"]["Value"]]
            check(at_tps[uid] == pacs[uid], f"{name}: the same at both: {', '.join(names)}")
    print(gateway.command("jobs")[1])
    stop(gateway.process)
    stop(orthanc)
    stop(scp)
    check("PHANTOM" not in gateway.log.read_text() and "CONTOURD-TEST" not in gateway.log.read_text(), "no patient in the log")


def bad_input(work):
    print("\nwhat must be refused", flush=True)
    away = free_port()
    gateway = Gateway(work / "bad", {"tps": ("TPS", away)})
    gateway.serve()
    uid = lambda number: f"{UID}.900.{number}"
    body = synthetic.data_set(uid(1), 1, 0.0)
    status = synthetic.store(gateway.port, body[:-2000], f"{uid(1)}.1")
    check(status == 0xC001, f"a truncated instance: answered {status:04X}, expected C001")
    evil = "../../etc/passwd"
    status = synthetic.store(gateway.port, synthetic.data_set(uid(1), 1, 0.0, sop=evil), evil)
    check(status in (0xC002, 0x0212), f"SOP Instance UID {evil}: answered {status:04X}, expected C002 or 0212")
    strays = [p for p in (work / "bad/var").rglob("*") if "passwd" in p.name]
    check(not strays, "no file of that name")

    def send(number, **kind):
        folder = synthetic.series(work / f"bad-{number}", uid(number), **kind)
        code, text = run("storescu", "-aet", "STORESCU", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *sorted(folder.iterdir()))
        check(code == 0, f"series {number} is received" + text[-300:])

    def noted(number, what):
        settled = lambda: (gateway.series(uid(number))[0] or {}).get("note")
        wait_for(settled, 60)
        record, jobs = gateway.series(uid(number))
        check(bool(record and record["note"]) and not jobs, f"{what}: {record and record['state']}: {record and record['note']}")

    send(2, change=lambda n: {"patient": "OTHER"} if n > 15 else {})
    noted(2, "two patients under one Series Instance UID")
    send(3, change=lambda n: None if n == 12 else {})
    noted(3, "a missing slice")
    # A destination that is not there: the job waits with the reason, and is delivered when it is back.
    send(4)
    reason = lambda: re.search(r"refused|connect", gateway.command("show", gateway.series(uid(4))[1][0]["id"])[1]) \
        if gateway.series(uid(4))[1] else None
    check(wait_for(reason, WAIT_S), "a destination that refuses: the job tells it")
    if gateway.series(uid(4))[1]:
        print(gateway.command("show", gateway.series(uid(4))[1][0]["id"])[1])
    received = work / "late"
    received.mkdir()
    away_scp = start("storescp", ["storescp", "-aet", "TPS", "-od", received, away], work / "late.log")
    check(wait_for(lambda: len(list(received.iterdir())) == 1, 60), "and is delivered when it is back")
    stop(away_scp)
    # A bad change leaves the last good configuration.
    path = work / "bad/pipelines/ct-basic.json"
    good = path.read_text()
    path.write_text(good.replace('"mode"', '"moode"'))
    code, text = gateway.command("check")
    check(code == 78 and "moode" in text and "ct-basic.json" in text, f"an unknown key: exit {code}\n{text.strip()}")
    path.write_text(good)
    stop(gateway.process)
    model = work / "bad/models/ct-basic"
    text, network = (model / "model.json").read_text(), (model / "model.onnx").read_bytes()
    nonsense = b"this is not a network\n"
    (model / "model.onnx").write_bytes(nonsense)
    code, told = gateway.command("check")
    check(code == 78 and "sha256" in told, f"a model file with another digest: exit {code}\n{told.strip()}")

    def fails(number, what):
        """A model that its files cannot keep: `check` tells it, or the job fails by itself and the gateway goes on."""
        code, told = gateway.command("check")
        if code == 0:
            gateway.serve()
            send(number)
            states = lambda: json.dumps([job["state"] for job in gateway.series(uid(number))[1]])
            check(wait_for(lambda: "failed" in states()), f"{what}: the job fails by itself")
            check(gateway.process.poll() is None, "and the gateway goes on")
            told = states()
            stop(gateway.process)
        else:
            check(code == 78, f"{what}: exit {code}, expected 78")
        print("          " + told.strip())

    digest = lambda data: hashlib.sha256(data).hexdigest()
    (model / "model.json").write_text(text.replace(digest(network), digest(nonsense)))
    fails(5, "a model file that is not ONNX")
    (model / "model.onnx").write_bytes(network)
    (model / "model.json").write_text(text.replace('"NCHW"', '"NCDHW"'))
    fails(6, "a model whose input has another shape than model.json says")


def full_disk(work):
    if os.geteuid() != 0:
        return print("\nfull disk: skipped, only root can mount a small file system")
    print("\nfull disk", flush=True)
    small = work / "small"
    small.mkdir()
    code, text = run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small)
    if code:
        return print(f"full disk: skipped, no file system can be mounted here: {text.strip()}")
    try:
        gateway = Gateway(work / "full", {"tps": ("TPS", free_port())}, storage=small, floor_mb=6)
        gateway.serve()
        statuses = []
        for number in range(1, 201):
            body = synthetic.data_set(f"{UID}.950", number, number * 5.0)
            statuses.append(synthetic.store(gateway.port, body, f"{UID}.950.{number}"))
            if statuses[-1]:
                break
        check(statuses[-1] == 0xA700, f"after {len(statuses) - 1} instances: answered {statuses[-1]:04X}, expected A700")
        stored = sum(1 for path in small.rglob("*") if path.is_file() and f"{UID}.950." in path.name)
        check(stored >= len(statuses) - 1, f"{stored} of {len(statuses) - 1} acknowledged instances are there")
        stop(gateway.process)
    finally:
        run("umount", small)


def finish(work):
    """Ends what runs, and the program with what failed."""
    for process in list(running):
        process.kill()
        process.wait()
    if sys.exc_info()[0] is not None:
        return print(f"\nended early; logs are in {work}")
    if failures:
        print(f"logs are in {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n{len(failures)} failed" if failures else "\nall held")
    sys.exit(bool(failures))


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-peers-"))
    sources = [pathlib.Path(folder) for folder in sys.argv[1:]]
    shared = ROOT.parent / "shared/data/series"
    if not sources and shared.is_dir():
        sources = sorted(path for path in shared.iterdir() if "_ct_" in path.name)
    if not sources:
        print("no real series are here (../shared/data); the synthetic one alone is sent")
    try:
        sources.append(synthetic.series(work / "synthetic", f"{UID}.800"))
        good_input(work, sources)
        bad_input(work)
        full_disk(work)
    finally:
        finish(work)


if __name__ == "__main__":
    main()
