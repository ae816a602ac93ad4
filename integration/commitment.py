"""Storage commitment and verified delivery between contourd and foreign programs: Orthanc (asks us, and is asked by us),
pynetdicom (both, good and bad), DCMTK's dcmqrscp (is asked by C-FIND) and storescp (offers no C-FIND)."""

import json
import pathlib
import queue
import tempfile
import time

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

import peers
import synthetic
from peers import Gateway, check, free_port, rest, run, start, stop, wait_for, wait_port

UID = "1.2.826.0.1.3680043.10.7." + str(int(time.time()))
COMMIT = StorageCommitmentPushModel


def references(instances, sop_class=synthetic.CT):
    items = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    return items


def request(transaction, instances, sop_class=synthetic.CT):
    data = Dataset()
    data.TransactionUID, data.ReferencedSOPSequence = transaction, references(instances, sop_class)
    return data


class Scanner:
    """A node of pynetdicom that asks for commitment, and takes reports on any association."""

    def __init__(self, port):
        self.reports = queue.Queue()
        self.entity = AE("SCANNER")
        # As acceptor it is SCU: the requestor, contourd, proposes to be SCP (PS3.7 D.3.3.4).
        self.entity.add_supported_context(COMMIT, scu_role=True, scp_role=True)
        self.entity.add_requested_context(COMMIT)
        self.port, self.server = port, None

    def on_report(self, way):
        def report(event):
            self.reports.put((way, event.event_type, event.event_information))
            return 0x0000, None
        return [(evt.EVT_N_EVENT_REPORT, report)]

    def listen(self):
        self.server = self.entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=self.on_report("new"))

    def close(self):
        if self.server:
            self.server.shutdown()

    def ask(self, gateway, data, keep_open=True, action=1, instance=StorageCommitmentPushModelInstance):
        """The status of the N-ACTION; the association stays open until a report came, or is released at once."""
        association = self.entity.associate(
            "127.0.0.1", gateway.port, ae_title="CONTOURD", evt_handlers=self.on_report("same"))
        assert association.is_established, "no association"
        status, _ = association.send_n_action(data, action, COMMIT, instance)
        if keep_open and status.Status == 0:
            end = time.time() + 20
            while self.reports.empty() and time.time() < end:
                time.sleep(0.05)
        association.release()
        return status.Status

    def report(self, seconds=20):
        """How a report came, its event, and what it says of each instance: 0 or the reason."""
        way, event, data = self.reports.get(timeout=seconds)
        said = {item.ReferencedSOPInstanceUID: 0 for item in data.get("ReferencedSOPSequence", [])}
        said |= {item.ReferencedSOPInstanceUID: item.FailureReason for item in data.get("FailedSOPSequence", [])}
        return way, event, data.TransactionUID, said


def send(gateway, folder, title="STORESCU"):
    code, text = run("storescu", "-aet", title, "-aec", "CONTOURD", "127.0.0.1", gateway.port, *sorted(folder.iterdir()))
    check(code == 0, f"storescu sends {folder.name}" + text[-300:])


def asked_by_pynetdicom(work):
    print("\npynetdicom asks for storage commitment", flush=True)
    scanner = Scanner(free_port())
    gateway = Gateway(work / "scp", {"tps": ("TPS", free_port())})
    retry = {"initial_s": 1, "multiplier": 2, "max_s": 2, "max_age_h": 1}
    gateway.peer("scanner", {"ae_title": "SCANNER", "host": "127.0.0.1", "port": scanner.port,
                             "may": ["send", "commit"], "retry": retry})
    gateway.serve()
    series = f"{UID}.1"
    send(gateway, synthetic.series(work / "sent-scp", series))
    known = [f"{series}.{number}" for number in range(1, 11)]
    scanner.listen()

    status = scanner.ask(gateway, request(generate_uid(), known))
    way, event, _, said = scanner.report()
    check((status, way, event) == (0, "same", 1) and said == dict.fromkeys(known, 0), f"all are committed on the same association: {event}")
    transaction = generate_uid()
    status = scanner.ask(gateway, request(transaction, [*known, "1.2.3.4"]))
    way, event, uid, said = scanner.report()
    check((event, uid) == (2, transaction) and said == {**dict.fromkeys(known, 0), "1.2.3.4": 0x0112}, "one that was never sent fails with 0112")
    status = scanner.ask(gateway, request(transaction, [*known, "1.2.3.4"]))
    check((status, scanner.report()[3]) == (0, said), "the same transaction again has the same answer")
    status = scanner.ask(gateway, request(transaction, known))
    check(status == 0x0131, f"its UID for other instances: {status:04X}, expected 0131")
    scanner.ask(gateway, request(generate_uid(), known[:1], sop_class="1.2.840.10008.5.1.4.1.1.4"))
    check(list(scanner.report()[3].values()) == [0x0119], "another SOP class than that of the instance fails with 0119")
    status = scanner.ask(gateway, request(generate_uid(), known), action=2)
    check(status == 0x0123, f"another action: {status:04X}, expected 0123")
    status = scanner.ask(gateway, request(generate_uid(), []))
    check(status == 0x0115, f"no reference: {status:04X}, expected 0115")

    status = scanner.ask(gateway, request(generate_uid(), known), keep_open=False)
    way, event, _, said = scanner.report()
    check((status, way, event) == (0, "new", 1) and len(said) == len(known), "released at once: the report comes on a new association, with roles")

    scanner.close()
    transaction = generate_uid()
    scanner.ask(gateway, request(transaction, known), keep_open=False)
    time.sleep(1)
    gateway.process.kill()
    gateway.process.wait()
    peers.running.remove(gateway.process)
    gateway.serve()
    scanner.listen()
    way, event, uid, _ = scanner.report()
    check((way, event, uid) == ("new", 1, transaction), "killed between request and report: the next life reports")
    scanner.close()

    stranger = AE("STORESCU")
    stranger.add_requested_context(COMMIT)
    association = stranger.associate("127.0.0.1", gateway.port, ae_title="CONTOURD")
    check(not association.accepted_contexts, "a peer that may not is offered no context")
    association.abort()
    print(gateway.command("commitments")[1])
    stop(gateway.process)


