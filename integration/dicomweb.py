"""Destinations that are no DICOM nodes, with real Orthancs and their DICOMweb plugin: STOW-RS with passwords over http and https,
verified by QIDO-RS and read back bit by bit; a wrong password; a server that is stopped and started again; one that takes the place
of a dead one; results that go back to who sent the images; a folder. Begun by peers.sh; Python's standard library and openssl."""

import base64
import json
import os
import pathlib
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.request

import peers
import synthetic
from peers import Gateway, check, free_port, start, stop, wait_for, wait_port
from tls import authority, issue

PLUGIN = pathlib.Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
UID = "1.2.826.0.1.3680043.10.7." + str(int(time.time()))
USER, PASSWORD = "contourd", "a secret: word"
RETRY = {"initial_s": 1, "multiplier": 1, "max_s": 1, "max_age_h": 1}


class Front:
    """Ends TLS in front of a server, as a reverse proxy does."""

    def __init__(self, port, behind, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.behind, self.listener = behind, socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return  # It was closed.
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        try:
            with self.context.wrap_socket(stream, server_side=True) as outside, \
                    socket.create_connection(("127.0.0.1", self.behind)) as inside:
                back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                back.start()
                pump(outside, inside)
                back.join()
        except OSError:
            pass  # A client that does not believe us, or is gone.

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Orthanc:
    """An Orthanc with DICOMweb, a password and, where it has a certificate, https by OpenSSL in front of it: that of Debian 12
    (1.10.1) ends at the first handshake when it speaks TLS itself."""

    def __init__(self, folder, gateway_port, certificate=None):
        self.folder, self.http, self.dicom, self.certificate = folder, free_port(), free_port(), certificate
        (folder / "storage").mkdir(parents=True)
        config = {
            "Name": folder.name, "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "DicomAlwaysAllowStore": True,
            "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"contourd": ["CONTOURD", "127.0.0.1", gateway_port]},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.port = free_port() if certificate else self.http
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def start(self):
        log = self.folder / "log"
        self.process = start("Orthanc", ["Orthanc", self.folder / "orthanc.json"], log)
        wait_port(self.http, self.process, log)
        if self.certificate:
            self.front = Front(self.port, self.http, self.certificate)

    def stop(self):
        if self.certificate:
            self.front.close()
        stop(self.process)

    def rest(self, path, data=None):
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        context = ssl._create_unverified_context() if self.certificate else None
        with urllib.request.urlopen(request, timeout=120, context=context) as answer:
            return answer.read()

    def structure_sets(self):
        """The files of all structure sets, by SOP Instance UID, as they were received."""
        query = {"Level": "Instance", "Query": {"Modality": "RTSTRUCT"}, "Expand": True}
        found = json.loads(self.rest("/tools/find", query))
        return {one["MainDicomTags"]["SOPInstanceUID"]: self.rest(f"/instances/{one['ID']}/file") for one in found}


def made_for(gateway, job, peer):
    """The only structure set that a job made for a peer: its UID and its bytes."""
    objects = [one for one in job["run"]["objects"] if one["to"] is None or peer in one["to"]]
    assert len(objects) == 1, objects
    return objects[0]["sop_instance_uid"], (gateway.folder / "var/objects" / job["id"] / objects[0]["file"]).read_bytes()


def deliver(gateway, entries, revision):
    path = gateway.folder / "pipelines/ct-basic.json"
    text = re.sub(r'"deliver": \[.*\]', f'"deliver": {json.dumps(entries)}', path.read_text())
    path.write_text(re.sub(r'"revision": \d+', f'"revision": {revision}', text))


def job_of(gateway, uid):
    return (gateway.series(uid)[1] or [None])[0]


def delivery(job, to):
    return next(one for one in job["deliveries"] if one["to"] == to)


def is_over(gateway, uid):
    job = job_of(gateway, uid)
    return bool(job) and (job["state"] in ("sent", "delivered") or "failed" in job["state"])


def send_from(orthanc, folder):
    ids = [json.loads(orthanc.rest("/instances", path.read_bytes()))["ID"] for path in sorted(folder.iterdir())]
    answer = json.loads(orthanc.rest("/modalities/contourd/store", {"Resources": ids}))
    check(answer["FailedInstancesCount"] == 0, f"Orthanc sends {len(ids)} images")


def gateway_with(work, files, plain, secure, standby):
    gateway = Gateway(work / "gateway", {})
    login, wrong = gateway.folder / "ae-config/login", gateway.folder / "ae-config/wrong"
    login.write_text(f"{USER}:{PASSWORD}\n")
    wrong.write_text(f"{USER}:another\n")
    for path in (login, wrong):
        path.chmod(0o600)

    def web(orthanc, password="ae-config/login", **more):
        place = {"url": orthanc.url + "/dicom-web/", "password_file": password, **more}
        return {"dicomweb": place, "may": ["receive"], "verify": "find", "retry": RETRY}

    trust = {"tls": {"authorities": str(files / "hospital.pem")}}
    gateway.peer("plain", web(plain))
    gateway.peer("secure", {**web(secure, **trust), "dialect": "mim"})
    gateway.peer("wrong", web(plain, "ae-config/wrong"))
    gateway.peer("stranger", {**web(secure, tls={"authorities": str(files / "stranger.pem")})})
    gateway.peer("standby", {**web(standby), "dialect": {"like": "generic", "side_first": True}})
    dead = {"dicomweb": {"url": f"http://127.0.0.1:{free_port()}/dicom-web"}, "may": ["receive"], "retry": RETRY}
    gateway.peer("dead", dead)
    gateway.peer("export", {"folder": str(gateway.folder / "export"), "may": ["receive"], "verify": "find", "retry": RETRY})
    gateway.peer("orthanc-in", {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": plain.dicom,
                                "may": ["send", "receive"], "retry": RETRY,
                                "dialect": {"like": "generic", "decimals": 2}})
    return gateway


def first_job(gateway, plain, secure, standby, work):
    print("\none job, six destinations", flush=True)
    series = f"{UID}.1"
    send_from(plain, synthetic.series(work / "first", series))
    export = gateway.folder / "export"
    told = lambda: job_of(gateway, series) and "is it mounted?" in delivery(job_of(gateway, series), "export")["last_reason"]
    check(wait_for(told), "a folder that is not there is told")
    export.mkdir()
    check(wait_for(lambda: is_over(gateway, series)), "the job ends")
    job = job_of(gateway, series)
    page = gateway.command("show", job["id"])[1]
    print("\n".join(line for line in page.splitlines() if "next attempt" not in line))
    state = lambda to: delivery(job, to)["state"]
    proof = {to: state(to)["done"]["proof"] if "done" in state(to) else None
             for to in ("plain", "secure", "standby", "export", "orthanc-in")}
    check(proof == {"plain": "found", "secure": "found", "standby": "found", "export": "found", "orthanc-in": "answered"},
          f"each is delivered with its proof: {proof}")
    check("not_needed" in state("dead") and delivery(job, "dead")["attempts"] == 2, f"the dead one lost its turn: {state('dead')}")
    reason = state("wrong").get("refused", {}).get("reason", "")
    check("HTTP 401" in reason and PASSWORD not in reason and "another" not in reason, f"a wrong password: {reason}")
    for orthanc, name in ((plain, "plain"), (secure, "secure"), (standby, "standby")):
        uid, made = made_for(gateway, job, name)
        check(orthanc.structure_sets().get(uid) == made, f"{name}: what Orthanc holds is what was made, bit by bit ({len(made)} bytes)")
    uid, made = made_for(gateway, job, "export")
    check([path.read_bytes() for path in export.iterdir()] == [made], f"the folder holds it and nothing else: {[p.name for p in export.iterdir()]}")
    uids = {name: made_for(gateway, job, name)[0] for name in ("plain", "secure", "standby", "dead")}
    uids["sender"] = made_for(gateway, job, "orthanc-in")[0]
    check(uids["dead"] == uids["plain"] and len(set(uids.values())) >= 3, "each has its own dialect")
    check(uids["sender"] in plain.structure_sets(), "the sender has its own by C-STORE")
    code, history = gateway.command("show", job["id"])
    for line in ("not delivered to dead: ", "standby is tried in its place", "the results go back to orthanc-in"):
        check(line in history, f"the history says: {line}")


def stopped(gateway, secure, work):
    print("\na server that is stopped and started again, and one that is not believed", flush=True)
    deliver(gateway, [{"to": "secure"}, {"to": "stranger"}], 2)
    time.sleep(2)
    secure.stop()
    series = f"{UID}.2"
    folder = synthetic.series(work / "second", series)
    code, text = peers.run("storescu", "-aet", "STORESCU", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *sorted(folder.iterdir()))
    check(code == 0, "storescu sends a series" + text[-300:])
    told = lambda: job_of(gateway, series) and "could not be reached" in delivery(job_of(gateway, series), "secure")["last_reason"]
    check(wait_for(told), "the server is away: the job tells it")
    gateway.process.kill()
    gateway.process.wait()
    peers.running.remove(gateway.process)
    gateway.serve()
    secure.start()
    done = lambda: "done" in delivery(job_of(gateway, series), "secure")["state"]
    check(wait_for(done), "and is delivered when it is back, after a kill of the gateway between")
    uid, made = made_for(gateway, job_of(gateway, series), "secure")
    check(secure.structure_sets().get(uid) == made, "bit by bit")
    told = lambda: "no TLS connection" in delivery(job_of(gateway, series), "stranger")["last_reason"]
    check(wait_for(told), f"one whose authority is not believed: {delivery(job_of(gateway, series), 'stranger')['last_reason']}")


def full_folder(gateway, work):
    small = work / "small"
    small.mkdir()
    if os.geteuid() != 0 or peers.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small)[0]:
        return print("\nfull folder: skipped, no small file system can be mounted here")
    print("\na folder that is full", flush=True)
    try:
        gateway.peer("small", {"folder": str(small), "may": ["receive"], "verify": "find", "retry": RETRY})
        deliver(gateway, [{"to": "small"}], 3)
        time.sleep(2)
        series = f"{UID}.3"
        folder = synthetic.series(work / "third", series)
        peers.run("storescu", "-aet", "STORESCU", "-aec", "CONTOURD", "127.0.0.1", gateway.port, *sorted(folder.iterdir()))
        told = lambda: job_of(gateway, series) and "No space left" in delivery(job_of(gateway, series), "small")["last_reason"]
        check(wait_for(told), "it is told, and tried again")
        check(not list(small.glob("*.dcm")), "nothing half appears there under its name")
        peers.run("mount", "-o", "remount,size=8m", small)
        check(wait_for(lambda: is_over(gateway, series)), "the job ends when there is room")
        _, made = made_for(gateway, job_of(gateway, series), "small")
        check([path.read_bytes() for path in small.iterdir()] == [made], "bit by bit, and nothing else lies there")
    finally:
        peers.run("umount", small)


def main():
    if not PLUGIN.exists():
        print(f"skipped: DICOMweb, because {PLUGIN} is not here (Debian: orthanc-dicomweb)")
        return
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-dicomweb-"))
    try:
        files = work / "files"
        files.mkdir()
        authority(files, "hospital")
        authority(files, "stranger")
        issue(files, "hospital", "archive", "rsa", "IP:127.0.0.1")
        both = files / "both.pem"
        both.write_text((files / "archive.pem").read_text() + (files / "archive.key").read_text())
        port = free_port()
        plain, secure, standby = (Orthanc(work / name, port, both if name == "secure" else None) for name in ("plain", "secure", "standby"))
        gateway = gateway_with(work, files, plain, secure, standby)
        # Orthanc knows the gateway by this port.
        path = gateway.folder / "ae-config/gateway.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "port": port}))
        gateway.port = port
        deliver(gateway, [{"to": "plain"}, {"to": "secure"}, {"to": "wrong"}, {"to": "export"},
                          {"to": ["dead", "standby"], "after": {"attempts": 2}}, {"to": "sender"}], 1)
        print(gateway.command("check")[1])
        for orthanc in (plain, secure, standby):
            orthanc.start()
        gateway.serve()
        first_job(gateway, plain, secure, standby, work)
        stopped(gateway, secure, work)
        full_folder(gateway, work)
        log = gateway.log.read_text()
        check("PHANTOM" not in log and PASSWORD not in log, "neither a patient nor a password in the log")
    finally:
        peers.finish(work)


if __name__ == "__main__":
    main()
