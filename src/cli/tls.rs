//! The options of `echo` and `send` that say how a node is called by TLS.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::dimse::Fingerprint;
use crate::tls::{Authorities, ClientTls, FileProblem, Identity, Trust};

/// Call by TLS: by what the node is believed, and what is presented to it.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Call by TLS and believe a node that these authorities (PEM) vouch for.
    #[arg(long, value_name = "FILE")]
    tls_authorities: Option<PathBuf>,
    /// Call by TLS and believe the node with this certificate (SHA-256); again for more.
    #[arg(long, value_name = "SHA256")]
    tls_sha256: Vec<Fingerprint>,
    /// Name that the certificate of the node has to hold, if not the host.
    #[arg(long, value_name = "NAME", requires = "tls_authorities")]
    tls_name: Option<String>,
    /// Our own certificate (PEM), for a node that asks for one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// How this host is called; `None` without TLS.
    pub(super) fn client(&self, host: &str) -> anyhow::Result<Option<ClientTls>> {
        if self.tls_authorities.is_none() && self.tls_sha256.is_empty() {
            let what =
                "found a certificate to present and nobody to believe, expected --tls-authorities or --tls-sha256";
            anyhow::ensure!(self.tls_certificate.is_none(), what);
            return Ok(None);
        }
        let told = |problem: FileProblem| {
            let FileProblem { file, found, expected, cure } = problem;
            anyhow::anyhow!("{}: found {found}, expected {expected}; {cure}", file.display())
        };
        let authorities = self.tls_authorities.as_deref().map(Authorities::read).transpose().map_err(told)?;
        let own = self.tls_certificate.as_deref().zip(self.tls_key.as_deref());
        let identity = own.map(|(certificate, key)| Identity::read(certificate, key)).transpose().map_err(told)?;
        let trust = Trust { authorities, pinned: BTreeSet::from_iter(self.tls_sha256.iter().copied()) };
        let name = self.tls_name.as_deref().unwrap_or(host);
        let client = ClientTls::new(trust, name, identity.as_ref()).map_err(anyhow::Error::msg)?;
        Ok(Some(client))
    }
}
