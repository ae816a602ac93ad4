//! Certificates, keys and authorities as files in PEM (RFC 7468): read, held against each other, told what is wrong.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};

use super::{certificate, provider};
use crate::limits::TLS_FILE_BYTES_MAX;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    pub file: PathBuf,
    pub found: String,
    pub expected: String,
    pub cure: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    /// From when the certificate holds.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Its names, for people.
    pub names: Vec<String>,
    /// Says whether two are the same.
    pub(super) digest: String,
}

/// Authorities whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) digest: String,
}

impl Identity {
    /// Reads a certificate (its own first, then those between it and the authority) and its key (PKCS#8, PKCS#1 or SEC1).
    /// The dates are not judged here.
    ///
    /// # Errors
    /// A file cannot be read, holds something else, or the two do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Identity, FileProblem> {
        let chain_text = read(certificate, "a certificate in PEM")?;
        let chain = certificates(certificate, &chain_text, "the gateway's own certificate, in PEM")?;
        let key_text = read(key, "a private key in PEM")?;
        check_private(key, "a private key")?;
        let problem = |found: &str, cure: &str| FileProblem {
            file: key.to_owned(),
            found: found.to_owned(),
            expected: "an unencrypted private key in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned(),
            cure: cure.to_owned(),
        };
        let parsed = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| {
            let encrypted = String::from_utf8_lossy(&key_text).contains("ENCRYPTED");
            if encrypted {
                problem(
                    "an encrypted key",
                    "write it without a passphrase: `openssl pkey -in OLD -out NEW`; nobody types one at night",
                )
            } else {
                problem("no private key", "name the file that begins with -----BEGIN PRIVATE KEY-----")
            }
        })?;
        let signer = provider().key_provider.load_private_key(parsed).map_err(|error| {
            problem(
                &format!("a key that cannot be used ({error})"),
                "make one of RSA with 2048 to 4096 bits, P-256, P-384 or Ed25519",
            )
        })?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(FileProblem {
                    file: certificate.to_owned(),
                    found: format!("a first certificate of another key than {}", key.display()),
                    expected: "the certificate of this key, and after it those between it and the authority".to_owned(),
                    cure: "put the two together that belong together, its own certificate first".to_owned(),
                });
            }
            Err(error) => return Err(unreadable(certificate, &error.to_string())),
        }
        let own = certified.end_entity_cert().map_err(|error| unreadable(certificate, &error.to_string()))?;
        let (not_before, not_after) =
            certificate::validity(own).ok_or_else(|| unreadable(certificate, "its dates cannot be read"))?;
        let names = certificate::names(own);
        let digest = digest(&[&chain_text, &key_text]);
        Ok(Identity { certified: Arc::new(certified), not_before, not_after, names, digest })
    }

    /// Whether the certificate holds at this time.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl Authorities {
    /// Reads certificates of authorities.
    ///
    /// # Errors
    /// The file cannot be read, or holds a certificate that cannot be the end of a chain.
    pub fn read(file: &Path) -> Result<Authorities, FileProblem> {
        let text = read(file, "certificates of authorities in PEM")?;
        let mut roots = RootCertStore::empty();
        for found in certificates(file, &text, "certificates of authorities, in PEM")? {
            roots.add(found).map_err(|error| unreadable(file, &error.to_string()))?;
        }
        Ok(Authorities { roots: Arc::new(roots), digest: digest(&[&text]) })
    }
}

fn certificates(file: &Path, text: &[u8], expected: &str) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| unreadable(file, &error.to_string()))?;
    if found.is_empty() {
        return Err(FileProblem {
            file: file.to_owned(),
            found: "no certificate".to_owned(),
            expected: expected.to_owned(),
            cure: "a file in DER becomes PEM by `openssl x509 -inform der -in OLD -out NEW`".to_owned(),
        });
    }
    Ok(found)
}

fn unreadable(file: &Path, why: &str) -> FileProblem {
    FileProblem {
        file: file.to_owned(),
        found: format!("a certificate that cannot be used ({why})"),
        expected: "X.509 certificates in PEM".to_owned(),
        cure: "look at it by `openssl x509 -noout -text -in FILE`".to_owned(),
    }
}

fn read(file: &Path, expected: &str) -> Result<Vec<u8>, FileProblem> {
    let problem = |found: String, cure: &str| FileProblem {
        file: file.to_owned(),
        found,
        expected: expected.to_owned(),
        cure: cure.to_owned(),
    };
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(file)?.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > TLS_FILE_BYTES_MAX => {
            Err(problem(format!("more than {TLS_FILE_BYTES_MAX} bytes"), "name the right file"))
        }
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(problem(
            "nothing there".to_owned(),
            "put the file there; names are relative to the configuration folder",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(problem(error.to_string(), "let the user that contourd runs as read it"))
        }
        Err(error) => Err(problem(error.to_string(), "put a file there that can be read")),
    }
}

/// A key, or a password, that every user of the machine can read is no secret; `what` it is called.
pub(crate) fn check_private(file: &Path, what: &str) -> Result<(), FileProblem> {
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 == 0 {
        return Ok(());
    }
    Err(FileProblem {
        file: file.to_owned(),
        found: format!("{what} with mode {:03o}, open to every user", mode & 0o777),
        expected: "one that its owner and group alone can read".to_owned(),
        cure: format!("chmod o= {}", file.display()),
    })
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(Sha256::digest(part)));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
