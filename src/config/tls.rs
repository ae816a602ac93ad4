//! TLS in the configuration: the keys of gateway and peers, their files, and what becomes of both. A file that is bad
//! leaves what was last good in it in use; nothing here opens a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::gateway::parse_port;
use super::peer::parse_host;
use super::place::{Place, WebPlace};
use super::resolve::at;
use super::{Gateway, Loaded, Peer};
use crate::dimse::{CertificateRule, Fingerprint};
use crate::document::{Fields, Node, Problem, Problems};
use crate::limits::CERTIFICATE_WARNING_DAYS;
use crate::tls::{Authorities, ClientTls, Clients, FileProblem, Identity, ServerTls, Trust, check_private};

/// `tls` of the gateway. Files are absolute or relative to the configuration folder.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayTls {
    /// Where to listen, if not where the plain port does.
    pub bind: Option<IpAddr>,
    pub port: u16,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub clients: Clients,
    pub client_authorities: Option<PathBuf>,
}

/// `tls` of a peer that we call: the authorities or the fingerprints that are believed, one of them at least.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerTls {
    pub authorities: Option<PathBuf>,
    pub sha256: Vec<Fingerprint>,
    /// The name that its certificate has to hold, if not its `host`.
    pub name: Option<String>,
    /// Certificate and key that we present, if not those of the gateway.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl GatewayTls {
    pub(super) fn parse(node: &Node, problems: &mut Problems) -> Option<GatewayTls> {
        GatewayTls::parse_at(node, None, problems)
    }

    /// The same within an object that has the port already.
    pub(super) fn parse_at(node: &Node, port: Option<u16>, problems: &mut Problems) -> Option<GatewayTls> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        let (bind, port) = match port {
            Some(_) => (None, port),
            None => {
                let address = "an IP address, such as 0.0.0.0";
                let bind = fields.optional("bind").and_then(|bind| bind.parsed(address, problems));
                (bind, fields.required("port", problems).and_then(|port| parse_port(port, problems)))
            }
        };
        let certificate = fields.required("certificate", problems).and_then(|file| parse_file(file, problems));
        let key = fields.required("key", problems).and_then(|file| parse_file(file, problems));
        let clients = fields.optional("clients").and_then(|word| word.choice(&Clients::ALL, problems));
        let clients = clients.unwrap_or(Clients::Required);
        let authorities = fields.optional("client_authorities");
        if let (Some(node), Clients::None) = (authorities, clients) {
            let cure = "set \"clients\" to \"required\" or \"optional\", or take the key out";
            problems.add_with_cure(node, "authorities of clients that are not asked", "no such key", cure);
        }
        let client_authorities = authorities.and_then(|file| parse_file(file, problems));
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        Some(GatewayTls { bind, port: port?, certificate: certificate?, key: key?, clients, client_authorities })
    }
}

impl PeerTls {
    pub(super) fn parse(node: &Node, problems: &mut Problems) -> Option<PeerTls> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        let authorities = fields.optional("authorities").and_then(|file| parse_file(file, problems));
        let sha256 = parse_fingerprints(&mut fields, OF_CERTIFICATE, problems);
        let name = fields.optional("name").and_then(|name| parse_host(name, problems));
        let certificate = fields.optional("certificate").and_then(|file| parse_file(file, problems));
        let key = fields.optional("key").and_then(|file| parse_file(file, problems));
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        if authorities.is_none() && sha256.is_empty() {
            let cure = "name the certificate of the hospital's authority, or the SHA-256 of the peer's own";
            problems.add_with_cure(node, "no \"authorities\" and no \"sha256\"", "whom to believe", cure);
        }
        if certificate.is_some() != key.is_some() {
            problems.add(node, "one of \"certificate\" and \"key\"", "both, or none for those of the gateway");
        }
        (problems.count() == before).then(|| PeerTls { authorities, sha256, name, own: certificate.zip(key) })
    }
}

/// `certificate` of a peer that calls.
pub(super) fn parse_rule(node: &Node, problems: &mut Problems) -> Option<CertificateRule> {
    let before = problems.count();
    let mut fields = node.object(problems)?;
    let sha256 = parse_fingerprints(&mut fields, OF_CERTIFICATE, problems);
    let list = fields.optional("names").and_then(|list| filled(list, problems)).unwrap_or_default();
    let names: Vec<String> = list.iter().filter_map(|name| name.text(problems).map(str::to_owned)).collect();
    fields.finish(problems);
    if problems.count() == before && sha256.is_empty() && names.is_empty() {
        let cure = "take the key out to let it call without a certificate";
        problems.add_with_cure(node, "no \"sha256\" and no \"names\"", "the certificates that it may present", cure);
    }
    (problems.count() == before).then_some(CertificateRule { sha256, names })
}

