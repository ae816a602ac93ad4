"""What goes over the wire, as Wireshark sees it: loopback is captured while DCMTK and pynetdicom talk to contourd and contourd
talks to them (echo, several transfer syntaxes, rejections, aborts, contexts that are refused, storage commitment, delivery of a
structure set with C-FIND and commitment). tshark has to find no malformed frame and no error, and the PDUs, results and reasons
have to be those of docs/conformance.md. Skipped where tshark is not there or may not capture."""

import collections
import json
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

import commitment
import peers
import synthetic
from peers import Gateway, check, free_port, run, start, stop, wait_for, wait_port

FIELDS = ["tcp.stream", "tcp.srcport", "tcp.dstport", "dicom.pdu.type", "dicom.pdu.len", "dicom.assoc.ae.calling", "dicom.assoc.ae.called",
          "dicom.assoc.reject.result", "dicom.assoc.reject.source", "dicom.assoc.reject.reason", "dicom.assoc.abort.source",
          "dicom.assoc.abort.reason", "dicom.pctx.result", "dicom.pctx.xfer.syntax", "dicom.max_pdu_len", "dicom.actx",
          "dicom.userinfo.version", "dicom.userinfo.rolesel.scurole", "dicom.userinfo.rolesel.scprole", "_ws.malformed",
          "_ws.expert.severity", "_ws.expert.message", "_ws.col.Info"]
KINDS = {1: "RQ", 2: "AC", 3: "RJ", 4: "DATA", 5: "RELEASE-RQ", 6: "RELEASE-RP", 7: "ABORT"}
ERROR = 0x00800000
MPEG2 = "1.2.840.10008.1.2.4.100"


def may_capture(folder):
    if not (shutil.which("tshark") and shutil.which("dumpcap")):
        return "tshark is not here"
    code, text = run("dumpcap", "-q", "-i", "lo", "-a", "duration:1", "-w", folder / "trial.pcapng")
    return None if code == 0 else "dumpcap may not capture on loopback: " + text.strip().splitlines()[0][:120]


class Capture:
    """A capture of these ports, from here to `end`."""

    def __init__(self, folder, ports):
        self.file, self.ports, self.log = folder / "lo.pcapng", ports, folder / "dumpcap.log"
        wanted = " or ".join(f"tcp port {port}" for port in ports)
        # The buffer is large, so that a busy machine drops nothing.
        self.process = peers.start("dumpcap", ["dumpcap", "-q", "-i", "lo", "-B", 64, "-f", wanted, "-w", self.file], self.log)
        if not wait_for(lambda: self.file.exists() and "File:" in self.log.read_text(), 20):
            sys.exit(f"dumpcap does not begin: {self.log.read_text()}")
        time.sleep(0.5)

    def end(self):
        """The frames with DICOM, and those that tshark complains of, as dictionaries of lists."""
        time.sleep(1)
        self.process.terminate()
        self.process.wait(20)
        peers.running.remove(self.process)
        decode = [word for port in self.ports for word in ("-d", f"tcp.port=={port},dicom")]
        fields = [word for field in FIELDS for word in ("-e", field)]
        done = subprocess.run(["tshark", "-r", self.file, *decode, "-Y", "dicom or _ws.malformed or _ws.expert", "-T", "fields",
                               "-E", "separator=/t", "-E", "aggregator=|", *fields], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"tshark: {done.stderr}")
        lines = (line.split("\t") for line in done.stdout.splitlines())
        return [{field: value.split("|") if value else [] for field, value in zip(FIELDS, line)} for line in lines]


