//! The part of the reference about `gateway.json`.

use super::{Key, Object, key, words};
use crate::config::{Limits, WorkerSettings};
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