const OF_CERTIFICATE: &str =
    "the SHA-256 of a certificate, as `openssl x509 -noout -fingerprint -sha256 -in FILE` writes it";

pub(super) fn parse_fingerprints(fields: &mut Fields<'_>, expected: &str, problems: &mut Problems) -> Vec<Fingerprint> {
    let list = fields.optional("sha256").and_then(|list| filled(list, problems)).unwrap_or_default();
    list.iter().filter_map(|item| item.parsed(expected, problems)).collect()
}

fn filled<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a [Node]> {
    let items = node.array(problems)?;
    if items.is_empty() {
        problems.add(node, "an empty list", "one or more, or no such key");
    }
    Some(items)
}

pub(super) fn parse_file(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let text = node.text(problems)?;
    if text.is_empty() || text.contains('\0') {
        problems.add(node, node.describe(), "a file, absolute or relative to the configuration folder");
        return None;
    }
    Some(PathBuf::from(text))
}

/// What the files of TLS have become.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Of the gateway's TLS port.
    pub server: Option<ServerTls>,
    /// Of the port of HTTP, where it has TLS.
    pub web: Option<ServerTls>,
    /// Of the peers that are called by TLS, by name.
    pub clients: BTreeMap<String, ClientTls>,
    /// Certificates that we present: file, until when, and names.
    pub presented: BTreeMap<String, (Timestamp, Vec<String>)>,
    /// Where all these files lie.
    pub folders: BTreeSet<PathBuf>,
}

impl Tls {
    /// What an operator has to hear of certificates that we present.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let soon =
            now.saturating_add(SignedDuration::from_hours(24 * CERTIFICATE_WARNING_DAYS)).unwrap_or(Timestamp::MAX);
        let ending = self.presented.iter().filter(|(_, (end, _))| *end < soon);
        let told = ending.map(|(file, (end, _))| {
            let (day, days) = (end.strftime("%Y-%m-%d"), now.duration_until(*end).as_hours() / 24);
            let when = if *end < now { format!("expired on {day}") } else { format!("expires on {day}, in {days} days") };
            format!("{file}: found a certificate that {when}, expected one that holds; put a new one there, no restart is needed")
        });
        told.collect()
    }
}

/// The last good content of each file, and what was told of them.
#[derive(Default)]
pub(super) struct Files {
    folder: PathBuf,
    identities: BTreeMap<(PathBuf, PathBuf), Identity>,
    authorities: BTreeMap<PathBuf, Authorities>,
    /// Files that were asked for in this turn.
    asked: BTreeSet<PathBuf>,
    /// Problems of files whose last good content is in use.
    problems: Vec<Problem>,
}

impl Files {
    /// Begins another reading of the configuration.
    pub fn begin(&mut self, folder: &Path) {
        self.folder = folder.to_owned();
        self.asked.clear();
        self.problems.clear();
    }

    /// A path of the configuration.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Reads the files of the gateway.
    pub fn check_gateway(&mut self, loaded: &Loaded<Gateway>, told: &mut Problems) {
        for (tls, place) in ports(&loaded.value) {
            let place = |key: &'static str| at(at(&loaded.document, place), &[key]);
            if let Err(problem) = self.identity(&tls.certificate, &tls.key) {
                self.tell(&problem, place("certificate"), told);
            }
            if let Some(Err(problem)) = tls.client_authorities.as_ref().map(|file| self.authorities(file)) {
                self.tell(&problem, place("client_authorities"), told);
            }
        }
    }