class Conversation:
    """One connection as it was seen."""

    def __init__(self, frames, node):
        first = frames[0]
        self.to_node = int(first["tcp.dstport"][0]) == node
        self.ports = int(first["tcp.srcport"][0]), int(first["tcp.dstport"][0])
        caller, self.pdus, self.info, self.frames = first["tcp.srcport"], [], [], frames
        # The longest P-DATA-TF that was sent each way, and what each side takes.
        self.longest, self.takes = {">": 0, "<": 0}, {}
        for frame in frames:
            way = ">" if frame["tcp.srcport"] == caller else "<"
            self.info.append(frame["_ws.col.Info"][0] if frame["_ws.col.Info"] else "")
            for length in frame["dicom.max_pdu_len"]:
                self.takes[way] = int(length.split(" ")[0]) or 1 << 32
            for kind, length in zip(frame["dicom.pdu.type"], frame["dicom.pdu.len"]):
                if int(kind, 0) == 4:
                    self.longest[way] = max(self.longest[way], int(length))
                pdu = way + KINDS.get(int(kind, 0), kind)
                # How a message is cut into PDUs is no matter here.
                if not (pdu.endswith("DATA") and self.pdus and self.pdus[-1] == pdu):
                    self.pdus.append(pdu)

        self.title = next(iter(self.all_of("dicom.assoc.ae.calling")), "").strip()

    def errors(self):
        """What tshark's experts call an error, but for the tags and places that they name."""
        return {message for frame in self.frames for message, severity in
                zip(frame["_ws.expert.message"], frame["_ws.expert.severity"]) if int(severity, 0) >= ERROR}

    def all_of(self, field, answers_only=False):
        of = [frame for frame in self.frames if not answers_only or "2" in [str(int(k, 0)) for k in frame["dicom.pdu.type"]]]
        return [value for frame in of for value in frame[field]]

    def numbers(self, *fields):
        return tuple(int(self.all_of(field)[0], 0) for field in fields if self.all_of(field))

    def told(self, text):
        return sum(text in info for info in self.info)


def dcmtk_calls(work, gateway, control):
    """Good and bad calls of DCMTK, each under a title of its own; `control` is a storescp that hears some of them too."""
    print("\nDCMTK calls", flush=True)
    port = gateway.port
    echo = lambda title, called="CONTOURD": run("echoscu", "-aet", title, "-aec", called, "127.0.0.1", port)[0]
    check(echo("ECHO") == 0, "echoscu is answered")
    check(echo("ECHO_WRONG", "ELSEWHERE") != 0, "echoscu that calls another title is turned down")
    check(echo("STRANGER") != 0, "echoscu that is not known is turned down")
    series = synthetic.series(work / "series", f"{peers.UID}.1")
    store = lambda title, *words: run("storescu", "-R", "-aet", title, "-aec", "CONTOURD", "127.0.0.1", port, *words)[0]
    check(store("STORE_SERIES", *sorted(series.iterdir())) == 0, "storescu sends a series")
    single = synthetic.series(work / "single", f"{peers.UID}.2", slices=1)
    source = next(single.iterdir())
    for number, (title, option, command) in enumerate([
            ("STORE_IMPLICIT", "-xi", ["dcmconv", "+ti"]), ("STORE_BIG", "-xb", ["dcmconv", "+tb"]),
            ("STORE_DEFLATED", "-xd", ["dcmconv", "+td"]), ("STORE_JPEG", "-xs", ["dcmcjpeg", "+e1"]),
            ("STORE_RLE", "-xr", ["dcmcrle"])]):
        target = work / f"{title}.dcm"
        run(*command, source, target)
        run("dcmodify", "-nb", "-gin", target)
        check(store(title, option, target) == 0, f"storescu sends an instance with {option}")
        code = run("storescu", "-R", option, "-aet", title, "-aec", "CONTROL", "127.0.0.1", control, target)[0]
        check(code == 0, "and to storescp, for comparison")
    return f"{peers.UID}.1"


def entity(title, *contexts):
    made = AE(title)
    made.requested_contexts = list(contexts)
    return made


def pynetdicom_calls(gateway):
    """Contexts that are refused, limits, an abort in the middle of an instance."""
    print("\npynetdicom calls", flush=True)
    to = dict(addr="127.0.0.1", port=gateway.port, ae_title="CONTOURD")
    mixed = entity("CONTEXTS", build_context(Verification), build_context(CTImageStorage, MPEG2),
                   build_context("1.2.840.10008.5.1.4.1.1.9.1.1"), build_context(CTImageStorage)).associate(**to)
    mixed.release()
    none = entity("NO_CONTEXT", build_context(CTImageStorage, MPEG2)).associate(**to)
    if none.is_established:
        none.release()
    first = entity("LIMITED", build_context(Verification)).associate(**to)
    second = entity("LIMITED", build_context(Verification)).associate(**to)
    check(first.is_established and second.is_rejected, "the second association of a peer that may have one is rejected")
    first.release()
    third = entity("LIMITED", build_context(Verification)).associate(**to)
    check(third.is_established, "and accepted when the first was released")
    third.release()
    aborter = entity("ABORTER", build_context(CTImageStorage)).associate(**to)
    half = synthetic.data_set(f"{peers.UID}.3", 1, 0.0)[:9000]
    context = aborter.accepted_contexts[0].context_id
    aborter.dul.socket.send(synthetic.store_pdu(context, f"{peers.UID}.3.1") + synthetic.data_pdu(context, half, last=False))
    time.sleep(0.5)
    aborter.abort()


