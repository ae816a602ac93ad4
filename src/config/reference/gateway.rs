//! The part of the reference about `gateway.json`.

use super::{Key, Object, key, words};
use crate::config::ways_in::{FOLDER_S, REQUESTS};
use crate::config::{Limits, WorkerSettings};
use crate::folder::After;
use crate::pipeline::{Completeness, OnTimeout};
use crate::tls::Clients;

pub(super) fn gateway() -> Vec<Object> {
    vec![
        (
            "ae-config/gateway.json",
            "Who this gateway is and what it allows.",
            vec![
                key("$schema", "text", "none", "for editors; not read"),
                key(
                    "ae_titles",
                    "list of AE titles",
                    "required",
                    "the titles that we answer to; the first is ours when we call",
                ),
                key("bind", "IP address", "`0.0.0.0`", "the address to listen at"),
                key(
                    "port",
                    "1 to 65535",
                    "required without `tls`",
                    "the port to listen at without TLS; none without it",
                ),
                key("tls", "object", "none", "a port with TLS, beside the other or instead of it"),
                key("dicomweb", "object", "none", "a port where instances are taken over HTTP (STOW-RS)"),
                key("folders", "list", "none", "folders whose files are taken as if they had been sent"),
                key("storage", "object", "required", "where series, results and the ledger are kept"),
                key("limits", "object", "see there", "what peers may take of us"),
                key(
                    "complete",
                    "object",
                    "see there",
                    "when a series counts as complete; a pipeline may say otherwise",
                ),
                key("worker", "object", "see there", "what a job may take"),
                key(
                    "retention",
                    "object",
                    "14 days",
                    "`days`: how long images and results are kept after the last job of their series; `committed_days`: how long after a storage commitment, without it for ever",
                ),
            ],
        ),
        (
            "storage",
            "In `gateway.json`.",
            vec![
                key("folder", "path", "required", "absolute, or relative to the configuration folder; on a local disk"),
                key("free_floor_mb", "number", 2_048, "nothing more is received when less than this is free"),
            ],
        ),
    ]
}

/// What says how we are called and call by TLS.
pub(super) fn tls() -> Vec<Object> {
    let fingerprints = "list of SHA-256, as `openssl x509 -noout -fingerprint -sha256` writes them";
    let file = "file in PEM";
    vec![
        (
            "tls",
            "In `gateway.json`: TLS 1.2 and 1.3. Files are absolute or relative to the configuration folder; a new certificate is \
             used without a restart, a bad one leaves the last good one in use.",
            vec![
                key("port", "1 to 65535", "required", "the port to listen at with TLS; 2762 is registered for it"),
                key("bind", "IP address", "that of the gateway", "the address to listen at"),
                key("certificate", file, "required", "our certificate first, then those between it and its authority"),
                key("key", file, "required", "its key: PKCS#8, PKCS#1 or SEC1, unencrypted, closed to other users"),
                key(
                    "clients",
                    words(&Clients::ALL),
                    "`required`",
                    "whether callers have to present a certificate; one that is presented has to be good",
                ),
                key(
                    "client_authorities",
                    file,
                    "none",
                    "the authorities that vouch for callers; without them, the fingerprints of the peers alone count",
                ),
            ],
        ),
        (
            "tls of a peer",
            "How a peer is called by TLS. There is no way back to a connection without.",
            vec![
                key("authorities", file, "required without `sha256`", "the authorities that vouch for its certificate"),
                key(
                    "sha256",
                    fingerprints,
                    "required without `authorities`",
                    "its own certificates; name and authority do not count then",
                ),
                key("name", "name or IP address", "`host`", "what its certificate has to hold"),
                key("certificate", file, "that of the gateway", "what we present when it asks"),
                key("key", file, "that of the gateway", "the key of `certificate`"),
            ],
        ),
        (
            "certificate",
            "In a peer: it may only call by TLS, with one of these certificates. Of several any will do, so that old and new one \
             hold side by side.",
            vec![
                key("sha256", fingerprints, "none", "the certificates themselves; no authority has to vouch for them"),
                key(
                    "names",
                    "list of texts",
                    "none",
                    "a DNS name, address or common name in a certificate that an authority vouches for",
                ),
            ],
        ),
    ]
}

