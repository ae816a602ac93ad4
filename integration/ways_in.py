"""STOW-RS and watched folders between contourd and foreign programs: Orthanc's DICOMweb plugin, curl and dicomweb-client send
by HTTP, with and without TLS; DCMTK makes files of every encoding that are put into a folder. Each ends in the spool bit by bit."""

import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import time

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

import peers
import synthetic
from peers import Gateway, check, free_port, rest, run, start, stop, wait_for, wait_port

UID = "1.2.826.0.1.3680043.10.7." + str(int(time.time()))
PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
TOKEN = "0123456789abcdef0123456789abcdef"


def data_set(path):
    """The bytes of a file behind its file meta group, and what they are encoded in."""
    content = pathlib.Path(path).read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI") + 6
    syntax = content[at + 2 : at + 2 + int.from_bytes(content[at : at + 2], "little")].rstrip(b"\0 ")
    return content[144 + int.from_bytes(content[140:144], "little"):], syntax


def digests(paths):
    return sorted(hashlib.sha256(part).hexdigest() for part in (b"\0".join(data_set(path)) for path in paths))


class WaysIn(Gateway):
    """contourd with a port for HTTP and watched folders."""

    def __init__(self, folder, tls=None):
        super().__init__(folder, {"tps": ("TPS", free_port())})
        self.web, self.drop = free_port(), folder / "drop"
        self.drop.mkdir()
        path = folder / "ae-config/gateway.json"
        gateway = json.loads(path.read_text())
        gateway["dicomweb"] = {"address": "127.0.0.1", "port": self.web, **({"tls": tls} if tls else {})}
        gateway["folders"] = [{"path": "drop", "calling_ae": "DROP", "settle_s": 1, "scan_s": 2}]
        path.write_text(json.dumps(gateway))
        self.peer("orthanc-web", {"ae_title": "ORTHANC_WEB", "may": ["send"],
                                  "token": {"sha256": [hashlib.sha256(TOKEN.encode()).hexdigest()]}})

    def serve(self):
        super().serve()
        wait_port(self.web, self.process, self.log)

    def url(self, scheme="http"):
        return f"{scheme}://127.0.0.1:{self.web}"

    def kept(self, series):
        return sorted((self.folder / "var/instances").glob(f"*/{series}/*.dcm"))

    def same(self, series, files, what):
        """Every file is in the spool, and nothing else of the series."""
        kept = self.kept(series)
        check(len(kept) == len(files) and digests(kept) == digests(files), f"{what}: {len(kept)} of {len(files)} in the spool, bit by bit")


def send(gateway, folder, title="STORESCU"):
    return run("storescu", "-aet", title, "-aec", "CONTOURD", "127.0.0.1", gateway.port, *sorted(folder.iterdir()))


def orthanc(work, gateway):
    plugin = next(filter(os.path.exists, PLUGINS), None)
    if not plugin:
        print("skipped: Orthanc as STOW-RS client, because its DICOMweb plugin is not installed (orthanc-dicomweb)")
        return
    http = free_port()
    path = peers.orthanc_config(work / "orthanc", free_port(), http, gateway.port)
    config = json.loads(path.read_text())
    config["Plugins"] = [plugin]
    # It sends some instances in each request.
    config["DicomWeb"] = {"Enable": True, "StowMaxInstances": 7, "Servers": {
        "contourd": {"Url": gateway.url() + "/", "Username": "ORTHANC_WEB", "Password": TOKEN}}}
    path.write_text(json.dumps(config))
    process = start("Orthanc", ["Orthanc", path], work / "orthanc.log")
    wait_port(http, process, work / "orthanc.log")
    series = f"{UID}.1"
    files = sorted(synthetic.series(work / "orthanc-sends", series).iterdir())
    ids = [json.loads(rest(http, "/instances", path.read_bytes()))["ID"] for path in files]
    answer = json.loads(rest(http, "/dicom-web/servers/contourd/stow", {"Resources": ids, "Synchronous": True}))
    print(f"  Orthanc says {json.dumps(answer)[:300]}")
    gateway.same(series, files, "Orthanc by STOW-RS")
    titles = run("dcmdump", "-q", "+P", "0002,0016", gateway.kept(series)[0])[1]
    check("ORTHANC_WEB" in titles, "its title is that of the peer whose token it has")
    code, text = send(gateway, work / "orthanc-sends")
    check(code == 0 and len(gateway.kept(series)) == len(files), "the same series by C-STORE is the same" + text[-300:])
    check(wait_for(lambda: gateway.series(series)[1], 60), "the series is complete and has its job")
    stop(process)


