"""Makes small CT instances of an elliptic body with lungs, spine and couch, and sends any bytes by C-STORE, also such
as no toolkit would send. Python's standard library alone."""

import array
import socket
import struct

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SIDE, SPACING = 128, 3.0
LONG = {"OB", "OW", "SQ", "UN", "UT"}


def element(group, number, vr, value):
    if isinstance(value, str):
        value = value.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", group, number, vr.encode())
    size = struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))
    return head + size + value


def hounsfield(x, y, z):
    """In mm from the middle of the body; z runs from 0 to 150."""
    if (x / 160) ** 2 + (y / 105) ** 2 > 1:
        return 100 if 130 < y < 140 and abs(x) < 180 else -1000
    if abs((x / 12)) < 1 and abs((y - 70) / 12) < 1:
        return 700
    if 15 < z < 135 and any(((x - side) / 50) ** 2 + ((y + 10) / 60) ** 2 < 1 for side in (-75, 75)):
        return -800
    return 20


def data_set(series, number, z, sop=None, patient="PHANTOM"):
    pixels = array.array("h")
    middle = SIDE / 2 - 0.5
    for row in range(SIDE):
        pixels.extend(hounsfield((c - middle) * SPACING, (row - middle) * SPACING, z) for c in range(SIDE))
    origin = -middle * SPACING
    us = lambda value: struct.pack("<H", value)
    return b"".join([
        element(8, 0x08, "CS", "ORIGINAL\\PRIMARY\\AXIAL"), element(8, 0x16, "UI", CT),
        element(8, 0x18, "UI", sop or f"{series}.{number}"), element(8, 0x20, "DA", "20260101"),
        element(8, 0x30, "TM", "120000"), element(8, 0x50, "SH", ""), element(8, 0x60, "CS", "CT"),
        element(8, 0x70, "LO", "contourd"), element(8, 0x90, "PN", ""),
        element(0x10, 0x10, "PN", "Phantom^Elliptic"), element(0x10, 0x20, "LO", patient),
        element(0x10, 0x30, "DA", ""), element(0x10, 0x40, "CS", "O"), element(0x18, 0x50, "DS", "5"),
        element(0x18, 0x5100, "CS", "HFS"), element(0x20, 0x0D, "UI", "1.2.826.0.1.3680043.10.1.1"),
        element(0x20, 0x0E, "UI", series), element(0x20, 0x10, "SH", "1"), element(0x20, 0x11, "IS", "1"),
        element(0x20, 0x13, "IS", str(number)), element(0x20, 0x32, "DS", f"{origin}\\{origin}\\{z}"),
        element(0x20, 0x37, "DS", "1\\0\\0\\0\\1\\0"), element(0x20, 0x52, "UI", series + ".9"),
        element(0x20, 0x1040, "LO", ""),
        element(0x28, 0x02, "US", us(1)), element(0x28, 0x04, "CS", "MONOCHROME2"),
        element(0x28, 0x10, "US", us(SIDE)), element(0x28, 0x11, "US", us(SIDE)),
        element(0x28, 0x30, "DS", f"{SPACING}\\{SPACING}"), element(0x28, 0x100, "US", us(16)),
        element(0x28, 0x101, "US", us(16)), element(0x28, 0x102, "US", us(15)), element(0x28, 0x103, "US", us(1)),
        element(0x28, 0x1052, "DS", "0"), element(0x28, 0x1053, "DS", "1"),
        element(0x7FE0, 0x10, "OW", pixels.tobytes()),
    ])


def write(path, body, sop):
    meta = b"".join([
        element(2, 1, "OB", b"\0\1"), element(2, 2, "UI", CT), element(2, 3, "UI", sop),
        element(2, 0x10, "UI", EXPLICIT), element(2, 0x12, "UI", "1.2.826.0.1.3680043.10.2"),
    ])
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + body)


def series(folder, uid, slices=30, change=None):
    """Writes a series; `change(number)` may give other arguments for a slice, or None to leave it out."""
    folder.mkdir(parents=True)
    for number in range(1, slices + 1):
        other = change(number) if change else {}
        if other is not None:
            body = data_set(uid, number, (number - 1) * 5.0, **other)
            write(folder / f"{number:03}.dcm", body, other.get("sop") or f"{uid}.{number}")
    return folder


def data_pdu(context, data, last=True, command=False):
    """A P-DATA-TF of one value."""
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, context, last * 2 + command) + data


def command_pdu(context, sop_class, field, number, has_data_set, sop=None):
    """A request: C-STORE-RQ (0x0001) of an instance, or C-ECHO-RQ (0x0030)."""
    text = lambda element, value: struct.pack("<HHI", 0, element, len(value) + len(value) % 2) + value.encode() + b"\0" * (len(value) % 2)
    short = lambda element, value: struct.pack("<HHIH", 0, element, 2, value)
    body = text(2, sop_class) + short(0x100, field) + short(0x110, number)
    body += (short(0x700, 0) if sop else b"") + short(0x800, 1 if has_data_set else 0x0101) + (text(0x1000, sop) if sop else b"")
    return data_pdu(context, struct.pack("<HHII", 0, 0, 4, len(body)) + body, command=True)


def store_pdu(context, sop):
    """A C-STORE-RQ of a CT image."""
    return command_pdu(context, CT, 0x0001, 1, True, sop)


def store(port, body, sop, calling="STORESCU", called="CONTOURD"):
    """Sends `body` as it is under `sop`; returns the status of the answer."""
    item = lambda kind, value: struct.pack(">BBH", kind, 0, len(value)) + value
    context = b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode())
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.10.2")
    request = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    request += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.settimeout(30)
        peer.sendall(struct.pack(">BBI", 1, 0, len(request)) + request)
        kind, answer = pdu(peer)
        if kind != 2:
            raise ConnectionError(f"association not accepted: PDU {kind} {answer[:8].hex()}")
        peer.sendall(store_pdu(1, sop))
        for at in range(0, len(body), 16000):
            peer.sendall(data_pdu(1, body[at:at + 16000], last=at + 16000 >= len(body)))
        kind, answer = pdu(peer)
        if kind != 4:
            raise ConnectionError(f"no response: PDU {kind} {answer[:8].hex()}")
        at = answer.index(struct.pack("<HHI", 0, 0x900, 2))
        status = struct.unpack("<H", answer[at + 8:at + 10])[0]
        peer.sendall(struct.pack(">BBII", 5, 0, 4, 0))
        return status


def pdu(peer):
    head = take(peer, 6)
    kind, size = head[0], struct.unpack(">I", head[2:])[0]
    return kind, take(peer, size)


def take(peer, size):
    found = b""
    while len(found) < size:
        more = peer.recv(size - len(found))
        if not more:
            raise ConnectionError("the peer has closed the connection")
        found += more
    return found
