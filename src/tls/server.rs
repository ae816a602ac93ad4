//! The side that is called: presents our certificate, asks for that of the caller, says whose it is.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DistinguishedName, Error, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::explain::{Side, explain_as};
use super::{Authorities, Identity, VERSIONS, certificate, provider};
use crate::dimse::{Certificate, Fingerprint};
use crate::limits::LINGER_BYTES_MAX;

/// A connection after its handshake.
pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Whether callers have to present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Without a good one there is no connection.
    Required,
    /// One that is presented has to be good.
    Optional,
    /// They are not asked for one.
    None,
}

impl Clients {
    /// The words of the configuration.
    pub const ALL: [(&'static str, Clients); 3] =
        [("required", Clients::Required), ("optional", Clients::Optional), ("none", Clients::None)];
}

/// What a TLS port presents and asks for.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    callers: Arc<Callers>,
    digest: String,
}

/// A handshake that failed, with what is left of the connection.
pub struct Refused {
    /// Why, for the log.
    pub reason: String,
    stream: TcpStream,
}

impl Refused {
    /// Closes so that the caller gets the alert that says why: over unread bytes the connection would be reset.
    pub async fn close(mut self) {
        let drained = async {
            self.stream.shutdown().await?;
            let (mut buffer, mut taken) = ([0; 1_024], 0);
            while taken < LINGER_BYTES_MAX {
                match self.stream.read(&mut buffer).await? {
                    0 => break,
                    count => taken += count,
                }
            }
            io::Result::Ok(())
        };
        // Whatever happened, the connection is closed when this is dropped.
        let _ = drained.await;
    }
}

impl ServerTls {
    /// A port with this identity. Callers are believed that `authorities` vouch for, or whose certificate is `pinned`.
    ///
    /// # Errors
    /// What rustls does not take, in its words.
    pub fn new(
        identity: &Identity,
        clients: Clients,
        authorities: Option<&Authorities>,
        pinned: BTreeSet<Fingerprint>,
    ) -> Result<ServerTls, String> {
        let digest = format!(
            "{} {clients:?} {} {pinned:?}",
            identity.digest,
            authorities.map_or("none", |authorities| authorities.digest.as_str()),
        );
        let roots = authorities.map_or_else(|| Arc::new(RootCertStore::empty()), |found| Arc::clone(&found.roots));
        let chain = match (clients, roots.is_empty()) {
            (Clients::None, _) | (_, true) => None,
            _ => {
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
                Some(builder.build().map_err(|error| error.to_string())?)
            }
        };
        let callers = Arc::new(Callers { clients, pinned, chain });
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(callers.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
        // A session that is taken up again would spare the look at its certificate, which may have ended meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(ServerTls { config: Arc::new(config), callers, digest })
    }

    /// The handshake. It ends when the caller is done or wrong; the time limit is that of whoever waits.
    ///
    /// # Errors
    /// [`Refused`], with the reason.
    pub async fn accept(&self, stream: TcpStream) -> Result<(ServerStream, Option<Certificate>), Refused> {
        let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).into_fallible().await;
        let stream =
            accepted.map_err(|(error, stream)| Refused { reason: explain_as(Side::Called, &error), stream })?;
        let presented = stream.get_ref().1.peer_certificates();
        let certificate =
            presented.and_then(|chain| chain.split_first()).map(|(own, rest)| self.callers.know(own, rest));
        Ok((stream, certificate))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.digest)
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &ServerTls) -> bool {
        self.digest == other.digest
    }
}

/// Whose certificates are believed.
#[derive(Debug)]
struct Callers {
    clients: Clients,
    /// Fingerprints of the peers' files.
    pinned: BTreeSet<Fingerprint>,
    /// `None` without authorities.
    chain: Option<Arc<dyn ClientCertVerifier>>,
}

impl Callers {
    fn know(&self, own: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Certificate {
        let vouched =
            self.chain.as_ref().is_some_and(|chain| chain.verify_client_cert(own, rest, UnixTime::now()).is_ok());
        let names = if vouched { certificate::names(own) } else { Vec::new() };
        Certificate { fingerprint: certificate::fingerprint(own), names }
    }
}

impl ClientCertVerifier for Callers {
    fn offer_client_auth(&self) -> bool {
        self.clients != Clients::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::Required
    }

    /// Some callers (Windows' Schannel) present nothing that no authority on this list has signed, so that with pinned
    /// certificates there must be no list.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.chain {
            Some(chain) if self.pinned.is_empty() => chain.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.pinned.contains(&certificate::fingerprint(own)) {
            return check_dates(own, now).map(|()| ClientCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => chain.verify_client_cert(own, rest, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    proof_of_the_key!();
}

/// The dates of a certificate that is known by its fingerprint.
pub(super) fn check_dates(own: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (not_before, not_after) = certificate::validity(own).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < not_before.as_second() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > not_after.as_second() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
