#!/usr/bin/env python3
"""Receives CT series with contourd, DCMTK's storescp, Orthanc and pynetdicom in one run, in turns; prints medians and ratios.

contourd and Orthanc answer when an instance would survive a power cut; storescp and pynetdicom do not sync at all, so a
ratio of 1 is not owed. "no fsync" is the same server without its syncs. Only ratios of one run mean anything: the
absolute figures are those of the machine and of its load, which is printed. A ratio is taken within each round, where all
servers had the same weather, and its median is given with the interval that holds it in 95 of 100 runs (order statistics;
under six rounds the whole range, which holds it less often). Memory is the sum of the peaks of a server's processes.

Needs: a contourd binary, DCMTK (storescp, storescu); Orthanc, pynetdicom and eatmydata where they are there. Usage:
    receive.py [--contourd target/release/contourd] [--rounds 9] [--instances 200] [--associations 1,4,16] [--folder DIR]
    receive.py --instructions 40      counts instructions of the servers under valgrind, which no load changes; it knows no
                                      SHA instructions, so that nine tenths of contourd's are its digest of each image
`--instances` is the sum over all associations of a measurement.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SIDE = 512


def element(group, number, vr, value):
    if isinstance(value, str):
        value = value.encode("ascii")
        if len(value) % 2:
            value += b"\0" if vr == b"UI" else b" "
    head = struct.pack("<HH", group, number) + vr
    if vr in (b"OW", b"OB"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def instance(series, index):
    """A CT slice with noise in it: as large as a real one, and not compressible by a clever disk."""
    uid = f"{series}.{index + 1}"
    group = (
        element(2, 1, b"OB", b"\0\1")
        + element(2, 2, b"UI", CT)
        + element(2, 3, b"UI", uid)
        + element(2, 0x10, b"UI", EXPLICIT)
        + element(2, 0x12, b"UI", "1.2.3.4")
    )
    meta = bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(group))) + group
    us = lambda value: struct.pack("<H", value)
    data_set = b"".join([
        element(8, 0x16, b"UI", CT),
        element(8, 0x18, b"UI", uid),
        element(8, 0x60, b"CS", "CT"),
        element(0x10, 0x10, b"PN", "Bench^Receive"),
        element(0x10, 0x20, b"LO", "BENCH"),
        element(0x20, 0x0D, b"UI", "1.2.826.0.1.3680043.2.1143.1"),
        element(0x20, 0x0E, b"UI", series),
        element(0x20, 0x13, b"IS", str(index + 1)),
        element(0x20, 0x32, b"DS", f"-250\\-250\\{index * 2.5}"),
        element(0x20, 0x37, b"DS", "1\\0\\0\\0\\1\\0"),
        element(0x28, 2, b"US", us(1)),
        element(0x28, 4, b"CS", "MONOCHROME2"),
        element(0x28, 0x10, b"US", us(SIDE)),
        element(0x28, 0x11, b"US", us(SIDE)),
        element(0x28, 0x100, b"US", us(16)),
        element(0x28, 0x101, b"US", us(16)),
        element(0x28, 0x102, b"US", us(15)),
        element(0x28, 0x103, b"US", us(1)),
        element(0x7FE0, 0x10, b"OW", os.urandom(SIDE * SIDE * 2)),
    ])
    return meta + data_set


def make_series(folder, associations, instances):
    """One folder for each association; the instances are dealt out evenly."""
    folders = []
    for number in range(associations):
        path = folder / f"{associations}-{number}"
        path.mkdir(parents=True)
        for index in range(instances // associations):
            (path / f"{index:04}.dcm").write_bytes(instance(f"1.2.826.0.1.3680043.2.1143.2.{associations}.{number + 1}", index))
        folders.append(path)
    return folders


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PYNETDICOM = """
import os, sys
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

def store(event):
    with open(os.path.join(sys.argv[2], event.request.AffectedSOPInstanceUID + ".dcm"), "wb") as file:
        file.write(event.encoded_dataset())
    return 0

