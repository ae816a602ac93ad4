//! Authorities, certificates and keys for tests, each with the names, dates and faults that its test needs; keys are P-256.
#![allow(dead_code)] // Each test program uses its part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use sha2::{Digest, Sha256};

/// A certificate with its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    /// Its fingerprint.
    pub sha256: [u8; 32],
    pub der: Vec<u8>,
}

impl Pair {
    fn of(certificate: &Certificate, key: &KeyPair) -> Pair {
        let der = certificate.der().to_vec();
        let sha256 = Sha256::digest(&der).into();
        Pair { certificate: certificate.pem(), key: key.serialize_pem(), sha256, der }
    }

    /// Writes `name.pem` and `name.key`, the key closed to others; the two paths.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::create_dir_all(folder).expect("a folder");
        // The key first: a pair that does not fit together yet is told and not used.
        fs::write(&key, &self.key).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
        fs::write(&certificate, &self.certificate).expect("written");
        (certificate, key)
    }
}

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate with these alternative names, for both sides of TLS.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> Pair {
        self.issue_with(common_name, names, |_| ())
    }

    pub fn issue_with(&self, common_name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(common_name, names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        Pair::of(&params.signed_by(&key, &self.issuer).expect("a certificate"), &key)
    }

    pub fn expired(&self, names: &[&str]) -> Pair {
        self.issue_with("expired", names, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 3, 4));
        })
    }

    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(folder).expect("a folder");
        fs::write(&path, &self.certificate).expect("written");
        path
    }
}

/// A certificate that vouches for itself, as devices have them from the factory.
pub fn self_signed(common_name: &str, names: &[&str]) -> Pair {
    let key = KeyPair::generate().expect("a key");
    Pair::of(&named(common_name, names).self_signed(&key).expect("a certificate"), &key)
}

fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("legal names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
