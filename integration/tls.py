"""TLS between contourd and foreign programs: DCMTK's echoscu, storescu and storescp in both directions with certificates on
both sides, OpenSSL's s_client for versions that are spoken and refused. Certificates are made here, with RSA and P-256, and
keys in each form. Begun by peers.sh; Python's standard library and openssl."""

import json
import pathlib
import shutil
import sys
import tempfile

import peers
import synthetic
from peers import CONTOURD, UID, check, free_port, run, start, stop, wait_for, wait_port


def openssl(*words):
    code, text = run("openssl", *words)
    if code:
        sys.exit(f"openssl {' '.join(map(str, words))}: {text}")
    return text


def authority(folder, name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def issue(folder, signer, name, kind, alternatives):
    """A certificate and its key in PKCS#8 (rsa), PKCS#1 (pkcs1) or SEC1 (ec)."""
    key = folder / f"{name}.key"
    if kind == "ec":
        openssl("ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", key)
    else:
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    if kind == "pkcs1":
        openssl("rsa", "-in", key, "-traditional", "-out", key)
    key.chmod(0o600)
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", folder / f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{signer}.pem", "-CAkey", folder / f"{signer}.key",
            "-CAcreateserial", "-days", "2", "-extfile", folder / f"{name}.ext", "-out", folder / f"{name}.pem")


def gateway_with_tls(work, files, tps):
    gateway = peers.Gateway(work / "secure", {"tps": ("TPS", tps)})
    path = gateway.folder / "ae-config/gateway.json"
    document = json.loads(path.read_text())
    gateway.tls_port = free_port()
    own = gateway.folder / "ae-config/own"
    shutil.copyfile(files / "gateway.pem", own.with_suffix(".pem"))
    shutil.copyfile(files / "gateway.key", own.with_suffix(".key"))
    own.with_suffix(".key").chmod(0o600)
    document["tls"] = {"port": gateway.tls_port, "certificate": "ae-config/own.pem", "key": "ae-config/own.key",
                       "clients": "required", "client_authorities": str(files / "hospital.pem")}
    path.write_text(json.dumps(document))
    gateway.peer("echo", {"ae_title": "ECHOSCU", "may": ["send"]})
    gateway.peer("storescu-in", {"ae_title": "STORESCU", "from": ["127.0.0.0/8", "::1/128"], "may": ["send"],
                                 "certificate": {"names": ["scanner.example"]}})
    retry = {"initial_s": 1, "multiplier": 2, "max_s": 4, "max_age_h": 1}
    gateway.peer("tps", {"ae_title": "TPS", "host": "127.0.0.1", "port": tps, "may": ["receive"], "retry": retry,
                         "tls": {"authorities": str(files / "hospital.pem")}})
    return gateway


def dcmtk_calls(work, files, gateway):
    print("\nDCMTK calls with TLS", flush=True)
    def tls(name, trusted="hospital"):
        return "+tls", files / f"{name}.key", files / f"{name}.pem", "+cf", files / f"{trusted}.pem"
    echo = lambda *words: run("echoscu", *words, "-aec", "CONTOURD", "127.0.0.1", gateway.tls_port)
    code, text = echo(*tls("scanner"))
    check(code == 0, "echoscu with a certificate of the hospital" + (f": {text[-300:]}" if code else ""))
    check(echo(*tls("stranger"))[0] != 0, "echoscu with a certificate of another authority is refused")
    check(echo("+tla", "-ic")[0] != 0, "echoscu without a certificate is refused")
    check(echo(*tls("scanner", "other"))[0] != 0, "echoscu that trusts another authority turns away")
    series = synthetic.series(work / "series", f"{UID}.700")
    send = lambda port, *words: run("storescu", *words, "-aec", "CONTOURD", "127.0.0.1", port, *sorted(series.iterdir()))
    code, text = send(gateway.port)
    check(code != 0 and "Calling AE Title Not Recognized" in text, "storescu without TLS is rejected: its peer has a certificate")
    code, text = send(gateway.tls_port, *tls("console"))
    check(code != 0 and "Calling AE Title Not Recognized" in text, "storescu with another certificate of the hospital is rejected")
    code, text = send(gateway.tls_port, *tls("scanner"))
    check(code == 0, "storescu with its own certificate sends a series" + (f": {text[-300:]}" if code else ""))