def curl(work, gateway, scheme="http", *options):
    series = f"{UID}.2.{len(options)}"
    folder = synthetic.series(work / f"curl-{len(options)}", series)
    files = sorted(folder.iterdir())
    parts = [word for path in files for word in ("-F", f"file=@{path};type=application/dicom")]
    command = ["curl", "-sS", "-w", "\n%{http_code}", "-H", "Content-Type: multipart/related; type=\"application/dicom\"",
               *options, *parts, gateway.url(scheme) + "/studies"]
    code, text = run(*command)
    check(code == 0 and text.endswith("200"), f"curl sends {len(files)} files by {scheme}: {text[-60:]!r}")
    gateway.same(series, files, "curl")
    return files


def refusals(work, gateway, files):
    anonymous = run("curl", "-sS", "-w", "\n%{http_code}", "-H", "Content-Type: multipart/related; type=\"application/dicom\"",
                    "-F", f"file=@{files[0]};type=application/dicom", gateway.url() + "/studies")[1]
    check(anonymous.endswith("401"), f"nobody in particular: {anonymous!r}")
    wrong = requests.post(gateway.url() + "/studies", data=b"", headers={"Authorization": "Bearer wrong"}, timeout=10)
    check(wrong.status_code == 401, f"a wrong token: {wrong.status_code}")
    get = requests.get(gateway.url() + "/studies", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    check(get.status_code == 405, f"QIDO-RS is not there: {get.status_code}")


def dicomweb_client(work, gateway):
    for number, chunk_size in enumerate((10**6, 4_096)):
        series = f"{UID}.3.{number}"
        files = sorted(synthetic.series(work / f"client-{number}", series, slices=12).iterdir())
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        client = DICOMwebClient(gateway.url(), session=session, chunk_size=chunk_size)
        answer = client.store_instances([pydicom.dcmread(path) for path in files])
        check(len(answer.ReferencedSOPSequence) == len(files) and "FailedSOPSequence" not in answer,
              f"dicomweb-client in pieces of {chunk_size}: {len(answer.ReferencedSOPSequence)} stored")
        # pydicom writes the data set anew; what it sends is what it writes.
        written = work / f"client-written-{number}"
        written.mkdir()
        for path in files:
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, pydicom.dcmread(path))
            (written / path.name).write_bytes(buffer.getvalue())
        gateway.same(series, sorted(written.iterdir()), "dicomweb-client")
    changed = pydicom.dcmread(files[0])
    changed.SeriesDescription = "another"
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    answer = requests.Response()
    try:
        DICOMwebClient(gateway.url(), session=session).store_instances([changed])
        check(False, "other bytes under a known UID are refused")
    except requests.HTTPError as error:
        answer = error.response
    failed = pydicom.Dataset.from_json(answer.json()).FailedSOPSequence[0]
    check((answer.status_code, failed.FailureReason) == (409, 0x0111), f"other bytes: {answer.status_code}, {failed.FailureReason:04X}")
    answer = DICOMwebClient(gateway.url(), session=session).store_instances([changed, pydicom.dcmread(files[1])])
    check(len(answer.FailedSOPSequence) == 1 and len(answer.ReferencedSOPSequence) == 1, "some stored, some refused (202)")


