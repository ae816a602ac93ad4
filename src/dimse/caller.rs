//! Who calls, and which of the known peers that is: by title, address and certificate. It decides; it asks no socket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::Rejection;

/// What one peer may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The name of the peer; associations are counted by it.
    pub name: String,
    /// Where it may call from; empty for any address. A title alone proves nothing.
    pub from: Vec<Network>,
    /// What its certificate has to be; without it, any certificate or none.
    pub certificate: Option<CertificateRule>,
    /// SHA-256 of the tokens that it may present over HTTP: any of them will do. Associations have none.
    pub tokens: Vec<Fingerprint>,
    /// Most associations at the same time, where it is not what holds for every peer.
    pub associations_max: Option<usize>,
    /// Whether it may store; C-ECHO is open to every known caller.
    pub may_send: bool,
    /// Whether it may ask us to commit to what it has stored (PS3.4 J).
    pub may_commit: bool,
    /// Whether we ask it for storage commitment, so that it may report to us.
    pub may_report: bool,
}

impl Caller {
    /// Whether it may call from there, with that certificate.
    pub(super) fn admits(&self, origin: Origin<'_>) -> bool {
        self.is_at(origin) && self.is_certified(origin)
    }

    fn is_at(&self, origin: Origin<'_>) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(origin.address))
    }

    fn is_certified(&self, origin: Origin<'_>) -> bool {
        let admits = |rule: &CertificateRule| origin.certificate.is_some_and(|found| rule.admits(found));
        self.certificate.as_ref().is_none_or(admits)
    }
}

/// What a caller may do: all that the peers may that it can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rights<'a> {
    pub send: bool,
    /// As which peer it may ask for storage commitment: of several, the one that says most about itself.
    pub commit: Option<&'a Caller>,
    /// As which peers it may report on ours.
    pub report: Vec<&'a Caller>,
}

/// Addresses with the same first bits; one address alone is a network too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NetworkError {
    #[error("no IP address before the slash")]
    Address,
    #[error("a prefix that is no number from 0 to {0}")]
    Prefix(u8),
    #[error("bits of a host behind the prefix; the network is {0}")]
    Host(Network),
}

impl Network {
    /// Whether an address lies in it; an IPv4 address in IPv6 clothes (::ffff:0:0/96) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let same_family = address.is_ipv4() == self.address.is_ipv4();
        same_family && masked(address, self.prefix) == self.address
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `10.1.2.3`, `10.1.0.0/16`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let address = if prefix.is_none() { address.to_canonical() } else { address };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => longest,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest && plain(text))
                .ok_or(NetworkError::Prefix(longest))?,
        };
        // Callers over IPv4 are compared by their IPv4 addresses, however the system shows them.
        let (address, prefix) = match address.to_canonical() {
            short @ IpAddr::V4(_) if address.is_ipv6() && prefix >= MAPPED_PREFIX => (short, prefix - MAPPED_PREFIX),
            _ => (address, prefix),
        };
        let network = Network { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(NetworkError::Host(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix == whole {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

/// Bits before the IPv4 address in an address that stands for one (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// SHA-256 of a certificate as it is sent (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

/// Why a text is no fingerprint.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not 64 hexadecimal digits, with or without colons between the bytes")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// As `openssl x509 -noout -fingerprint -sha256` writes it, or the digits alone.
    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let digits: Vec<u8> = if text.contains(':') {
            let pairs: Vec<&str> = text.split(':').collect();
            if pairs.iter().any(|pair| pair.len() != 2) {
                return Err(FingerprintError);
            }
            pairs.concat().into_bytes()
        } else {
            text.as_bytes().to_vec()
        };
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(FingerprintError);
        }
        let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0]) << 4 | value(pair[1]);
        }
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificate that a caller has presented and whose key it has proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub fingerprint: Fingerprint,
    /// Names of it that an authority vouches for: DNS names, addresses, the common name. A certificate that is known by
    /// its fingerprint alone has none, because anybody can write a name into a certificate of their own.
    pub names: Vec<String>,
}

/// Which certificates a peer may present: any of them will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRule {
    pub sha256: Vec<Fingerprint>,
    pub names: Vec<String>,
}