def versions(files, gateway):
    print("\nversions", flush=True)
    for version, spoken in (("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)):
        # Security level 0, so that OpenSSL itself offers what is old.
        code, text = run("sh", "-c", f"openssl s_client -brief -{version} -cipher ALL:@SECLEVEL=0 -connect "
                         f"127.0.0.1:{gateway.tls_port} -CAfile {files}/hospital.pem -verify_return_error "
                         f"-cert {files}/scanner.pem -key {files}/scanner.key < /dev/null")
        established = "CONNECTION ESTABLISHED" in text
        lines = [line for line in text.splitlines() if "Ciphersuite" in line or "alert" in line]
        check(established == spoken, f"{version} is {'spoken' if spoken else 'refused'}: {' '.join(lines)[:160]}")


def contourd_calls(work, files, tps):
    print("\ncontourd calls with TLS", flush=True)
    own = ("--tls-certificate", files / "gateway.pem", "--tls-key", files / "gateway.key")
    def echo(*words):
        code, text = run(CONTOURD, "echo", "--to", f"127.0.0.1:{tps}", "--aec", "TPS", "--timeout-s", "10", *words)
        return code, text.strip()
    code, text = echo("--tls-authorities", files / "hospital.pem", *own)
    check(code == 0, text)
    for what, words in (
        ("no certificate of ours", ("--tls-authorities", files / "hospital.pem")),
        ("another authority", ("--tls-authorities", files / "other.pem", *own)),
        ("another name", ("--tls-authorities", files / "hospital.pem", "--tls-name", "pacs.example", *own)),
        ("no TLS", ()),
    ):
        code, text = echo(*words)
        check(code == 1, f"{what}: {text}")


def renewal(files, gateway):
    print("\na new certificate", flush=True)
    issue(files, "hospital", "renewed", "rsa", "IP:127.0.0.1")
    own = gateway.folder / "ae-config/own"
    shutil.copyfile(files / "renewed.key", own.with_suffix(".key"))
    shutil.copyfile(files / "renewed.pem", own.with_suffix(".pem"))
    def presented():
        _, text = run("sh", "-c", f"openssl s_client -connect 127.0.0.1:{gateway.tls_port} < /dev/null")
        return "CN = renewed" in text
    check(wait_for(presented, 20), "is presented without a restart")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="contourd-tls-"))
    files = work / "files"
    files.mkdir()
    try:
        for name in ("hospital", "other"):
            authority(files, name)
        issue(files, "hospital", "gateway", "ec", "IP:127.0.0.1")
        issue(files, "hospital", "scanner", "rsa", "DNS:scanner.example")
        issue(files, "hospital", "console", "rsa", "DNS:console.example")
        issue(files, "hospital", "tps", "pkcs1", "IP:127.0.0.1")
        issue(files, "other", "stranger", "rsa", "DNS:scanner.example")
        tps, received = free_port(), work / "received"
        received.mkdir()
        scp = start("storescp", ["storescp", "-aet", "TPS", "-od", received, "+tls", files / "tps.key", files / "tps.pem",
                                 "+cf", files / "hospital.pem", tps], work / "storescp.log")
        wait_port(tps, scp, work / "storescp.log")
        gateway = gateway_with_tls(work, files, tps)
        gateway.serve()
        contourd_calls(work, files, tps)
        dcmtk_calls(work, files, gateway)
        check(wait_for(lambda: any(received.iterdir())), "the structure set comes to storescp by TLS")
        versions(files, gateway)
        renewal(files, gateway)
        for line in gateway.log.read_text().splitlines():
            if "rejected" in line or "refused" in line:
                print("  log     " + line[:300])
        stop(gateway.process)
        stop(scp)
    finally:
        peers.finish(work)


if __name__ == "__main__":
    main()