class Archive:
    """A destination of pynetdicom that takes everything, and keeps it or says that it has lost it."""

    def __init__(self, port, gateway_port, warn=0):
        self.port, self.gateway_port, self.warn = port, gateway_port, warn
        self.stored, self.asked, self.lose, self.hide = [], [], 1, 2
        self.entity = AE("ARCHIVE")
        self.entity.supported_contexts = StoragePresentationContexts
        self.entity.add_supported_context(COMMIT)
        self.entity.add_supported_context(StudyRootFind)
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_N_ACTION, self.action), (evt.EVT_C_FIND, self.find)]
        self.server = self.entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def store(self, event):
        self.stored.append(event.request.AffectedSOPInstanceUID)
        self.warn -= 1
        return 0xB000 if self.warn >= 0 else 0x0000

    def action(self, event):
        self.asked.append(event.action_information)
        return 0x0000, None

    def find(self, event):
        self.hide -= 1
        if self.hide < 0:
            yield 0xFF00, event.identifier
        yield 0x0000, None

    def report(self):
        """On an association of its own; for the first request it says that it has lost everything."""
        data, told = self.asked.pop(0), Dataset()
        told.TransactionUID = data.TransactionUID
        kind = 1
        if self.lose:
            self.lose, kind = self.lose - 1, 2
            for item in data.ReferencedSOPSequence:
                item.FailureReason = 0x0112
            told.FailedSOPSequence = data.ReferencedSOPSequence
        else:
            told.ReferencedSOPSequence = data.ReferencedSOPSequence
        return self.tell(told, kind)

    def tell(self, told, kind):
        entity = AE("ARCHIVE")
        entity.add_requested_context(COMMIT)
        association = entity.associate("127.0.0.1", self.gateway_port, ae_title="CONTOURD",
                                       ext_neg=[build_role(COMMIT, scp_role=True)])
        if not association.is_established or not association.accepted_contexts:
            return None
        as_scp = association.accepted_contexts[0].as_scp
        status, _ = association.send_n_event_report(told, kind, COMMIT, StorageCommitmentPushModelInstance)
        association.release()
        return as_scp, status.Status


