"""`contourd doctor` at foreign peers: DCMTK's storescp and dcmqrscp, and Orthanc. Each report is held against what the peer is
known to do. Python's standard library alone."""

import json
import pathlib
import re
import shutil
import tempfile

import peers
from peers import Gateway, check, finish, free_port, rest, run, start, wait_port


def dcmqrscp(work, port):
    storage = work / "dcmqrscp"
    storage.mkdir()
    (work / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {storage} RW (9, 1024mb) ANY\nAETable END\n")
    process = start("dcmqrscp", ["dcmqrscp", "-c", work / "dcmqrscp.cfg"], work / "dcmqrscp.log")
    wait_port(port, process, work / "dcmqrscp.log")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-doctor-"))
    try:
        ports = {name: free_port() for name in ("storescp", "qrscp", "orthanc", "http")}
        receivers = {"storescp": ("TPS", ports["storescp"]), "qrscp": ("QRSCP", ports["qrscp"]),
                     "orthanc": ("ORTHANC", ports["orthanc"])}
        gateway = Gateway(work / "gateway", receivers)
        for name in ("qrscp", "orthanc"):
            title, port = receivers[name]
            verify = "find" if name == "qrscp" else "commitment"
            gateway.peer(name, {"ae_title": title, "host": "127.0.0.1", "port": port, "may": ["receive"], "verify": verify})
        (work / "storescp").mkdir()
        log = work / "storescp.log"
        scp = start("storescp", ["storescp", "-aet", "TPS", "-od", work / "storescp", ports["storescp"]], log)
        wait_port(ports["storescp"], scp, log)
        dcmqrscp(work, ports["qrscp"])
        (work / "orthanc").mkdir()
        config = peers.orthanc_config(work / "orthanc", ports["orthanc"], ports["http"], gateway.port)
        orthanc = start("Orthanc", [shutil.which("Orthanc") or "/usr/sbin/Orthanc", config], work / "orthanc.log")
        wait_port(ports["http"], orthanc, work / "orthanc.log")
        wait_port(ports["orthanc"], orthanc, work / "orthanc.log")

        code, text = gateway.command("doctor", "storescp", "--store")
        print(text)
        check(code == 0 and "OFFIS_DCMTK" in text, "storescp: well, and named")
        check("yes  RT Structure Set Storage (implicit, explicit)" in text, "storescp: structure sets are accepted")
        check(re.search("no   Study Root .* FIND: SOP class not supported", text) is not None, "storescp: has no C-FIND")
        check(re.search("needed +ok +RT Structure Set Storage: pipeline ct-basic", text) is not None, "storescp: what is needed")
        check(re.search("verify +warning +it cannot be asked", text) is not None, "storescp: cannot be asked")
        check(len(list((work / "storescp").iterdir())) == 1, "storescp: has one object")

        code, text = gateway.command("doctor", "qrscp", "--store", "--images")
        check(code == 0 and re.search("verify +ok +it is shown", text) is not None, "dcmqrscp: stored, and shown by C-FIND")
        code, text = gateway.command("doctor", "qrscp", "--store", "--images")
        check(code == 0, "dcmqrscp: the same again")

        code, text = gateway.command("doctor", "orthanc", "--store", "--images")
        check(code == 0 and "ORTHANC" in text, "Orthanc: well")
        check(re.search("needed +ok +Storage Commitment", text) is not None, "Orthanc: storage commitment is accepted")
        check(re.search("verify +(ok +storage commitment: committed|warning +storage commitment: taken)", text) is not None,
              "Orthanc: takes the request for commitment")
        found = json.loads(rest(ports["http"], "/statistics"))
        check((found["CountInstances"], found["CountPatients"], found["CountStudies"]) == (6, 1, 1), f"Orthanc: has them once: {found}")
        sets = [entry for entry in json.loads(rest(ports["http"], "/series?expand")) if entry["MainDicomTags"]["Modality"] == "RTSTRUCT"]
        check(len(sets) == 1, "Orthanc: one structure set")
        instance = sets[0]["Instances"][0]
        (work / "RS.dcm").write_bytes(rest(ports["http"], f"/instances/{instance}/file"))
        errors = peers.dciodvfy_errors(work / "RS.dcm")
        check(not errors, f"dciodvfy finds nothing: {errors}")

        # A node that speaks no DICOM, and one that is not there.
        gateway.peer("http", {"ae_title": "ANY", "host": "127.0.0.1", "port": ports["http"], "may": ["receive"]})
        code, text = gateway.command("doctor", "http", "--timeout-s", "3")
        check(code == 1 and re.search("connect +ok", text) and re.search("associate +FAILED", text), "a port of another protocol")
        peers.stop(scp)
        code, text = gateway.command("doctor", "storescp")
        check(code == 1 and re.search("connect +FAILED", text) is not None, "a peer that is gone")
    finally:
        finish(work)


if __name__ == "__main__":
    main()
