//! Which peer sends an HTTP request, that names no AE title by itself: by token, certificate and address. It decides; it
//! asks no socket.

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::acceptance::Acceptance;
use super::caller::{Caller, Fingerprint, Origin};
use crate::dicom::AeTitle;

/// What a request says of who sends it (RFC 9110 11.6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user of `Basic`: the AE title that it would call with.
    pub calling: Option<AeTitle>,
    /// SHA-256 of the token: that of `Bearer`, or the password of `Basic`. The token itself is kept nowhere.
    pub token: Option<Fingerprint>,
}

impl Credentials {
    /// A token as it was presented.
    pub fn hashed(token: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(token).into())
    }
}

/// The peer that sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebCaller {
    /// The title that it would call with.
    pub calling: AeTitle,
    /// The name of the peer; requests are counted by it.
    pub name: String,
    /// Most requests at the same time, where it is not what holds for every peer.
    pub requests_max: Option<usize>,
}

/// Why nobody is believed to be the sender. The sender learns less than the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WebRefusal {
    #[error(
        "no peer of ae-config/peers fits this address, certificate and token; see \"from\", \"certificate\" and \"token\" there"
    )]
    Unknown,
    #[error(
        "several peers fit this address and certificate; let it name its AE title as the user of Basic, or give each a \"token\""
    )]
    Ambiguous,
    #[error("the peer may not send; see \"may\" in its file")]
    MayNotSend,
}

