//! The side that calls: believes the one it called, and presents our certificate when it is asked for one.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::server::check_dates;
use super::{Authorities, Identity, Stream, VERSIONS, certificate, provider};
use crate::dimse::Fingerprint;

/// Why a certificate is believed: an authority vouches for it and its name is right, or its fingerprint is known.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pub authorities: Option<Authorities>,
    pub pinned: BTreeSet<Fingerprint>,
}

/// How one destination is called.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    digest: String,
}

impl ClientTls {
    /// A destination whose certificate has to hold this name (a DNS name or an address).
    ///
    /// # Errors
    /// What rustls does not take, in its words.
    pub fn new(trust: Trust, name: &str, identity: Option<&Identity>) -> Result<ClientTls, String> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name:?}: {error}"))?;
        let authorities = trust.authorities.as_ref();
        let digest = format!(
            "{name:?} {} {:?} {}",
            authorities.map_or("none", |authorities| authorities.digest.as_str()),
            trust.pinned,
            identity.map_or("none", |identity| identity.digest.as_str()),
        );
        let chain = authorities.map(|authorities| {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities.roots), provider()).build()
        });
        let chain = chain.transpose().map_err(|error| error.to_string())?;
        // "Dangerous" is what can be done there: the verifier below does all that the usual one does.
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Called { pinned: trust.pinned, chain }));
        let mut config = match identity {
            Some(identity) => {
                let own = SingleCertAndKey::from(Arc::clone(&identity.certified));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        // A session that is taken up again would spare the look at the certificate.
        config.resumption = Resumption::disabled();
        Ok(ClientTls { config: Arc::new(config), name, digest })
    }

    /// The handshake; the time limit is that of whoever waits. Never falls back to a connection without TLS.
    ///
    /// # Errors
    /// As [`super::explain()`] explains them.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({})", self.digest)
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientTls {}

/// Whether the one that was called is the one that was meant.
#[derive(Debug)]
struct Called {
    pinned: BTreeSet<Fingerprint>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Called {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.contains(&certificate::fingerprint(own)) {
            return check_dates(own, now).map(|()| ServerCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(own, rest, name, ocsp, now),
            // Only fingerprints are believed: the operator needs that of this certificate, to compare it.
            None => Err(Error::General(format!("its fingerprint is {}", certificate::fingerprint(own)))),
        }
    }

    proof_of_the_key!();
}