impl CertificateRule {
    /// Whether this certificate is one of them.
    pub fn admits(&self, certificate: &Certificate) -> bool {
        let named = |name: &String| certificate.names.iter().any(|found| found.eq_ignore_ascii_case(name));
        self.sha256.contains(&certificate.fingerprint) || self.names.iter().any(named)
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub address: IpAddr,
    /// What it presented over TLS; `None` without TLS, and where it presented nothing.
    pub certificate: Option<&'a Certificate>,
}

/// The peer that calls, and whether it may store, among those with the calling title.
///
/// Of several with one title (a scanner and its console) those count whose address and certificate fit: what one of them
/// may, the caller may. It is counted as the one that says most about itself.
pub(super) fn identify<'a>(known: &'a [Caller], origin: Origin<'_>) -> Result<(&'a Caller, Rights<'a>), Rejection> {
    if known.is_empty() {
        return Err(Rejection::CallingAeTitle);
    }
    let here: Vec<&Caller> = known.iter().filter(|caller| caller.is_at(origin)).collect();
    if here.is_empty() {
        return Err(Rejection::CallingAddress);
    }
    let fitting: Vec<&Caller> = here.into_iter().filter(|caller| caller.is_certified(origin)).collect();
    let says = |caller: &&Caller| (caller.certificate.is_some(), !caller.from.is_empty());
    // Of equals the first: `max_by_key` takes the last.
    let first = |may: fn(&Caller) -> bool| fitting.iter().copied().filter(|c| may(c)).rev().max_by_key(says);
    let rights = Rights {
        send: fitting.iter().any(|caller| caller.may_send),
        commit: first(|caller| caller.may_commit),
        report: fitting.iter().copied().filter(|caller| caller.may_report).collect(),
    };
    let missing = if origin.certificate.is_some() { Rejection::CallingCertificate } else { Rejection::NoCertificate };
    first(|_| true).map(|caller| (caller, rights)).ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn networks_hold_what_shares_their_first_bits() {
        for (text, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.0.0/16", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("10.0.0.128/25", "10.0.0.128", "10.0.0.127"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.200.0.1", "11.0.0.1"),
        ] {
            let (network, ip) = (network(text), |text: &str| text.parse::<IpAddr>().expect("an address"));
            assert!(network.contains(ip(inside)), "{text} holds {inside}");
            assert!(!network.contains(ip(outside)), "{text} does not hold {outside}");
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        let check = |text: &str| text.parse::<Network>().expect_err(text).to_string();
        assert_eq!(check("10.0.0.1/8"), "bits of a host behind the prefix; the network is 10.0.0.0/8");
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/256"] {
            assert!(check(text).starts_with("a prefix that is no number"), "{text}");
        }
        for text in ["", "/8", "host", "10.0.0", "10.0.0.0 /8"] {
            assert_eq!(check(text), "no IP address before the slash", "{text}");
        }
    }

    #[test]
    fn reads_fingerprints_as_openssl_writes_them() {
        let text = ["AB"; 32].join(":");
        let found: Fingerprint = text.parse().expect("a fingerprint");
        assert_eq!((found, found.to_string()), (Fingerprint([0xAB; 32]), text.clone()));
        assert_eq!(text.replace(':', "").to_lowercase().parse(), Ok(found));
        for bad in ["", "AB", &text[1..], &text.replace("AB:AB", "ABAB:"), &text.replace('A', "G"), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError), "{bad}");
        }
    }

    fn caller(name: &str, from: &[&str], certificate: Option<u8>, may_send: bool) -> Caller {
        let rule = |byte| CertificateRule { sha256: vec![Fingerprint([byte; 32])], names: vec!["ct.example".into()] };
        let from = from.iter().map(|text| network(text)).collect();
        Caller { name: name.into(), from, certificate: certificate.map(rule), may_send, ..Caller::default() }
    }

    fn check(known: &[Caller], address: &str, certificate: Option<Certificate>) -> Result<(String, bool), Rejection> {
        let origin = Origin { address: address.parse().expect("an address"), certificate: certificate.as_ref() };
        identify(known, origin).map(|(caller, rights)| (caller.name.clone(), rights.send))
    }

    fn presented(byte: u8, names: &[&str]) -> Option<Certificate> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(Certificate { fingerprint: Fingerprint([byte; 32]), names })
    }

    #[test]
    fn of_several_with_one_title_the_one_that_may_commits() {
        let may = |name: &str, certificate: Option<u8>, may_commit: bool, may_report: bool| Caller {
            may_commit,
            may_report,
            ..caller(name, &[], certificate, true)
        };
        let known = [may("a", None, true, true), may("b", Some(1), true, true), may("c", None, false, true)];
        let told = |known: &[Caller], certificate: Option<Certificate>| {
            let address = "10.0.0.1".parse().expect("an address");
            let (_, rights) = identify(known, Origin { address, certificate: certificate.as_ref() }).expect("known");
            let reports: Vec<String> = rights.report.iter().map(|caller| caller.name.clone()).collect();
            (rights.commit.map(|caller| caller.name.clone()), reports.join(" "))
        };
        assert_eq!(told(&known, presented(1, &[])), (Some("b".to_owned()), "a b c".to_owned()));
        assert_eq!(told(&known, None), (Some("a".to_owned()), "a c".to_owned()), "it cannot be the one with TLS");
        assert_eq!(told(&known[2..], None), (None, "c".to_owned()));
    }

    #[test]
    fn says_which_rule_a_caller_breaks() {
        let known = [caller("ct", &["10.0.0.0/8"], Some(1), true)];
        let good = Ok(("ct".to_owned(), true));
        assert_eq!(check(&[], "10.0.0.1", None), Err(Rejection::CallingAeTitle));
        assert_eq!(check(&known, "11.0.0.1", presented(1, &[])), Err(Rejection::CallingAddress));
        assert_eq!(check(&known, "10.0.0.1", None), Err(Rejection::NoCertificate));
        assert_eq!(check(&known, "10.0.0.1", presented(2, &["other.example"])), Err(Rejection::CallingCertificate));
        assert_eq!(check(&known, "10.0.0.1", presented(1, &[])), good);
        assert_eq!(check(&known, "10.0.0.1", presented(2, &["x", "CT.example"])), good);
    }

    #[test]
    fn tells_peers_of_one_title_apart_by_address() {
        let known = [caller("any", &[], None, false), caller("ct", &["10.0.0.1"], None, true)];
        assert_eq!(check(&known, "10.0.0.1", None), Ok(("ct".to_owned(), true)));
        assert_eq!(check(&known, "10.0.0.2", None), Ok(("any".to_owned(), false)), "what another may is not for it");
        let same = [caller("console", &[], None, false), caller("scanner", &[], None, true)];
        assert_eq!(check(&same, "10.0.0.2", None), Ok(("console".to_owned(), true)), "nothing tells them apart");
    }
}