    /// Reads the files of a peer, and holds its rule against what the gateway asks of callers.
    pub fn check_peer(&mut self, loaded: &Loaded<Peer>, gateway: Option<&Gateway>, told: &mut Problems) {
        let peer = &loaded.value;
        if let (Some(rule), Some(gateway)) = (&peer.certificate, gateway) {
            let node = at(&loaded.document, &["certificate"]);
            check_rule(rule, gateway, node, told);
        }
        if let Place::Web(WebPlace { login: Some(login), .. }) = &peer.place {
            let login = login.under(&self.folder);
            self.asked.insert(login.path().to_owned());
            if let Err(error) = login.check() {
                told.add(at(&loaded.document, &["dicomweb"]), error.to_string(), "a file that holds who we are");
            }
            if let Err(problem) = check_private(login.path(), "a password or token") {
                self.tell(&problem, at(&loaded.document, &["dicomweb"]), told);
            }
        }
        let Some(tls) = &peer.tls else { return };
        let keys: &[&str] = if matches!(peer.place, Place::Web(_)) { &["dicomweb", "tls"] } else { &["tls"] };
        let place = |key: &'static str| at(at(&loaded.document, keys), &[key]);
        if let Some(Err(problem)) = tls.authorities.as_ref().map(|file| self.authorities(file)) {
            self.tell(&problem, place("authorities"), told);
        }
        if let Some(Err(problem)) = tls.own.as_ref().map(|(certificate, key)| self.identity(certificate, key)) {
            self.tell(&problem, place("certificate"), told);
        }
    }