/// The ways in besides associations.
pub(super) fn ways_in() -> Vec<Object> {
    let (requests, of_one, request_mb) = REQUESTS;
    let file = "file in PEM";
    vec![
        (
            "dicomweb",
            "In `gateway.json`: STOW-RS, `POST /studies`, `/studies/UID`, and `/AE-TITLE/studies` for another title of ours than \
             the first. Who may send is said by the peers (`from`, `certificate`, `token`); `instance_mb`, `request_timeout_s` and \
             `idle_timeout_s` of `limits` hold here too.",
            vec![
                key("address", "IP address", "that of the gateway", "the address to listen at"),
                key("port", "1 to 65535", "required", "the port to listen at"),
                key("tls", "object", "none", "TLS; without it, tokens and images can be read on their way"),
                key("requests", "number", requests, "at the same time, all peers together"),
                key(
                    "requests_per_peer",
                    "number",
                    of_one,
                    "at the same time, of one peer; `associations` of a peer holds for its requests too",
                ),
                key("request_mb", "number", request_mb, "largest body of a request"),
            ],
        ),
        (
            "tls of dicomweb",
            "As `tls`, at the port of `dicomweb`.",
            vec![
                key("certificate", file, "required", "our certificate first, then those between it and its authority"),
                key("key", file, "required", "its key: PKCS#8, PKCS#1 or SEC1, unencrypted, closed to other users"),
                key("clients", words(&Clients::ALL), "`required`", "whether callers have to present a certificate"),
                key("client_authorities", file, "none", "the authorities that vouch for callers"),
            ],
        ),
        (
            "folder",
            "One of `folders` in `gateway.json`. Whoever may write into the folder may send. A file is taken when it has not \
             changed for `settle_s`; names that begin with a dot or end in `~`, `.part`, `.tmp`, `.partial`, `.filepart`, \
             `.crdownload` or `.incomplete` are left. What is refused goes to `refused` in the folder, with a text that says why.",
            vec![
                key(
                    "path",
                    "path",
                    "required",
                    "absolute, or relative to the configuration folder; apart from storage folder and configuration",
                ),
                key(
                    "calling_ae",
                    "AE title",
                    "required",
                    "by which title its files count as sent; no peer has to have it",
                ),
                key("called_ae", "one of `ae_titles`", "the first", "to which title"),
                key(
                    "after",
                    words(&After::ALL),
                    "`remove`",
                    "what becomes of a file that is stored: nothing is left, or it goes to `done` in the folder",
                ),
                key("settle_s", "number", FOLDER_S.0, "how long a file has to stay as it is before it is taken"),
                key(
                    "scan_s",
                    "number",
                    FOLDER_S.1,
                    "how often it is looked through, besides when the system tells of a change",
                ),
            ],
        ),
        (
            "token",
            "In a peer: what it has to present over HTTP, as `Authorization: Bearer TOKEN`, or as the password of `Basic` with its \
             AE title as the user. Of several any will do. Associations have no tokens.",
            vec![key(
                "sha256",
                "list of SHA-256, as `printf %s TOKEN | sha256sum` writes them",
                "required",
                "the tokens",
            )],
        ),
    ]
}

pub(super) fn bounds() -> Vec<Object> {
    let (limits, worker) = (Limits::default(), WorkerSettings::default());
    vec![
        (
            "limits",
            "In `gateway.json`.",
            vec![
                key("associations", "number", limits.associations, "at the same time, all peers together"),
                key("associations_per_peer", "number", limits.associations_per_peer, "at the same time, of one peer"),
                key("pdu_bytes", "number", limits.pdu_bytes, "longest PDU that we accept"),
                key("instance_mb", "number", limits.instance_mb, "largest data set"),
                key(
                    "request_timeout_s",
                    "number",
                    limits.request_timeout_s,
                    "longest wait for the association request",
                ),
                key("idle_timeout_s", "number", limits.idle_timeout_s, "longest silence in an association"),
            ],
        ),
        (
            "worker",
            "In `gateway.json`.",
            vec![
                key("threads", "number", worker.threads, "0 for one per processor"),
                key(
                    "device",
                    "`cpu`, `cuda`, `cuda:N`, `tensorrt`, `tensorrt:N`",
                    worker.devices.wanted,
                    "where networks run; refused with the reason where it is not there",
                ),
                key(
                    "cpu_instead",
                    "`true`, `false`",
                    worker.devices.cpu_instead,
                    "the processor takes the place of a device that is not there, for every pipeline",
                ),
                key(
                    "memory_limit_mb",
                    "number",
                    worker.memory_limit_mb,
                    "resident memory at which the worker is killed",
                ),
                key("time_limit_s", "number", worker.time_limit_s, "time after which the worker is killed"),
                key("runs_max", "1 to 100", worker.runs_max, "workers that one job may cost before it fails"),
            ],
        ),
        ("complete", "In `gateway.json` and in pipelines. DICOM has no end of a series.", complete()),
    ]
}

fn complete() -> Vec<Key> {
    let standard = Completeness::default();
    vec![
        key("quiet_s", "number", standard.quiet_s, "time after the last image"),
        key(
            "released_quiet_s",
            "number",
            standard.released_quiet_s,
            "the same when the sender has released its association and no slice is missing",
        ),
        key("gap_quiet_s", "number", standard.gap_quiet_s, "the same while slices are missing between others"),
        key("max_wait_s", "number", standard.max_wait_s, "longest time from the first image"),
        key(
            "on_timeout",
            words(&OnTimeout::ALL),
            "`hold`",
            "what happens then to a series with a gap: keep and show it, run with what is there, or leave it",
        ),
        key(
            "ask",
            "name of a peer",
            "none",
            "the peer that is asked by C-FIND how many instances a series has, before it is taken as complete: while it has \
             more, they are waited for as those that images promise. A peer that does not say so changes nothing",
        ),
    ]
}
