//! What the other side of a connection presents, for people who look for a fault; nothing is believed because of it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Stream, VERSIONS, certificate, provider};
use crate::dimse::Fingerprint;

/// What a handshake has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Such as `TLSv1_3`.
    pub version: String,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub suite: String,
    /// That of the other side first, then those that lead to its authority.
    pub chain: Vec<Presented>,
}

/// A certificate as it was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// DNS names, addresses and common name.
    pub names: Vec<String>,
    /// Who vouches for it.
    pub issuer: Option<String>,
    /// From when and until when it holds.
    pub validity: Option<(Timestamp, Timestamp)>,
    pub fingerprint: Fingerprint,
}

impl Stream {
    /// What was agreed on; `None` without TLS.
    pub fn agreed(&self) -> Option<Agreed> {
        let Stream::Tls(stream) = self else { return None };
        Some(agreed(stream.get_ref().1))
    }
}

fn agreed(connection: &ClientConnection) -> Agreed {
    Agreed {
        version: connection.protocol_version().map_or_else(String::new, |version| format!("{version:?}")),
        suite: connection.negotiated_cipher_suite().map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        chain: connection.peer_certificates().unwrap_or_default().iter().map(presented).collect(),
    }
}

fn presented(own: &CertificateDer<'_>) -> Presented {
    Presented {
        names: certificate::names(own),
        issuer: certificate::issuer(own),
        validity: certificate::validity(own),
        fingerprint: certificate::fingerprint(own),
    }
}

/// The certificates that a host presents, whether they may be believed or not. The connection is for nothing else: it
/// is closed, and nothing is sent over it.
///
/// # Errors
/// The handshake broke before a certificate came.
pub async fn inspect(stream: TcpStream, host: &str) -> io::Result<Vec<Presented>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let looker = Arc::new(Looker::default());
    // "Dangerous" is to talk over such a connection, which nobody does.
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(looker.clone())
        .with_no_client_auth();
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let seen = std::mem::take(&mut *looker.seen.lock().unwrap_or_else(PoisonError::into_inner));
    match shaken {
        // A host that wants a certificate of ours ends the handshake after it has shown its own.
        Err(error) if seen.is_empty() => Err(error),
        _ => Ok(seen),
    }
}

/// Remembers what is presented.
#[derive(Debug, Default)]
struct Looker {
    seen: Mutex<Vec<Presented>>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(own).chain(rest).map(presented).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    proof_of_the_key!();
}