def raw_calls(gateway):
    """What is no association: by local port, what was sent and which A-ABORT has to come."""
    sent = {}
    for what, data, expected in (("a P-DATA-TF before an association", synthetic.data_pdu(1, b"\0\0"), (2, 2)),
                                 ("a PDU of type 9", struct.pack(">BBI", 9, 0, 4) + bytes(4), (2, 1)),
                                 ("an A-ASSOCIATE-RQ of 1 GB", struct.pack(">BBI", 1, 0, 1 << 30), (2, 6))):
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as peer:
            sent[peer.getsockname()[1]] = what, expected
            peer.sendall(data)
            peer.settimeout(10)
            while peer.recv(100):
                pass
    return sent


def commitments(gateway, series):
    scanner = commitment.Scanner(gateway.scanner_port)
    scanner.listen()
    known = [f"{series}.{number}" for number in range(1, 4)]
    status = scanner.ask(gateway, commitment.request(generate_uid(), known))
    check((status, scanner.report()[0]) == (0, "same"), "commitment is reported on the association that asked")
    scanner.ask(gateway, commitment.request(generate_uid(), known), keep_open=False)
    check(scanner.report()[0] == "new", "and on a new one, where that was released")
    scanner.close()


GOOD = [">RQ", "<AC", ">DATA", "<DATA"]
RELEASED = [">RELEASE-RQ", "<RELEASE-RP"]