ae = AE("CONTOURD")
ae.maximum_pdu_size, ae.maximum_associations = 131072, 100
for context in AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
ae.start_server(("127.0.0.1", int(sys.argv[1])), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])
"""


def orthanc(folder, port, sync):
    """The configuration of an Orthanc whose defaults hold but for what it must be told."""
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomPort": port, "HttpPort": free_port(),
        "DicomAet": "CONTOURD", "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "Plugins": [],
        "SyncStorageArea": sync,
    }
    path = Path(f"{folder}.json")
    path.write_text(json.dumps(settings))
    return ["Orthanc", str(path)]


def servers(contourd):
    """Name -> what makes the command line of a server that stores into a folder and listens on a port."""
    storescp = lambda *more: lambda folder, port: [
        "storescp", "-aet", "CONTOURD", "-pdu", "131072", "-od", str(folder), *more, str(port)]
    ours = lambda *before: lambda folder, port: [
        *before, contourd, "receive", "--folder", str(folder), "--listen", f"127.0.0.1:{port}"]
    found = {"contourd": ours(), "storescp": storescp(), "storescp --fork": storescp("--fork")}
    if shutil.which("eatmydata"):
        # The same binary, its fsyncs made to do nothing by a library before it; contourd has no such setting.
        found["contourd, no fsync"] = ours("eatmydata")
    if shutil.which("Orthanc"):
        found["Orthanc"] = lambda folder, port: orthanc(folder, port, True)
        found["Orthanc, no fsync"] = lambda folder, port: orthanc(folder, port, False)
    if importlib.util.find_spec("pynetdicom"):
        found["pynetdicom"] = lambda folder, port: [sys.executable, "-c", PYNETDICOM, str(port), str(folder)]
    return found


def wait_for(port, patience_s):
    for _ in range(20 * patience_s):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def family(pid):
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    words = children.read_text().split() if children.exists() else []
    return [pid, *(one for child in words for one in family(int(child)))]


def peak_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def processor_seconds(pid):
    """Of a process, in user and system mode, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def measure(command, folders, work, patience_s=10):
    """Seconds from the start of the senders to the end of the last, and the server's processor seconds and peak memory."""
    port, target = free_port(), Path(tempfile.mkdtemp(dir=work))
    # Without TCP_NODELAY a DCMTK peer waits 40 ms for each acknowledgement, and the clock measures that alone.
    environment = {**os.environ, "TCP_NODELAY": "1", "CONTOURD_LOG": "warn"}
    words = command(target, port)
    server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, patience_s)
        before = files_in(target)
        os.sync()
        used = sum(processor_seconds(pid) for pid in family(server.pid))
        start = time.monotonic()
        send = ["storescu", "-aec", "CONTOURD", "-aet", "BENCH", "-pdu", "131072", "+sd", "127.0.0.1", str(port)]
        senders = [subprocess.Popen([*send, str(folder)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for folder in folders]
        codes = [sender.wait() for sender in senders]
        seconds = time.monotonic() - start
        all_of_it = family(server.pid)
        used = sum(processor_seconds(pid) for pid in all_of_it) - used
        megabytes = sum(peak_kb(pid) for pid in all_of_it) / 1024
    finally:
        server.terminate()
        server.wait()
    expected = sum(len(list(folder.iterdir())) for folder in folders)
    stored = files_in(target) - before
    if any(codes) or stored != expected:
        sys.exit(f"{words[0]}: {stored} of {expected} instances stored, senders ended with {codes}")
    shutil.rmtree(target)
    return seconds, used, megabytes


def files_in(folder):
    """How many files are as large as an instance."""
    return sum(1 for path in folder.rglob("*") if path.is_file() and path.stat().st_size > SIDE * SIDE * 2)


def machine(contourd):
    """What the figures are of: processors, load, date and program."""
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    version = subprocess.run([contourd, "--version"], capture_output=True, text=True).stdout.strip()
    size = Path(contourd).stat().st_size >> 20
    return (f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors ({models[0] if models else 'unknown'}), load "
            f"{os.getloadavg()[0]:.1f}, {version} of {size} MiB")


def interval(values):
    """The order statistics between which the median of all runs lies with a probability of 95 %; the range where that is less."""
    ordered, below, skipped = sorted(values), 0.0, 0
    for k in range(len(ordered) // 2):
        below += math.comb(len(ordered), k) / 2 ** len(ordered)
        if below > 0.025:
            break
        skipped = k
    return ordered[skipped], ordered[-1 - skipped]


def bench(commands, associations, options, work):
    """Each server once in each round; figures are printed for each, and ratios to those that are there."""
    folders = make_series(work / "series", associations, options.instances)
    count = sum(len(list(folder.iterdir())) for folder in folders)
    found = {name: [] for name in commands}
    for round_number in range(options.rounds + 1):
        # In turns, and each time in another order, so that nobody always runs after the same one.
        names = list(commands)
        shift = round_number % len(names)
        names = names[shift:] + names[:shift]
        for name in names if round_number % 2 else names[::-1]:
            run = measure(commands[name], folders, work)
            # The first round fills caches, and does not count.
            if round_number:
                found[name].append(run)
    print(f"\n{associations} associations, {count} instances, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    references = [name for name in ("Orthanc", "storescp") if name in found]
    head = "".join(f" {'time / ' + name:>26} {'CPU / ' + name:>14}" for name in references)
    print(f"{'server':<18} {'images/s':>9} {'range':>12} {'CPU s / 1,000':>14} {'peak MB':>8}{head}")
    for name, runs in found.items():
        times, used, peaks = zip(*runs)
        spread = f"{count / max(times):.0f}..{count / min(times):.0f}"
        line = f"{name:<18} {count / statistics.median(times):>9.0f} {spread:>12} {statistics.median(used) * 1000 / count:>14.2f} {max(peaks):>8.0f}"
        for reference in references:
            ratios = [ours[0] / theirs[0] for ours, theirs in zip(runs, found[reference])]
            processor = [ours[1] / max(theirs[1], 0.01) for ours, theirs in zip(runs, found[reference])]
            low, high = interval(ratios)
            line += f" {f'{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})':>26} {statistics.median(processor):>14.2f}"
        print(line, flush=True)
    shutil.rmtree(work / "series")


def count_instructions(commands, instances, work):
    """Instructions in user space for each instance, by the difference of two runs: what starting takes falls out."""
    if not shutil.which("valgrind"):
        return print("skipped: valgrind is not here")
    print(f"\n{'server':<18} {'million instructions / instance':>32}")
    series = {many: make_series(work / f"series-{many}", 1, many) for many in (instances // 2, instances)}
    for name, command in commands.items():
        if "fork" in name or "no fsync" in name or name == "pynetdicom":
            continue
        taken = {}
        for many, folders in series.items():
            out = work / f"callgrind-{many}"
            under = lambda folder, port: ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command(folder, port)]
            measure(under, folders, work, patience_s=120)
            taken[many] = sum(int(line.split()[1]) for line in out.read_text().splitlines() if line.startswith(("summary:", "totals:")))
        few, many = sorted(taken)
        print(f"{name:<18} {(taken[many] - taken[few]) / (many - few) / 1e6:>32.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contourd", default="target/release/contourd")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--associations", default="1,4,16")
    parser.add_argument("--folder", help="a folder on the disk to be measured; a temporary one by default")
    parser.add_argument("--instructions", type=int, metavar="COUNT", help="count them for so many instances, and time nothing")
    options = parser.parse_args()
    if shutil.which("Orthanc") is None and Path("/usr/sbin/Orthanc").exists():
        os.environ["PATH"] += ":/usr/sbin"
    print(machine(options.contourd))
    work = Path(tempfile.mkdtemp(prefix="contourd-bench-", dir=options.folder))
    try:
        commands = servers(options.contourd)
        if options.instructions:
            return count_instructions(commands, options.instructions, work)
        for associations in (int(word) for word in options.associations.split(",")):
            bench(commands, associations, options, work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
