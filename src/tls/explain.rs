//! Says what went wrong with TLS, and who can mend it; rustls' own words are for those who know the protocol.

use std::io;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Which side we are: what the other one's certificate is good for, and where the cure lies, differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// We called.
    Calling,
    /// We were called.
    Called,
}

/// Explains an error of a connection that we opened; `None` when it has nothing to do with TLS.
pub fn explain(error: &io::Error) -> Option<String> {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    is_tls.then(|| explain_as(Side::Calling, error))
}

/// Explains an error of a handshake that we began.
pub fn explain_handshake(error: &io::Error) -> String {
    explain_as(Side::Calling, error)
}

/// Explains an error of a handshake.
pub(super) fn explain_as(side: Side, error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "the other side closed the connection during the TLS handshake; it does not speak TLS here, or does not \
                 take our certificate, version or suites, and says why in its own log"
                    .to_owned()
            }
            _ => format!("the TLS handshake broke: {error}"),
        };
    };
    match tls {
        Error::InvalidCertificate(what) => certificate(side, what),
        Error::AlertReceived(alert) => received(side, *alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => match side {
            Side::Calling => "it does not speak TLS on this port; take its TLS port, or take \"tls\" out of the peer's \
                              file"
                .to_owned(),
            Side::Called => "it does not speak TLS; let it call the plain port, or switch TLS on at the peer".to_owned(),
        },
        Error::NoCertificatesPresented => {
            "it presented no certificate, and one is required (\"clients\" of \"tls\" in ae-config/gateway.json); give the \
             peer a certificate of an authority in client_authorities"
                .to_owned()
        }
        Error::PeerIncompatible(what) => format!(
            "no common version or suite ({what:?}); expected TLS 1.2 or 1.3 with ECDHE and AES-GCM or ChaCha20, as PS3.15 \
             B.12 has it; switch them on at the peer"
        ),
        Error::General(what) => format!(
            "its certificate is none of those that are believed ({what}); compare it with what the peer's operator says, \
             then enter it in \"sha256\" of the peer's \"tls\""
        ),
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn certificate(side: Side, what: &CertificateError) -> String {
    let trusted = match side {
        Side::Calling => "\"authorities\" of the peer's \"tls\"",
        Side::Called => "\"client_authorities\" in ae-config/gateway.json",
    };
    match what {
        CertificateError::Expired => "its certificate has expired; the peer needs a new one".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired on {}; the peer needs a new one", day(*not_after))
        }
        CertificateError::NotValidYet => "its certificate does not hold yet; compare the clocks".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate does not hold before {}; compare the clocks", day(*not_before))
        }
        CertificateError::UnknownIssuer => format!(
            "no authority of {trusted} vouches for its certificate; put the certificate of its authority there, and let \
             the peer send those in between, or enter the SHA-256 of its certificate"
        ),
        CertificateError::NotValidForName => {
            "its certificate does not hold the name it was called by; correct \"name\" of the peer's \"tls\"".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate does not hold the name {:?} but {}; correct \"name\" of the peer's \"tls\", or enter the \
             SHA-256 of the certificate",
            expected.to_str(),
            names(presented),
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let purpose = if side == Side::Calling { "serverAuth" } else { "clientAuth" };
            format!("its certificate is not made for this side (extended key usage); it needs {purpose}")
        }
        CertificateError::Other(_) => format!(
            "its certificate cannot be used ({what}); one that signed itself as an authority is believed by its SHA-256 alone"
        ),
        _ => format!("its certificate is not good: {what}"),
    }
}

/// The names of a certificate as people write them: rustls gives `DnsName("a.example")`, `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inside = name.split_once('(').map_or(name.as_str(), |(_, inside)| inside.trim_end_matches(')'));
        inside.trim_matches('"').escape_debug().to_string()
    };
    match presented {
        [] => "none (a common name alone does not count)".to_owned(),
        names => names.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

fn received(side: Side, alert: AlertDescription) -> String {
    let ours = match side {
        Side::Calling => "the certificate that we present to it",
        Side::Called => "the certificate of \"tls\" in ae-config/gateway.json",
    };
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a certificate of ours; set \"certificate\" and \"key\" in \"tls\" of the peer or of the gateway"
                .to_owned()
        }
        AlertDescription::UnknownCA => {
            format!("it does not know the authority of {ours} (alert {alert:?}); let its operator enter the authority")
        }
        AlertDescription::CertificateExpired => {
            format!("it says that {ours} has expired; renew it, or compare the clocks")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!("it does not take {ours} (alert {alert:?}); its own log says why")
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => {
            format!(
                "no common version or suite (alert {alert:?}); we speak TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20; \
                 or it wants a certificate of ours"
            )
        }
        other => format!("it ended the TLS handshake (alert {other:?})"),
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| "an unknown day".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}
