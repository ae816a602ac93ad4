"""More peers, and worse ones: many storescu at a time, within the limit of their peer and beyond it; dcmqrscp and Orthanc from
which movescu moves a study to contourd, which contours it and sends the structure set back, found there by findscu; peers of
pynetdicom that cut messages into small pieces, abort in the middle, fall silent, send twice, and lie about lengths."""

import json
import pathlib
import queue
import subprocess
import tempfile
import time

from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import CTImageStorage, Verification

import commitment
import peers
import synthetic
from peers import Gateway, check, free_port, run, start, stop, wait_for, wait_port
from synthetic import command_pdu, data_pdu, store_pdu

IDLE_S = 4


def stored(gateway):
    """What the node holds of what was sent: file by SOP Instance UID."""
    return {path.name.removesuffix(".dcm"): path for path in (gateway.folder / "var/instances").rglob("*.dcm")}


def uid_of(number):
    return f"{peers.UID}.{number}"


def many(work, gateway):
    print("\nmany associations at a time", flush=True)
    for title, count, limit in (("STORESCU", 8, 8), ("FOUR", 10, 4)):
        folders = [synthetic.series(work / f"{title}-{number}", uid_of(f"{len(title)}.{number}"), slices=6) for number in range(count)]
        command = ["storescu", "-R", "-xe", "-aet", title, "-aec", "CONTOURD", "127.0.0.1", str(gateway.port)]
        senders = [subprocess.Popen([*command, *map(str, sorted(folder.iterdir()))], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True) for folder in folders]
        told = [(sender.communicate()[0], sender.returncode) for sender in senders]
        taken = [folder for folder, (_, code) in zip(folders, told) if code == 0]
        refused = [text for text, code in told if code != 0]
        here = stored(gateway)
        lost = [file.name for folder in taken for file in folder.iterdir()
                if f"{uid_of(f'{len(title)}.{folders.index(folder)}')}.{int(file.stem)}" not in here]
        reasons = sorted({line.split("Reason: ")[-1] for text in refused for line in text.splitlines() if "Reason" in line})
        check(not lost and len(taken) >= limit, f"{count} storescu at a time, {limit} allowed: {len(taken)} accepted, all they sent is there")
        if limit < count:
            check(all("Local Limit Exceeded" in text for text in refused), f"the other {len(refused)} are told {reasons}")
        else:
            check(not refused, f"none is refused {reasons}")


def moves(work, gateway, ports):
    """Whole studies out of archives, contoured, and back."""
    print("\nC-MOVE from archives to contourd", flush=True)
    find = commitment.dcmqrscp(work, ports["qrscp"], gateway.port)
    config = peers.orthanc_config(work / "orthanc", ports["orthanc"], ports["http"], gateway.port)
    document = json.loads(config.read_text())
    document |= {"DicomAlwaysAllowMove": True, "DicomAlwaysAllowFind": True}
    config.write_text(json.dumps(document))
    orthanc = start("Orthanc", ["Orthanc", config], work / "orthanc.log")
    wait_port(ports["http"], orthanc, work / "orthanc.log")
    for number, (title, port) in enumerate((("QRSCP", ports["qrscp"]), ("ORTHANC", ports["orthanc"]))):
        series, study = uid_of(f"2.{number}"), uid_of(f"3.{number}")
        folder = synthetic.series(work / title, series)
        run("dcmodify", "-nb", "-i", f"(0020,000d)={study}", *sorted(folder.iterdir()))
        code, text = run("storescu", "-R", "-aec", title, "127.0.0.1", port, *sorted(folder.iterdir()))
        check(code == 0, f"{title} has a study" + text[-200:])
        code, text = run("movescu", "-S", "-aet", "MOVESCU", "-aec", title, "-aem", "CONTOURD", "-k", "QueryRetrieveLevel=STUDY",
                         "-k", f"StudyInstanceUID={study}", "127.0.0.1", port)
        here = stored(gateway)
        missing = [number for number in range(1, 31) if f"{series}.{number}" not in here]
        check(code == 0 and not missing, f"movescu moves it from {title} to contourd: {30 - len(missing)} of 30 instances"
              + (f": {text[-300:]}" if code else ""))
        ended = lambda: json.dumps([job["state"] for job in gateway.series(series)[1]])
        check(wait_for(lambda: "delivered" in ended() or "failed" in ended(), 120) and "delivered" in ended(),
              f"the job is delivered to {title}, and was found there: {ended()}")
        code, text = run("findscu", "-S", "-aet", "FINDSCU", "-aec", title, "-k", "QueryRetrieveLevel=SERIES",
                         "-k", f"StudyInstanceUID={study}", "-k", "Modality=RTSTRUCT", "-k", "SeriesInstanceUID", "127.0.0.1", port)
        check("Find Response: 1" in text and "RTSTRUCT" in text, f"findscu finds the structure set in the study at {title}")
    stop(orthanc)
    stop(find)