def folder(work, gateway):
    """One image in every encoding that DCMTK makes, and a series as it comes from an export."""
    source = sorted(synthetic.series(work / "encodings", f"{UID}.4.0", slices=1).iterdir())[0]
    tools = {"implicit": ["dcmconv", "+ti"], "explicit": ["dcmconv", "+te"], "big": ["dcmconv", "+tb"],
             "deflated": ["dcmconv", "+td"], "rle": ["dcmcrle"], "jpeg": ["dcmcjpeg", "+e1"], "jpegls": ["dcmcjpls"],
             "progressive": ["dcmcjpeg", "+ep"]}
    made = {}
    for number, (name, command) in enumerate(tools.items(), 1):
        target = work / f"{name}.dcm"
        shutil.copyfile(source, target)
        run("dcmodify", "-nb", "-m", f"(0008,0018)={UID}.4.{number}.1", "-m", f"(0020,000e)={UID}.4.{number}", target)
        code, text = run(*command, target, work / f"{name}.made")
        check(code == 0, f"{' '.join(command)}{text[-200:]}")
        made[f"{UID}.4.{number}"] = name
    for name in tools:
        shutil.copyfile(work / f"{name}.made", gateway.drop / f"{name}.part")
        (gateway.drop / f"{name}.part").rename(gateway.drop / f"{name}.dcm")
    check(wait_for(lambda: not list(gateway.drop.glob("*.dcm")), 60), "the folder is empty")
    for series, name in made.items():
        if name != "progressive":
            gateway.same(series, [work / f"{name}.made"], f"{name} out of the folder")
    refused = gateway.drop / "refused/progressive.dcm"
    check(refused.read_bytes() == (work / "progressive.made").read_bytes(), "progressive JPEG is refused, and is as it was")
    check("0xC122" in refused.with_name("progressive.dcm.txt").read_text(), "the text beside it says why")

    # A bare data set, a text, a folder for media.
    run("dcmconv", "-F", source, work / "bare.made")
    shutil.copyfile(work / "bare.made", gateway.drop / "bare.dcm")
    (gateway.drop / "notes.txt").write_text("no DICOM")
    check(wait_for(lambda: (gateway.drop / "refused/notes.txt.txt").exists() and (gateway.drop / "refused/bare.dcm.txt").exists(), 60),
          "a bare data set and a text are refused")
    print("  " + (gateway.drop / "refused/bare.dcm.txt").read_text().replace("\n", "\n  "))

    series = f"{UID}.5"
    files = sorted(synthetic.series(work / "export", series, slices=60).iterdir())
    begun = time.time()
    shutil.copytree(work / "export", gateway.drop / "patient/study/series")
    check(wait_for(lambda: len(gateway.kept(series)) == len(files), 60), "a series is copied into the folder")
    print(f"  {len(files)} files in {time.time() - begun:.1f} s, the copy and a second of rest among them")
    gateway.same(series, files, "the folder")
    check(wait_for(lambda: gateway.series(series)[1], 60), "it is complete and has its job")
    check(wait_for(lambda: not [path for path in (gateway.drop / "patient").rglob("*") if path.is_file()], 20), "nothing of it is left there")


def by_tls(work):
    print("\nby TLS, known by a certificate", flush=True)
    files = work / "certificates"
    files.mkdir()
    for name in ("gateway", "scanner"):
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", files / f"{name}.key", "-out", files / f"{name}.pem")
        (files / f"{name}.key").chmod(0o600)
    gateway = WaysIn(work / "tls", {"certificate": str(files / "gateway.pem"), "key": str(files / "gateway.key"), "clients": "optional"})
    fingerprint = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", files / "scanner.pem")[1].split("=")[1].strip()
    gateway.peer("scanner", {"ae_title": "SCANNER", "may": ["send"], "certificate": {"sha256": [fingerprint]}})
    gateway.serve()
    own = ("--cert", str(files / "scanner.pem"), "--key", str(files / "scanner.key"))
    sent = curl(work, gateway, "https", "--cacert", str(files / "gateway.pem"), *own)
    titles = run("dcmdump", "-q", "+P", "0002,0016", gateway.kept(f"{UID}.2.6")[0])[1]
    check("SCANNER" in titles, f"its title is that of the peer whose certificate it has: {titles.strip()}")
    code, text = run("curl", "-sS", "-w", "\n%{http_code}", "--cacert", files / "gateway.pem", "-H",
                     "Content-Type: multipart/related; type=\"application/dicom\"", "-F", f"file=@{sent[0]};type=application/dicom",
                     gateway.url("https") + "/studies")
    check(text.endswith("401"), f"without the certificate: {text[-60:]!r}")
    code, text = run("curl", "-sS", gateway.url() + "/studies")
    check(code != 0, "without TLS there is no answer")
    stop(gateway.process)


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-ways-in-"))
    try:
        print("STOW-RS", flush=True)
        gateway = WaysIn(work / "gateway")
        gateway.serve()
        orthanc(work, gateway)
        files = curl(work, gateway, "http", "-u", f"ORTHANC_WEB:{TOKEN}")
        refusals(work, gateway, files)
        dicomweb_client(work, gateway)
        print("\na watched folder", flush=True)
        folder(work, gateway)
        stop(gateway.process)
        log = gateway.log.read_text()
        check("PHANTOM" not in log and TOKEN not in log, "no patient and no token in the log")
        by_tls(work)
    except BaseException as error:
        peers.failures.append(repr(error))
        raise
    finally:
        peers.finish(work)


main()
