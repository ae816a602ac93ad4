#!/usr/bin/env python3
"""Receives CT series with contourd and with DCMTK's storescp in one run, in turns, and prints medians and ratios.

contourd answers when an instance would survive a power cut; storescp does not sync at all, so a ratio of 1 is not owed.
Only ratios of one run mean anything: the absolute figures are those of the machine and of its load.

Needs: a contourd binary, DCMTK (storescp, storescu). Usage:
    receive.py [--contourd target/release/contourd] [--rounds 5] [--instances 200] [--associations 1,4,16] [--folder DIR]
`--instances` is the sum over all associations of a measurement.
"""

import argparse
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


def servers(contourd):
    """Name -> command line of a server that stores into FOLDER and listens on PORT."""
    storescp = ["storescp", "-aet", "CONTOURD", "-pdu", "131072", "-od", "FOLDER"]
    return {
        "contourd": [contourd, "receive", "--folder", "FOLDER", "--listen", "127.0.0.1:PORT"],
        "storescp": [*storescp, "PORT"],
        "storescp --fork": [*storescp, "--fork", "PORT"],
    }


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def peak_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def measure(command, folders, work):
    """Seconds from the start of the senders to the end of the last, and the server's peak memory in MB."""
    port, target = free_port(), Path(tempfile.mkdtemp(dir=work))
    words = [word.replace("FOLDER", str(target)).replace("PORT", str(port)) for word in command]
    # Without TCP_NODELAY a DCMTK peer waits 40 ms for each acknowledgement, and the clock measures that alone.
    environment = {**os.environ, "TCP_NODELAY": "1", "CONTOURD_LOG": "warn"}
    server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        os.sync()
        start = time.monotonic()
        send = ["storescu", "-aec", "CONTOURD", "-aet", "BENCH", "-pdu", "131072", "+sd", "127.0.0.1", str(port)]
        senders = [subprocess.Popen([*send, str(folder)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for folder in folders]
        codes = [sender.wait() for sender in senders]
        seconds = time.monotonic() - start
        megabytes = peak_kb(server.pid) / 1024
    finally:
        server.terminate()
        server.wait()
    expected = sum(len(list(folder.iterdir())) for folder in folders)
    stored = sum(1 for path in target.rglob("*") if path.is_file() and path.stat().st_size > SIDE * SIDE * 2)
    if any(codes) or stored != expected:
        sys.exit(f"{command[0]}: {stored} of {expected} instances stored, senders ended with {codes}")
    shutil.rmtree(target)
    return seconds, megabytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contourd", default="target/release/contourd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--associations", default="1,4,16")
    parser.add_argument("--folder", help="a folder on the disk to be measured; a temporary one by default")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="contourd-bench-", dir=options.folder))
    try:
        commands = servers(options.contourd)
        print(f"{'associations':>12} {'server':<16} {'images/s':>9} {'range':>15} {'peak MB':>8} {'time / storescp':>16}")
        for associations in (int(word) for word in options.associations.split(",")):
            folders = make_series(work / "series", associations, options.instances)
            count = sum(len(list(folder.iterdir())) for folder in folders)
            times = {name: [] for name in commands}
            peaks = {name: 0 for name in commands}
            for round_number in range(options.rounds):
                # In turns, and each time in another order, so that nobody always runs after the same one.
                names = list(commands)
                shift = round_number % len(names)
                for name in names[shift:] + names[:shift]:
                    seconds, megabytes = measure(commands[name], folders, work)
                    times[name].append(seconds)
                    peaks[name] = max(peaks[name], megabytes)
            reference = statistics.median(times["storescp"])
            for name, seconds in times.items():
                median = statistics.median(seconds)
                spread = f"{count / max(seconds):.0f}..{count / min(seconds):.0f}"
                print(f"{associations:>12} {name:<16} {count / median:>9.0f} {spread:>15} {peaks[name]:>8.0f} {median / reference:>16.2f}", flush=True)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