class Liar:
    """An association that pynetdicom has negotiated, on whose socket anything may be written."""

    def __init__(self, gateway, title="SCRIPTED"):
        self.answers, self.aborts = queue.Queue(), queue.Queue()
        entity = AE(title)
        entity.requested_contexts = [build_context(CTImageStorage, "1.2.840.10008.1.2.1"), build_context(Verification)]
        heard = lambda event: self.aborts.put((event.pdu.source, event.pdu.reason_diagnostic)) if event.pdu.pdu_type == 7 else None
        self.association = entity.associate("127.0.0.1", gateway.port, ae_title="CONTOURD", evt_handlers=[(evt.EVT_PDU_RECV, heard)])
        of = {context.abstract_syntax: context.context_id for context in self.association.accepted_contexts}
        self.context, self.verification = of[CTImageStorage], of[Verification]
        # Its reactor would take answers for unexpected messages: it rests from here on.
        self.association._reactor_checkpoint.clear()
        while not self.association._is_paused:
            time.sleep(0.001)

    def write(self, *parts):
        for part in parts:
            self.association.dul.socket.send(part)

    def status(self, seconds=20):
        """Of the answer; None when there is none."""
        end = time.time() + seconds
        while time.time() < end and self.aborts.empty():
            _, message = self.association.dimse.get_msg(block=False)
            if message is not None:
                return message.Status
            time.sleep(0.01)
        return None

    def echo(self):
        self.write(command_pdu(self.verification, Verification, 0x0030, 2, False))
        return self.status()

    def aborted(self, seconds=20):
        """Source and reason of the A-ABORT that comes."""
        try:
            return self.aborts.get(timeout=seconds)
        except queue.Empty:
            return None

    def end(self):
        self.association._reactor_checkpoint.set()
        self.association.release() if self.aborts.empty() else self.association.abort()


def pdus(context, data, piece, each, command=False):
    """A message in pieces of so many bytes, so many of them in a PDU."""
    values = [data[at:at + piece] for at in range(0, len(data), piece)]
    bodies = [data_pdu(context, value, number + 1 == len(values), command)[6:] for number, value in enumerate(values)]
    joined = (b"".join(bodies[at:at + each]) for at in range(0, len(bodies), each))
    return [b"\4\0" + len(body).to_bytes(4, "big") + body for body in joined]


def pieces(gateway):
    print("\nmessages in pieces", flush=True)
    for number, (piece, each) in enumerate(((100, 1), (500, 20), (2, 1000), (16000, 8))):
        sop = uid_of(f"4.{number}.1")
        body = synthetic.data_set(uid_of(f"4.{number}"), 1, 0.0)
        liar = Liar(gateway)
        command = store_pdu(liar.context, sop)[12:]
        liar.write(*pdus(liar.context, command, 30, 2, command=True), *pdus(liar.context, body, piece, each))
        status = liar.status()
        liar.end()
        here = stored(gateway).get(sop)
        check(status == 0 and here and here.read_bytes().endswith(body),
              f"pieces of {piece} bytes, {each} in a PDU: answered {status}, stored as sent")
    # A command and its data set in one PDU, and the byte of each PDU alone in its segment.
    sop, liar = uid_of("4.9.1"), Liar(gateway)
    body = synthetic.data_set(uid_of("4.9"), 1, 0.0)
    both = store_pdu(liar.context, sop)[6:] + data_pdu(liar.context, body)[6:]
    whole = b"\4\0" + len(both).to_bytes(4, "big") + both
    liar.write(*(whole[at:at + 1] for at in range(40)), whole[40:])
    check(liar.status() == 0, "a command and its data set in one PDU, whose first bytes come one by one")
    liar.end()


def ends(gateway):
    print("\nends in the middle", flush=True)
    echo = lambda: run("echoscu", "-aet", "STORESCU", "-aec", "CONTOURD", "127.0.0.1", gateway.port)[0]
    sop, liar = uid_of("5.1.1"), Liar(gateway)
    half = synthetic.data_set(uid_of("5.1"), 1, 0.0)[:9000]
    liar.write(store_pdu(liar.context, sop), data_pdu(liar.context, half, last=False))
    liar.association._reactor_checkpoint.set()
    liar.association.abort()
    sop_cut, cut = uid_of("5.2.1"), Liar(gateway)
    cut.write(store_pdu(cut.context, sop_cut), data_pdu(cut.context, half, last=False)[:5000])
    cut.association.dul.socket.close()
    cut.association._reactor_checkpoint.set()
    sop_silent, silent = uid_of("5.3.1"), Liar(gateway)
    silent.write(store_pdu(silent.context, sop_silent), data_pdu(silent.context, half, last=False))
    begun = time.time()
    check(echo() == 0 and time.time() - begun < 2, f"others are served while a peer is silent: {time.time() - begun:.2f} s")
    told = silent.aborted(3 * IDLE_S)
    check(told is not None and IDLE_S - 1 < time.time() - begun < 2 * IDLE_S + 2,
          f"a silent peer is aborted after {time.time() - begun:.1f} s of {IDLE_S} allowed: source and reason {told}")
    here = stored(gateway)
    left = [name for name in (sop, sop_cut, sop_silent) if name in here] + list((gateway.folder / "var/incoming").iterdir())
    check(not left, f"nothing is left of instances that were aborted, cut off and never finished: {left}")


