//! TLS of both directions (PS3.15 B.12): certificates and keys out of files, whom we trust, what we present. It knows no
//! DICOM and opens no socket; the handshakes run on streams that others have opened.
//!
//! TLS 1.2 and 1.3, ephemeral elliptic curves and authenticated encryption only: rustls has nothing weaker, and no
//! setting makes it weaker. A certificate is trusted because an authority vouches for it, or because its fingerprint was
//! written down; dates count in both cases, and the other side always proves that it holds the key.

/// What the verifiers of both directions have in common: that the other side holds the key of its certificate, as rustls
/// proves it. Its traits ask each verifier for these, and have no default.
macro_rules! proof_of_the_key {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            own: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &super::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, own, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            own: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &super::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, own, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            super::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

mod certificate;
mod client;
mod explain;
mod files;
mod inspect;
mod server;
mod stream;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

pub use client::{ClientTls, Trust};
pub use explain::{explain, explain_handshake};
pub(crate) use files::check_private;
pub use files::{Authorities, FileProblem, Identity};
pub use inspect::{Agreed, Presented, inspect};
pub use server::{Clients, Refused, ServerStream, ServerTls};
pub use stream::Stream;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The cipher suites of both directions, in the order of preference, for the conformance statement.
pub fn suites() -> Vec<String> {
    let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    provider().cipher_suites.iter().map(name).collect()
}

/// The cryptography of every connection, made once: X25519, P-256 and P-384; AES-GCM and ChaCha20-Poly1305.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