impl Acceptance {
    /// The peer that sends a request.
    ///
    /// A peer fits when all holds that its file demands of callers: its networks, its certificate, its token; a token that
    /// is presented has to be its. One that demands nothing of all that has to be named, as an association names it.
    ///
    /// # Errors
    /// [`WebRefusal`].
    pub fn identify_web(&self, credentials: &Credentials, origin: Origin<'_>) -> Result<WebCaller, WebRefusal> {
        let named = |title: &AeTitle| credentials.calling.as_ref().is_none_or(|calling| calling == title);
        let proves = |caller: &Caller| {
            let demands = !caller.tokens.is_empty() || caller.certificate.is_some() || !caller.from.is_empty();
            demands || credentials.calling.is_some()
        };
        let has_token = |caller: &Caller| match &credentials.token {
            Some(token) => caller.tokens.contains(token),
            None => caller.tokens.is_empty(),
        };
        let known = self.callers.iter().filter(|(title, _)| named(title));
        let all = known.flat_map(|(title, callers)| callers.iter().map(move |caller| (title, caller)));
        let fits = |caller: &Caller| proves(caller) && has_token(caller) && caller.admits(origin);
        let fitting: Vec<(&AeTitle, &Caller)> = all.filter(|(_, caller)| fits(caller)).collect();
        let says = |caller: &Caller| (!caller.tokens.is_empty(), caller.certificate.is_some(), !caller.from.is_empty());
        let most = fitting.iter().map(|(_, caller)| says(caller)).max().ok_or(WebRefusal::Unknown)?;
        let mut best = fitting.iter().filter(|(_, caller)| says(caller) == most);
        let (calling, first) = best.next().ok_or(WebRefusal::Unknown)?;
        if best.any(|(title, _)| title != calling) {
            return Err(WebRefusal::Ambiguous);
        }
        if !fitting.iter().any(|(title, caller)| title == calling && caller.may_send) {
            return Err(WebRefusal::MayNotSend);
        }
        let (calling, name) = ((*calling).clone(), first.name.clone());
        Ok(WebCaller { calling, name, requests_max: first.associations_max })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dimse::{Certificate, CertificateRule};

    fn caller(name: &str, token: &str, certificate: bool, from: &str) -> Caller {
        let rule = CertificateRule { sha256: vec![Fingerprint([7; 32])], names: Vec::new() };
        Caller {
            name: name.to_owned(),
            tokens: if token.is_empty() { Vec::new() } else { vec![Credentials::hashed(token.as_bytes())] },
            certificate: certificate.then_some(rule),
            from: from.parse().into_iter().collect(),
            may_send: name != "viewer",
            ..Caller::default()
        }
    }

    fn check(user: &str, token: &str, certificate: bool, address: &str) -> Result<String, WebRefusal> {
        let mut acceptance = Acceptance::default();
        let mut known: BTreeMap<AeTitle, Vec<Caller>> = BTreeMap::new();
        for (title, caller) in [
            ("PACS", caller("pacs", "secret", false, "")),
            ("CERT", caller("cert", "", true, "")),
            ("BOTH", caller("both", "other", true, "10.0.0.0/8")),
            ("CT1", caller("ct1", "", false, "10.1.0.0/16")),
            ("CT2", caller("ct2", "", false, "10.1.0.0/16")),
            ("CT3", caller("ct3", "", false, "10.3.0.1")),
            ("OPEN", caller("open", "", false, "")),
            ("LOOK", caller("viewer", "look", false, "")),
        ] {
            known.entry(title.parse().expect("a title")).or_default().push(caller);
        }
        acceptance.callers = known;
        let credentials = Credentials {
            calling: user.parse().ok(),
            token: (!token.is_empty()).then(|| Credentials::hashed(token.as_bytes())),
        };
        let presented = Certificate { fingerprint: Fingerprint([7; 32]), names: Vec::new() };
        let address = address.parse().expect("an address");
        let origin = Origin { address, certificate: certificate.then_some(&presented) };
        acceptance.identify_web(&credentials, origin).map(|caller| caller.name)
    }

    #[test]
    fn a_peer_is_known_by_all_that_its_file_demands() {
        let (good, unknown) = (|name: &str| Ok(name.to_owned()), Err(WebRefusal::Unknown));
        assert_eq!(check("", "secret", false, "1.1.1.1"), good("pacs"));
        assert_eq!(check("PACS", "secret", false, "1.1.1.1"), good("pacs"));
        assert_eq!(check("CT3", "secret", false, "10.3.0.1"), unknown, "the token of another");
        assert_eq!(check("", "wrong", false, "10.3.0.1"), unknown, "a wrong token is not passed over");
        assert_eq!(check("PACS", "", false, "1.1.1.1"), unknown, "its token is missing");
        assert_eq!(check("", "", true, "1.1.1.1"), good("cert"));
        assert_eq!(check("", "other", true, "10.0.0.1"), good("both"));
        assert_eq!(check("", "other", false, "10.0.0.1"), unknown);
        assert_eq!(check("", "other", true, "11.0.0.1"), unknown);
        assert_eq!(check("", "", false, "10.3.0.1"), good("ct3"));
    }

    #[test]
    fn who_demands_nothing_has_to_be_named() {
        assert_eq!(check("", "", false, "1.1.1.1"), Err(WebRefusal::Unknown));
        assert_eq!(check("OPEN", "", false, "1.1.1.1"), Ok("open".to_owned()));
        assert_eq!(check("open", "", false, "1.1.1.1"), Err(WebRefusal::Unknown), "titles are compared with case");
        assert_eq!(check("NOBODY", "", false, "1.1.1.1"), Err(WebRefusal::Unknown));
    }

    #[test]
    fn of_several_that_fit_one_has_to_be_named() {
        assert_eq!(check("", "", false, "10.1.0.1"), Err(WebRefusal::Ambiguous));
        assert_eq!(check("CT2", "", false, "10.1.0.1"), Ok("ct2".to_owned()));
        assert_eq!(check("", "", true, "10.1.0.1"), Ok("cert".to_owned()), "the one that says most about itself");
    }

    #[test]
    fn one_that_may_not_send_is_known_and_turned_away() {
        assert_eq!(check("", "look", false, "1.1.1.1"), Err(WebRefusal::MayNotSend));
    }
}