def wire(frames, node, raw, ports):
    """Everything that the capture has to show."""
    print("\non the wire", flush=True)
    streams = collections.defaultdict(list)
    for frame in frames:
        if int(frame["tcp.srcport"][0]) not in raw:
            streams[frame["tcp.stream"][0]].append(frame)
    spoken = [found for found in streams.values() if any(frame["dicom.pdu.type"] for frame in found)]
    talks = [Conversation(found, node) for found in spoken]
    control = {talk.title: talk for talk in talks if talk.ports[1] == ports["control"]}
    talks = [talk for talk in talks if talk.ports[1] != ports["control"]]
    # tshark 4.0 loses its place in answers to compressed and deflated data sets, whoever gives them: storescp is the control.
    excused = lambda talk: talk.title in control and bool(control[talk.title].errors() >= talk.errors() and talk.errors())
    judged = [talk for talk in talks if not excused(talk)]
    malformed = [frame for talk in judged for frame in talk.frames if frame["_ws.malformed"]]
    errors = [(talk.title, message) for talk in judged for message in talk.errors()]
    check(not malformed, f"{sum(len(talk.frames) for talk in talks)} frames with DICOM in {len(talks)} connections, "
          f"{len(malformed)} malformed")
    check(not errors, f"no error of tshark's experts: {len(errors)} {errors[:3]}")
    for talk in filter(excused, talks):
        print(f"          {talk.title}: tshark complains of us as it does of storescp: {', '.join(talk.errors())}")
    ours = [frame for talk in talks for frame in talk.frames]
    expert = collections.Counter(m for frame in ours if frame["dicom.pdu.type"] for m in frame["_ws.expert.message"])
    print("          what its experts note: " + ", ".join(f"{text} ({count})" for text, count in expert.most_common(8)))
    accepted = [talk for talk in talks if len(talk.takes) == 2]
    other = {">": "<", "<": ">"}
    beyond = [(talk.title, talk.longest, talk.takes) for talk in accepted for way in other if talk.longest[way] > talk.takes[other[way]]]
    sent = [(talk.longest["<" if talk.to_node else ">"], talk.takes[">" if talk.to_node else "<"]) for talk in accepted]
    check(not beyond, f"no P-DATA-TF is longer than the other side takes: ours have up to {max(sent)[0]} bytes of {max(sent)[1]} {beyond[:2]}")
    of = collections.defaultdict(list)
    for talk in talks:
        if talk.to_node and talk.title:
            of[talk.title].append(talk)
    for title in ("ECHO", "STORE_SERIES", "STORE_IMPLICIT", "STORE_BIG", "STORE_DEFLATED", "STORE_JPEG", "STORE_RLE"):
        talk, = of[title]
        middle = talk.pdus[2:-2]
        check(talk.pdus[:4] == GOOD and talk.pdus[-2:] == RELEASED and set(middle) == {">DATA", "<DATA"}
              and middle == [">DATA", "<DATA"] * (len(middle) // 2), f"{title}: accepted, {len(middle) // 2} answers, released")
    for title, expected in (("ECHO_WRONG", (1, 1, 7)), ("STRANGER", (1, 1, 3))):
        rejected(of[title][0], title, expected)
    rejected(next(talk for talk in of["LIMITED"] if "<RJ" in talk.pdus), "the peer above its limit", (2, 3, 2))
    contexts(of)
    talk, = of["ABORTER"]
    check(talk.pdus == [">RQ", "<AC", ">DATA", ">ABORT"], f"after an abort of the peer nothing is said: {talk.pdus}")
    for port, (what, expected) in raw.items():
        frames_of = [f for f in frames if f["dicom.assoc.abort.source"] and int(f["tcp.dstport"][0]) == port]
        found = [(int(f["dicom.assoc.abort.source"][0], 0), int(f["dicom.assoc.abort.reason"][0], 0)) for f in frames_of]
        check(found == [expected], f"{what}: A-ABORT {found}, expected {expected}")
    reports(of, talks, ports)
    deliveries(talks, ports)


def rejected(talk, what, expected):
    found = talk.numbers("dicom.assoc.reject.result", "dicom.assoc.reject.source", "dicom.assoc.reject.reason")
    check(talk.pdus == [">RQ", "<RJ"] and found == expected, f"{what}: rejected with {found}, expected {expected}")


def uid(text):
    """The UID of `name (UID)`."""
    return text.rpartition("(")[2].rstrip(")") if text.endswith(")") else text.strip()


def contexts(of):
    talk, = of["CONTEXTS"]
    results = [int(result, 0) for result in talk.all_of("dicom.pctx.result", answers_only=True)]
    check(results == [0, 4, 3, 0], f"verification, CT in MPEG2, waveforms, CT: results {results}, expected [0, 4, 3, 0]")
    talk, = of["NO_CONTEXT"]
    check(talk.pdus[:2] == [">RQ", "<AC"], f"no context that is taken: accepted all the same, then {talk.pdus[2:]}")
    answer = of["ECHO"][0]
    own = (answer.all_of("dicom.max_pdu_len", True), answer.all_of("dicom.actx", True), answer.all_of("dicom.userinfo.version", True))
    expected = (["131072"], ["1.2.840.10008.3.1.1.1"], ["CONTOURD_0"])
    told = tuple([uid(value) for value in values] for values in own)
    check(told == expected, f"A-ASSOCIATE-AC: longest PDU, application context, implementation: {told}")
    for title, syntax in (("STORE_IMPLICIT", "1.2.840.10008.1.2"), ("STORE_BIG", "1.2.840.10008.1.2.2"),
                          ("STORE_DEFLATED", "1.2.840.10008.1.2.1.99"), ("STORE_JPEG", "1.2.840.10008.1.2.4.70"),
                          ("STORE_RLE", "1.2.840.10008.1.2.5")):
        taken = {uid(found) for value in of[title][0].all_of("dicom.pctx.xfer.syntax", True) for found in value.split(",")}
        check(syntax in taken, f"{title}: its syntax is taken: {sorted(taken)}")


def reports(of, talks, ports):
    """Storage commitment as SCP: on the same association, and on a new one with the roles exchanged."""
    same = [talk for talk in of["SCANNER"] if talk.told("N-EVENT-REPORT-RQ")]
    check(len(same) == 1 and same[0].told("N-ACTION-RSP") == 1, f"N-ACTION and N-EVENT-REPORT on one association: {len(same)}")
    new = [talk for talk in talks if not talk.to_node and talk.ports[1] == ports["scanner"]]
    roles = [(talk.all_of("dicom.userinfo.rolesel.scurole")[:1], talk.all_of("dicom.userinfo.rolesel.scprole")[:1]) for talk in new]
    numbers = [tuple(int(value, 0) for values in pair for value in values) for pair in roles]
    check(numbers == [(0, 1)] and new[0].pdus == [*GOOD, *RELEASED], f"and on a new one, as SCP: SCU/SCP {numbers}, {new[0].pdus}")


def deliveries(talks, ports):
    """The structure set, and what was asked about it afterwards."""
    for name, service in (("qrscp", "C-FIND-RQ"), ("archive", "N-ACTION-RQ")):
        to = [talk for talk in talks if not talk.to_node and talk.ports[1] == ports[name]]
        stored = [talk for talk in to if talk.told("C-STORE-RQ") or any("C-STORE-RSP" in info for info in talk.info)]
        asked = [talk for talk in to if talk.told(service)]
        check(len(stored) == 1 and stored[0].pdus == [*GOOD, *RELEASED], f"{name}: one association with one C-STORE, released: "
              f"{[talk.pdus for talk in stored]}")
        check(asked and all(talk.pdus[-2:] == RELEASED or "ABORT" not in " ".join(talk.pdus) for talk in asked),
              f"{name}: {service} on {len(asked)} association(s), none aborted")
        longest = {int(talk.all_of("dicom.max_pdu_len")[0].split(" ")[0]) for talk in to}
        check(longest == {131072}, f"{name}: we take PDUs of up to {longest}")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-capture-"))
    why = may_capture(work)
    if why:
        shutil.rmtree(work)
        return print(f"skipped: the capture of what goes over the wire, because {why}")
    try:
        ports = {name: free_port() for name in ("qrscp", "archive", "scanner", "control")}
        retry = {"initial_s": 1, "multiplier": 2, "max_s": 2, "max_age_h": 1}
        gateway = Gateway(work / "node", {"qrscp": ("QRSCP", ports["qrscp"]), "archive": ("ARCHIVE", ports["archive"])})
        gateway.scanner_port = ports["scanner"]
        for name, title, verify in (("qrscp", "QRSCP", "find"), ("archive", "ARCHIVE", "commitment")):
            gateway.peer(name, {"ae_title": title, "host": "127.0.0.1", "port": ports[name], "may": ["receive"], "retry": retry,
                                "verify": verify})
        gateway.peer("scanner", {"ae_title": "SCANNER", "host": "127.0.0.1", "port": ports["scanner"],
                                 "may": ["send", "commit"], "retry": retry})
        for title in ("ECHO", "ECHO_WRONG", "STORE_SERIES", "STORE_IMPLICIT", "STORE_BIG", "STORE_DEFLATED", "STORE_JPEG",
                      "STORE_RLE", "CONTEXTS", "NO_CONTEXT", "ABORTER"):
            gateway.peer(title.lower(), {"ae_title": title, "may": ["send"]})
        gateway.peer("limited", {"ae_title": "LIMITED", "may": ["send"], "associations": 1})
        find = commitment.dcmqrscp(work, ports["qrscp"], gateway.port)
        archive = commitment.Archive(ports["archive"], gateway.port)
        archive.lose, archive.hide = 0, 0
        (work / "control").mkdir()
        control = start("storescp", ["storescp", "-aet", "CONTROL", "+xa", "+B", "-od", work / "control", ports["control"]],
                        work / "control.log")
        wait_port(ports["control"], control, work / "control.log")
        gateway.serve()
        capture = Capture(work, [gateway.port, *ports.values()])
        series = dcmtk_calls(work, gateway, ports["control"])
        pynetdicom_calls(gateway)
        raw = raw_calls(gateway)
        commitments(gateway, series)
        check(wait_for(lambda: archive.asked), "the structure set is delivered, and its commitment asked for")
        told = archive.report() if archive.asked else None
        check(told == (True, 0), f"the archive reports: {told}")
        ended = lambda: [job["state"] for job in gateway.series(series)[1]]
        check(wait_for(lambda: "delivered" in json.dumps(ended()), 60), f"the job is delivered: {ended()}")
        archive.server.shutdown()
        stop(gateway.process)
        stop(find)
        stop(control)
        wire(capture.end(), gateway.port, raw, ports)
    finally:
        peers.finish(work)


if __name__ == "__main__":
    main()