def lies(gateway):
    print("\nlies about lengths, and others", flush=True)
    sop, body = uid_of("6.1.1"), synthetic.data_set(uid_of("6.1"), 1, 0.0)
    pdv = lambda context, length, data: b"\4\0" + (len(data) + 6).to_bytes(4, "big") + length.to_bytes(4, "big") + bytes([context, 2]) + data
    for what, parts, expected in (
        ("a value longer than its PDU", lambda c: [store_pdu(c, sop), pdv(c, 1 << 20, body[:1000])], (2, 6)),
        ("a value of no length", lambda c: [store_pdu(c, sop), pdv(c, 0, body[:1000])], (2, 6)),
        ("a PDU longer than was negotiated", lambda c: [b"\4\0" + (1 << 30).to_bytes(4, "big")], (2, 6)),
        ("a context that was not accepted", lambda c: [store_pdu(c + 90, sop)], (2, 6)),
        ("a PDU type that does not exist", lambda c: [b"\x0b\0\0\0\0\4abcd"], (2, 1)),
        ("an A-ASSOCIATE-AC out of turn", lambda c: [b"\6\0\0\0\0\4abcd"], (2, 2)),
    ):
        liar = Liar(gateway)
        liar.write(*parts(liar.context))
        told = liar.aborted()
        check(told == expected, f"{what}: A-ABORT with source and reason {told}, expected {expected}")
    at = body.index(b"\x28\0\x10\0US")
    long = body[:at] + b"\x28\0\x10\0US\xff\xff" + body[at + 8:]
    another = synthetic.data_set(uid_of("6.1"), 1, 0.0, sop=uid_of("6.1.77"))
    for what, data, expected in (
        ("an element whose length passes the end", long, {0xC000, 0xC001}),
        ("a data set that ends early", body[:-1000], {0xC001}),
        ("another SOP instance than the command says", another, {0xA900}),
        ("a file with preamble in the place of a data set", bytes(128) + b"DICM" + body, {0xC000, 0xC001, 0xC002}),
        ("what it should be", body, {0x0000}),
        ("the same again", body, {0x0000}),
        ("other bytes under the same UID", body[:-2] + b"\1\1", {0x0111}),
    ):
        liar = Liar(gateway)
        liar.write(store_pdu(liar.context, sop), *pdus(liar.context, data, 16000, 1))
        status = liar.status()
        again = liar.echo()
        liar.end()
        told = "none" if status is None else f"{status:04X}"
        check(status in expected and again == 0, f"{what}: answered {told}, and an echo on the same association {again}")
    here = stored(gateway).get(sop)
    check(here is not None and here.read_bytes().endswith(body), "the first that was right is what is stored")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-exchange-"))
    try:
        ports = {name: free_port() for name in ("qrscp", "orthanc", "http")}
        gateway = Gateway(work / "node", {"qrscp": ("QRSCP", ports["qrscp"]), "pacs": ("ORTHANC", ports["orthanc"])})
        path = gateway.folder / "ae-config/gateway.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"limits": {"idle_timeout_s": IDLE_S}}))
        retry = {"initial_s": 1, "multiplier": 2, "max_s": 2, "max_age_h": 1}
        (gateway.folder / "ae-config/peers/orthanc-in.json").unlink()
        for name, title, port in (("qrscp", "QRSCP", "qrscp"), ("pacs", "ORTHANC", "orthanc")):
            gateway.peer(name, {"ae_title": title, "host": "127.0.0.1", "port": ports[port], "may": ["send", "receive"],
                                "retry": retry, "verify": "find"})
        # What is only received makes no jobs.
        pipeline = gateway.folder / "pipelines/ct-basic.json"
        pipeline.write_text(pipeline.read_text().replace('"mode"', '"when": {"calling_ae": ["QRSCP", "ORTHANC"]}, "mode"', 1))
        gateway.peer("four", {"ae_title": "FOUR", "may": ["send"], "associations": 4})
        gateway.peer("scripted", {"ae_title": "SCRIPTED", "may": ["send"]})
        gateway.serve()
        many(work, gateway)
        pieces(gateway)
        ends(gateway)
        lies(gateway)
        moves(work, gateway, ports)
        check(gateway.process.poll() is None, "the node is there to the end")
        stop(gateway.process)
        check("PHANTOM" not in gateway.log.read_text(), "no patient in the log")
    finally:
        peers.finish(work)


if __name__ == "__main__":
    main()