    /// Makes of the files what listens and calls, after it was decided which gateway and peers are used.
    pub fn finish<'a>(
        &mut self,
        gateway: Option<&Loaded<Gateway>>,
        peers: impl Iterator<Item = &'a Loaded<Peer>> + Clone,
        problems: &mut Vec<Problem>,
    ) -> Tls {
        let mut tls = Tls::default();
        for (loaded, (ours, place)) in
            gateway.into_iter().flat_map(|loaded| ports(&loaded.value).map(move |port| (loaded, port)))
        {
            let Some(own) = self.identities.get(&self.pair(&ours.certificate, &ours.key)).cloned() else { continue };
            tls.presented.insert(shown(&ours.certificate), (own.not_after, own.names.clone()));
            let mut told = Problems::of(loaded.file.as_str());
            let made = self.server(ours, &own, peers.clone(), at(&loaded.document, place), &mut told);
            if place.len() == 1 {
                tls.server = made;
            } else {
                tls.web = made;
            }
            problems.extend(told.into_vec());
        }
        let ours = gateway.and_then(|gateway| gateway.value.tls.as_ref());
        let own = ours.and_then(|ours| self.identities.get(&self.pair(&ours.certificate, &ours.key)).cloned());
        for loaded in peers {
            let Some(wanted) = &loaded.value.tls else { continue };
            let mut told = Problems::of(loaded.file.as_str());
            let theirs = wanted.own.as_ref();
            let identity = theirs.and_then(|(certificate, key)| self.identities.get(&self.pair(certificate, key)));
            if let (Some(identity), Some((certificate, _))) = (identity, theirs) {
                tls.presented.insert(shown(certificate), (identity.not_after, identity.names.clone()));
            }
            let made = self.client(&loaded.value, wanted, identity.or(own.as_ref()));
            match made {
                Ok(client) => drop(tls.clients.insert(loaded.value.name.clone(), client)),
                Err(error) => told.add(at(&loaded.document, &["tls"]), error, "what TLS can use"),
            }
            problems.extend(told.into_vec());
        }
        problems.append(&mut self.problems);
        let asked = std::mem::take(&mut self.asked);
        tls.folders = asked.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        // What nobody names any more is forgotten.
        self.identities.retain(|(certificate, _), _| asked.contains(certificate));
        self.authorities.retain(|file, _| asked.contains(file));
        tls
    }

    fn server<'a>(
        &self,
        ours: &GatewayTls,
        own: &Identity,
        peers: impl Iterator<Item = &'a Loaded<Peer>>,
        node: &Node,
        told: &mut Problems,
    ) -> Option<ServerTls> {
        let pinned: BTreeSet<Fingerprint> =
            peers.filter_map(|peer| peer.value.certificate.as_ref()).flat_map(|rule| rule.sha256.clone()).collect();
        let authorities =
            ours.client_authorities.as_ref().and_then(|file| self.authorities.get(&self.folder.join(file)));
        if ours.clients == Clients::Required && authorities.is_none() && pinned.is_empty() {
            let cure = "name \"client_authorities\", or the \"certificate\" of a peer, or set \"clients\" to \"none\"";
            told.add_with_cure(
                node,
                "no authority and no peer whose certificate is known",
                "somebody who can call",
                cure,
            );
            return None;
        }
        let made = ServerTls::new(own, ours.clients, authorities, pinned);
        made.map_err(|error| told.add(node, error, "what TLS can use")).ok()
    }

    fn client(&self, peer: &Peer, wanted: &PeerTls, own: Option<&Identity>) -> Result<ClientTls, String> {
        let authorities = wanted.authorities.as_ref().and_then(|file| self.authorities.get(&self.folder.join(file)));
        let trust = Trust { authorities: authorities.cloned(), pinned: wanted.sha256.iter().copied().collect() };
        let host = peer.address.as_ref().map(|address| address.host.as_str());
        ClientTls::new(trust, wanted.name.as_deref().or(host).unwrap_or_default(), own)
    }

    fn pair(&self, certificate: &Path, key: &Path) -> (PathBuf, PathBuf) {
        (self.folder.join(certificate), self.folder.join(key))
    }

    /// A certificate with its key as they are now, or as they were when they were last good. One that has expired, or
    /// does not hold yet, does not take the place of one that holds; it is better than none.
    fn identity(&mut self, certificate: &Path, key: &Path) -> Result<(), FileProblem> {
        let pair = self.pair(certificate, key);
        self.asked.extend([pair.0.clone(), pair.1.clone()]);
        let now = Timestamp::now();
        let found = Identity::read(&pair.0, &pair.1).and_then(|found| {
            let better = self.identities.get(&pair).is_some_and(|before| before.holds_at(now));
            if found.holds_at(now) || !better { Ok(found) } else { Err(out_of_date(&pair.0, &found)) }
        });
        match found {
            Ok(found) => drop(self.identities.insert(pair, found)),
            Err(problem) if self.identities.contains_key(&pair) => self.keep(problem),
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    fn authorities(&mut self, file: &Path) -> Result<(), FileProblem> {
        let path = self.folder.join(file);
        self.asked.insert(path.clone());
        match Authorities::read(&path) {
            Ok(found) => drop(self.authorities.insert(path, found)),
            Err(problem) if self.authorities.contains_key(&path) => self.keep(problem),
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    /// A problem of a file whose last good content stays in use; told once, however many name the file.
    fn keep(&mut self, problem: FileProblem) {
        let file = self.relative(&problem.file);
        let FileProblem { found, expected, cure, .. } = problem;
        let problem = Problem { file, line: 0, path: String::new(), found, expected, cure: Some(cure) };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn tell(&self, problem: &FileProblem, node: &Node, told: &mut Problems) {
        let found = format!("{}: {}", self.relative(&problem.file), problem.found);
        told.add_with_cure(node, found, problem.expected.as_str(), problem.cure.as_str());
    }

    fn relative(&self, file: &Path) -> String {
        shown(file.strip_prefix(&self.folder).unwrap_or(file))
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

fn out_of_date(file: &Path, found: &Identity) -> FileProblem {
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    FileProblem {
        file: file.to_owned(),
        found: format!("a certificate from {} until {}", day(found.not_before), day(found.not_after)),
        expected: "one that holds today, as the one before does".to_owned(),
        cure: "put the right one there, or compare the clocks".to_owned(),
    }
}

/// The ports with TLS, and where they stand in the document.
fn ports(gateway: &Gateway) -> impl Iterator<Item = (&GatewayTls, &'static [&'static str])> {
    let of_web = gateway.dicomweb.as_ref().and_then(|web| web.tls.as_ref());
    let associations = gateway.tls.iter().map(|tls| (tls, ["tls"].as_slice()));
    associations.chain(of_web.map(|tls| (tls, ["dicomweb", "tls"].as_slice())))
}

/// A rule that no caller can satisfy would shut the peer out.
fn check_rule(rule: &CertificateRule, gateway: &Gateway, node: &Node, told: &mut Problems) {
    let place = "of ae-config/gateway.json";
    let unvouched = |tls: &GatewayTls| tls.client_authorities.is_none() && !rule.names.is_empty();
    let mut all = ports(gateway).map(|(tls, _)| tls);
    // One port that it can call is enough.
    if all.any(|tls| tls.clients != Clients::None && !unvouched(tls)) {
        return;
    }
    match ports(gateway).next().map(|(tls, _)| tls) {
        None => told.add_with_cure(
            node,
            "a certificate for a caller, and no TLS port",
            format!("\"tls\" {place}"),
            "add it, or take this key out",
        ),
        Some(tls) if tls.clients == Clients::None => told.add_with_cure(
            node,
            "a certificate for a caller, and callers are not asked for one",
            format!("\"clients\": \"required\" or \"optional\" in \"tls\" {place}"),
            "change it there, or take this key out",
        ),
        Some(_) => told.add_with_cure(
            at(node, &["names"]),
            "names, and no authority that vouches for them",
            format!("\"client_authorities\" in \"tls\" {place}"),
            "add it, or name the certificate by \"sha256\"",
        ),
    }
}

#[cfg(test)]
mod tests;