def dcmqrscp(work, port, gateway):
    storage = work / "dcmqrscp"
    storage.mkdir()
    (work / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ncontourd = (CONTOURD, 127.0.0.1, {gateway})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {storage} RW (9, 1024mb) ANY\nAETable END\n")
    log = work / "dcmqrscp.log"
    process = start("dcmqrscp", ["dcmqrscp", "-c", work / "dcmqrscp.cfg"], log)
    wait_port(port, process, log)
    return process


def verified(work):
    print("\ndeliveries that are verified", flush=True)
    ports = {name: free_port() for name in ("orthanc", "http", "archive", "qrscp", "storescp", "warner")}
    receivers = {"orthanc": ("ORTHANC", ports["orthanc"]), "orthanc-find": ("ORTHANC", ports["orthanc"]),
                 "archive": ("ARCHIVE", ports["archive"]), "archive-find": ("ARCHIVE", ports["archive"]),
                 "qrscp": ("QRSCP", ports["qrscp"]), "storescp": ("TPS", ports["storescp"]),
                 "warner": ("ARCHIVE", ports["warner"])}
    gateway = Gateway(work / "scu", receivers)
    retry = {"initial_s": 1, "multiplier": 2, "max_s": 4, "max_age_h": 1}
    for name, (title, port) in receivers.items():
        verify = "commitment" if name in ("orthanc", "archive") else "find"
        may = ["receive", "send", "commit"] if name == "orthanc" else ["receive"]
        how = {"on_warning": "refuse"} if name == "warner" else {"verify": verify}
        gateway.peer(name, {"ae_title": title, "host": "127.0.0.1", "port": port, "may": may, "retry": retry, **how})
    (gateway.folder / "ae-config/peers/orthanc-in.json").unlink()
    config = peers.orthanc_config(work / "orthanc", ports["orthanc"], ports["http"], gateway.port)
    orthanc = start("Orthanc", ["Orthanc", config], work / "orthanc.log")
    wait_port(ports["http"], orthanc, work / "orthanc.log")
    (work / "storescp").mkdir()
    scp = start("storescp", ["storescp", "-aet", "TPS", "-od", work / "storescp", ports["storescp"]], work / "storescp.log")
    wait_port(ports["storescp"], scp, work / "storescp.log")
    find = dcmqrscp(work, ports["qrscp"], gateway.port)
    archive = Archive(ports["archive"], gateway.port)
    warner = Archive(ports["warner"], gateway.port, warn=1)
    gateway.serve()

    # Orthanc sends a series and asks for commitment; it deletes nothing here.
    folder = synthetic.series(work / "sent-scu", f"{UID}.2")
    ids = [json.loads(rest(ports["http"], "/instances", path.read_bytes()))["ID"] for path in sorted(folder.iterdir())]
    answer = json.loads(rest(ports["http"], "/modalities/contourd/store", {"Resources": ids, "StorageCommitment": True}))
    transaction = answer["StorageCommitmentTransactionUID"]
    state = lambda: json.loads(rest(ports["http"], f"/storage-commitment/{transaction}"))
    wait_for(lambda: state()["Status"] != "Pending", 60)
    told = state()
    check(told["Status"] == "Success" and len(told["Success"]) == len(ids), f"Orthanc's request is reported to it: {told['Status']}")
    unknown = json.loads(rest(ports["http"], "/modalities/contourd/storage-commitment",
                              {"DicomInstances": [[synthetic.CT, "1.2.3.4"]]}))
    path = unknown["Path"]
    wait_for(lambda: json.loads(rest(ports["http"], path))["Status"] != "Pending", 60)
    told = json.loads(rest(ports["http"], path))
    check(told["Status"] == "Failure" and [failure["FailureReason"] for failure in told["Failures"]] == [0x0112], f"an instance that is not here: {told['Failures']}")

    # One job, seven destinations.
    check(wait_for(lambda: archive.asked), "the archive is asked for commitment")
    told = archive.report()
    check(told == (True, 0), f"the archive reports as SCP that it has lost it: {told}")
    check(wait_for(lambda: archive.asked), "everything is sent again, and the archive asked again")
    stranger = Dataset()
    stranger.TransactionUID, stranger.ReferencedSOPSequence = generate_uid(), references(["1.2.3"])
    told = archive.tell(stranger, 1)
    check(told == (True, 0x0115), f"a report on an unknown transaction: {told}")
    gateway.process.kill()
    gateway.process.wait()
    peers.running.remove(gateway.process)
    gateway.serve()
    told = archive.report()
    check(told == (True, 0), f"the archive reports success to the next life of the gateway: {told}")

    job = lambda: (gateway.series(f"{UID}.2")[1] or [None])[0]
    check(wait_for(lambda: job() and "failed" in json.dumps(job()["state"]), 120), "the job ends")
    print(gateway.command("show", job()["id"])[1])
    states = {delivery["to"]: (delivery["state"], delivery["attempts"]) for delivery in job()["deliveries"]}
    proof = {name: state.get("done", {}).get("proof") for name, (state, _) in states.items()}
    expected = {"orthanc": "committed", "orthanc-find": "found", "archive": "committed", "archive-find": "found",
                "qrscp": "found", "storescp": None, "warner": None}
    check(proof == expected, f"each is delivered with its proof: {proof}")
    check(states["archive"][1] == 2, "the archive was sent it twice")
    reason = states["warner"][0].get("refused", {}).get("reason", "")
    check(len(warner.stored) == 1 and reason, f"a warning is parked at once where the site says so: {reason}")
    reason = states["storescp"][0].get("refused", {}).get("reason", "")
    check("does not offer C-FIND" in reason, f"storescp is parked with the cause: {reason}")
    check("storescp: sent, but it cannot be verified" in gateway.command("jobs")[1], "and `contourd jobs` tells it")
    archive.server.shutdown()
    warner.server.shutdown()
    for process in (gateway.process, orthanc, scp, find):
        stop(process)
    check("PHANTOM" not in gateway.log.read_text(), "no patient in the log")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-commitment-"))
    try:
        asked_by_pynetdicom(work)
        verified(work)
    finally:
        peers.finish(work)


if __name__ == "__main__":
    main()
