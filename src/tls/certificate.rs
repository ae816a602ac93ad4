//! What a certificate says of itself (RFC 5280); whether it may be believed is decided elsewhere.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::{Certificate, time};

use crate::dimse::Fingerprint;

/// Attribute commonName (RFC 4519 2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// SHA-256 of the certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate.as_ref()).into())
}

/// From when and until when it holds; `None` when it cannot be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let parsed = Certificate::from_der(certificate.as_ref()).ok()?;
    let moment = |time: time::Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok();
        // The year 9999, "no well-defined end" (RFC 5280 4.1.2.5), is the last that a timestamp can hold.
        seconds.map(|seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
    };
    let validity = &parsed.tbs_certificate.validity;
    Some((moment(validity.not_before)?, moment(validity.not_after)?))
}

/// Who vouches for it, as the certificate names it (RFC 4514); `None` when it cannot be read.
pub(super) fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(certificate.as_ref()).ok()?;
    Some(parsed.tbs_certificate.issuer.to_string())
}

/// Its DNS names and addresses, and the common name of its subject.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = Certificate::from_der(certificate.as_ref()) else { return Vec::new() };
    let mut names = Vec::new();
    if let Ok(Some((_, SubjectAltName(alternatives)))) = parsed.tbs_certificate.get::<SubjectAltName>() {
        names.extend(alternatives.iter().filter_map(alternative));
    }
    let attributes = parsed.tbs_certificate.subject.0.iter().flat_map(|relative| relative.0.iter());
    let common = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    names.extend(common.filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned)));
    names
}

fn alternative(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            bytes if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}
