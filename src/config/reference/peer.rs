//! The part of the reference about the files of peers.

use super::{Object, key, words};
use crate::config::{OnWarning, RETRY_DEFAULT, VERIFY_WORDS, dialect};
use crate::job::{Verification, VerifyBy};
use crate::retrieve::Way;

pub(super) fn peer() -> Vec<Object> {
    let hours = RETRY_DEFAULT.max_age_s / 3_600.0;
    vec![
        (
            "ae-config/peers/NAME.json",
            "A node that we know. Nobody else may call. Its name is that of the file.",
            vec![
                key("$schema", "text", "none", "for editors; not read"),
                key("description", "text", "none", "for people; not read"),
                key(
                    "folder",
                    "folder",
                    "none",
                    "results are put there as files; excludes `dicomweb`, `ae_title`, `from`, `certificate`, `token`, `associations`, `host`, `port`, `tls`, `retrieve` and `on_warning`; `may` is `[\"receive\"]`",
                ),
                key(
                    "dicomweb",
                    "object",
                    "none",
                    "results are sent there by STOW-RS; excludes `folder`, `ae_title`, `from`, `certificate`, `token`, `associations`, `host`, `port`, `tls` and `retrieve`; `may` is `[\"receive\"]`",
                ),
                key(
                    "ae_title",
                    "AE title",
                    "required without `folder` and `dicomweb`",
                    "the title that it calls with and is called by",
                ),
                key(
                    "from",
                    "list of IP addresses and networks, such as `10.1.0.0/16`, `2001:db8::/32`",
                    "any",
                    "where it may call from",
                ),
                key("certificate", "object", "any or none", "which certificates it has to call with"),
                key("token", "object", "none", "what it has to present over HTTP"),
                key(
                    "associations",
                    "number",
                    "`associations_per_peer`",
                    "how many it may have open at the same time, counted for this peer",
                ),
                key("host", "name or IP address", "required to receive, commit or retrieve", "where it listens"),
                key("port", "1 to 65535", "required to receive, commit or retrieve", "where it listens"),
                key("tls", "object", "none", "how it is called by TLS; without it, it is called without"),
                key(
                    "may",
                    "list of `send`, `receive`, `query`, `commit`",
                    "required",
                    "send us images, receive our results, nothing yet (`query`: there is no query as a server), have us commit to keep what it sent (storage commitment; see docs/conformance.md before)",
                ),
                key(
                    "dialect",
                    format!("{}, or an object", words(&dialect::words())),
                    "`generic`",
                    "how it wants structure sets: the object begins `like` one of them",
                ),
                key("retry", "object", "see there", "when a failed delivery is tried again"),
                key(
                    "verify",
                    format!("{}, or an object", words(&VERIFY_WORDS)),
                    "`none`",
                    "how it is asked whether it has what it was sent, before a delivery counts as delivered; a folder and a web server cannot be asked for `commitment`",
                ),
                key(
                    "retrieve",
                    words(&Way::ALL),
                    "none",
                    "how series are fetched from it, by `contourd pull` and for inputs with `fetch`: by C-GET on the association that asks, or by C-MOVE to our first AE title, which it has to know with address and port (and then it has to be a peer that may `send`)",
                ),
                key(
                    "on_warning",
                    words(&OnWarning::ALL),
                    "`accept`",
                    "what is done when it takes an object with a warning that it changed or left out something (Bxxx): nothing, or the delivery fails at once with the cause",
                ),
            ],
        ),
        (
            "dicomweb of a peer",
            "In a peer: a DICOMweb server. With a password or token only by https, or on this machine.",
            vec![
                key(
                    "url",
                    "address",
                    "required",
                    "that under which `/studies` lies, such as `https://pacs:8042/dicom-web`",
                ),
                key("tls", "object", "required for https", "as in a peer"),
                key(
                    "password_file",
                    "file",
                    "none",
                    "holds one line `USER:PASSWORD` (basic authentication); read again for each request",
                ),
                key("token_file", "file", "none", "holds one line, a bearer token; read again for each request"),
            ],
        ),
        (
            "verify",
            "In a peer, for other times than the usual ones.",
            vec![
                key(
                    "by",
                    words(&VERIFY_WORDS[1..]),
                    "required",
                    "C-FIND for each object (QIDO-RS of a web server; the files of a folder are read back and compared); storage commitment",
                ),
                key(
                    "within_s",
                    "number",
                    format!(
                        "{} for `find`, {} for `commitment`",
                        Verification::usual(VerifyBy::Find).within_s,
                        Verification::usual(VerifyBy::Commitment).within_s
                    ),
                    "what it does not show, or report, in so long is not there: it is sent again by `retry`",
                ),
            ],
        ),
        (
            "retry",
            "In a peer.",
            vec![
                key("initial_s", "number", RETRY_DEFAULT.initial_s, "wait after the first failure"),
                key(
                    "multiplier",
                    "1 to 100",
                    RETRY_DEFAULT.multiplier,
                    "each further wait is so many times the one before",
                ),
                key("max_s", "number", RETRY_DEFAULT.max_s, "longest wait"),
                key("max_age_h", "number", hours, "age at which a delivery is given up and waits for an operator"),
            ],
        ),
    ]
}
