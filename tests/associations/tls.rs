//! The TLS port: who gets through its handshake, whom the peers' rules let in, and that half a handshake stops nobody.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contourd::deliver::{Outcome, dicom};
use contourd::dimse::{Caller, CertificateRule, Fingerprint};
use contourd::receive::Policy;
use contourd::tls::{Authorities, ClientTls, Clients, Identity, ServerTls, Trust};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::certificates::{Authority, Pair, self_signed};
use crate::peer::*;

/// A hospital: its authority, the gateway's certificate, and a folder for files.
struct Hospital {
    folder: tempfile::TempDir,
    authority: Authority,
    own: Pair,
}

impl Hospital {
    fn new() -> Hospital {
        let authority = Authority::new("Hospital authority");
        let own = authority.issue("contourd", &["localhost", "127.0.0.1"]);
        Hospital { folder: tempfile::tempdir().expect("a folder"), authority, own }
    }

    fn identity(&self, pair: &Pair, name: &str) -> Identity {
        let (certificate, key) = pair.write(self.folder.path(), name);
        Identity::read(&certificate, &key).expect("a pair that fits")
    }

    fn authorities(&self) -> Authorities {
        Authorities::read(&self.authority.write(self.folder.path(), "ca.pem")).expect("authorities")
    }

    fn server(&self, own: &Pair, clients: Clients, pinned: &[Fingerprint]) -> ServerTls {
        let (identity, pinned) = (self.identity(own, "server"), pinned.iter().copied().collect());
        ServerTls::new(&identity, clients, Some(&self.authorities()), pinned).expect("a server")
    }

    fn gateway(&self, clients: Clients, pinned: &[Fingerprint], change: impl FnOnce(&mut Policy)) -> Gateway {
        let tls = self.server(&self.own, clients, pinned);
        Gateway::with(0, |policy| {
            policy.tls = Some(tls);
            change(policy);
        })
    }

    /// What a foreign client gets as the answer to its association request.
    fn ask(&self, gateway: &Gateway, version: &'static SupportedProtocolVersion, own: Option<&Pair>) -> Answer {
        let mut peer = self.connect(gateway, version, own);
        peer.send(&request("CT01", "CONTOURD", &[(CT_CONTEXT, CT), (ECHO_CONTEXT, VERIFICATION)]));
        match peer.answer() {
            Answer::Accepted => peer.echo(),
            other => other,
        }
    }

    fn connect(
        &self,
        gateway: &Gateway,
        version: &'static SupportedProtocolVersion,
        own: Option<&Pair>,
    ) -> Peer<StreamOwned<ClientConnection, TcpStream>> {
        self.connect_with(gateway, &self.client(version, own))
    }

    fn client(&self, version: &'static SupportedProtocolVersion, own: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.certificate.as_bytes()).expect("a certificate");
        roots.add(root).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[version]).expect("a version").with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![CertificateDer::from(pair.der.clone())], key).expect("a pair")
            }
        })
    }

    fn connect_with(
        &self,
        gateway: &Gateway,
        client: &Arc<rustls::ClientConfig>,
    ) -> Peer<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let connection = ClientConnection::new(Arc::clone(client), name).expect("a client");
        let stream = TcpStream::connect(gateway.tls_address.expect("a TLS port")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Peer { stream: StreamOwned::new(connection, stream) }
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[test]
fn stores_over_both_versions() {
    let hospital = Hospital::new();
    let own = hospital.authority.issue("ct01", &["ct01.example"]);
    let gateway = hospital.gateway(Clients::Required, &[], |_| ());
    for (number, version) in BOTH.into_iter().enumerate() {
        let mut peer = hospital.connect(&gateway, version, Some(&own));
        peer.send(&request("CT01", "CONTOURD", &[(CT_CONTEXT, CT), (ECHO_CONTEXT, VERIFICATION)]));
        assert_eq!(peer.answer(), Answer::Accepted);
        let uid = format!("1.2.3.4.{number}");
        let mut long = image(&uid, 1);
        long.extend(element(0x7FE1, 0x0010, &vec![7; 3_000_000]));
        assert_eq!(peer.store(&uid, &long), Answer::Status(0));
        assert_eq!(peer.release(), Answer::Released);
    }
    gateway.holds(2);
    gateway.answers_others();
}

#[test]
fn asks_for_certificates_as_it_is_told() {
    let hospital = Hospital::new();
    let good = hospital.authority.issue("ct01", &[]);
    let bad = [
        ("of another authority", Authority::new("Another").issue("ct01", &[])),
        ("that has expired", hospital.authority.expired(&[])),
        ("of a server alone", {
            let server = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            hospital.authority.issue_with("ct01", &[], |params| params.extended_key_usages = server)
        }),
        ("that vouches for itself", self_signed("ct01", &[])),
    ];
    for (clients, with, without) in [
        (Clients::Required, Answer::Status(0), Answer::Closed),
        (Clients::Optional, Answer::Status(0), Answer::Status(0)),
        (Clients::None, Answer::Status(0), Answer::Status(0)),
    ] {
        let gateway = hospital.gateway(clients, &[], |_| ());
        for version in BOTH {
            assert_eq!(hospital.ask(&gateway, version, Some(&good)), with, "{clients:?} {version:?}");
            assert_eq!(hospital.ask(&gateway, version, None), without, "{clients:?} {version:?}");
            for (what, pair) in &bad {
                let expected = if clients == Clients::None { Answer::Status(0) } else { Answer::Closed };
                assert_eq!(hospital.ask(&gateway, version, Some(pair)), expected, "{clients:?}: one {what}");
            }
        }
    }
}

#[test]
fn lets_peers_in_by_their_certificates() {
    let hospital = Hospital::new();
    let (named, other) =
        (hospital.authority.issue("x", &["ct01.example"]), hospital.authority.issue("y", &["ct02.example"]));
    // Anybody can write that name into a certificate of their own; its fingerprint is another peer's.
    let (old, new, liar) =
        (self_signed("CT", &[]), self_signed("CT", &[]), self_signed("ct01.example", &["ct01.example"]));
    let rule = CertificateRule {
        sha256: vec![Fingerprint(old.sha256), Fingerprint(new.sha256)],
        names: vec!["CT01.example".to_owned()],
    };
    let pinned = [Fingerprint(old.sha256), Fingerprint(new.sha256), Fingerprint(liar.sha256)];
    let gateway = hospital.gateway(Clients::Optional, &pinned, |policy| {
        let scanner = Caller { certificate: Some(rule), ..caller("ct", true) };
        policy.acceptance.callers = [("CT01".parse().expect("a title"), vec![scanner])].into();
    });
    for version in BOTH {
        for good in [&named, &old, &new] {
            assert_eq!(hospital.ask(&gateway, version, Some(good)), Answer::Status(0));
        }
        for bad in [None, Some(&other), Some(&liar)] {
            assert_eq!(hospital.ask(&gateway, version, bad), Answer::Rejected(1, 1, 3));
        }
    }
    let mut plain = Peer::connect(&gateway);
    plain.send(&request("CT01", "CONTOURD", &[(CT_CONTEXT, CT)]));
    assert_eq!(plain.answer(), Answer::Rejected(1, 1, 3));
}

#[test]
fn serves_others_while_five_hundred_shake_half_a_hand() {
    let hospital = Hospital::new();
    let own = hospital.authority.issue("ct01", &[]);
    let gateway = hospital.gateway(Clients::Required, &[], |policy| policy.artim = Duration::from_secs(20));
    let half: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut stream = TcpStream::connect(gateway.tls_address.expect("a TLS port")).expect("a connection");
            // Every second one begins a ClientHello that never ends.
            if number % 2 == 0 {
                std::io::Write::write_all(&mut stream, &[22, 3, 1, 2, 0, 1, 0, 1]).expect("written");
            }
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(hospital.ask(&gateway, &version::TLS13, Some(&own)), Answer::Status(0));
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    gateway.answers_others();
    drop(half);
}

#[test]
fn closes_what_does_not_shake_hands_in_time() {
    let hospital = Hospital::new();
    let gateway = hospital.gateway(Clients::None, &[], |policy| policy.artim = Duration::from_millis(400));
    let start = Instant::now();
    let connect = || {
        let stream = TcpStream::connect(gateway.tls_address.expect("a TLS port")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Peer { stream }
    };
    let (mut silent, mut half, mut plain) = (connect(), connect(), connect());
    half.send(&[22, 3, 1, 2, 0, 1, 0, 1]);
    plain.send(&request("CT01", "CONTOURD", &[(CT_CONTEXT, CT)]));
    let mut shaken = hospital.connect(&gateway, &version::TLS13, None);
    while shaken.stream.conn.is_handshaking() {
        shaken.stream.conn.complete_io(&mut shaken.stream.sock).expect("a handshake");
    }
    for peer in [&mut silent, &mut half] {
        assert_eq!(peer.answer(), Answer::Closed);
    }
    assert_eq!(shaken.answer(), Answer::Closed, "the time of handshake and request is one");
    // An alert of TLS comes back, which is no PDU.
    let mut byte = [0];
    std::io::Read::read_exact(&mut plain.stream, &mut byte).expect("an alert");
    assert_eq!(byte, [21]);
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    let mut lost = Peer::connect(&gateway);
    lost.send(&[22, 3, 1, 2, 0, 1, 0, 1]);
    assert_eq!(lost.answer(), Answer::Aborted(2, 1), "TLS on the plain port");
}

#[test]
fn looks_at_certificates_at_every_connection_of_one_caller() {
    let hospital = Hospital::new();
    let gateway = hospital.gateway(Clients::None, &[], |_| ());
    for version in BOTH {
        let client = hospital.client(version, None);
        for _ in 0..3 {
            let mut peer = hospital.connect_with(&gateway, &client);
            peer.send(&request("CT01", "CONTOURD", &[(ECHO_CONTEXT, VERIFICATION)]));
            assert_eq!((peer.answer(), peer.echo()), (Answer::Accepted, Answer::Status(0)));
            assert_eq!(peer.stream.conn.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
            assert_eq!(peer.release(), Answer::Released);
        }
    }
}

#[test]
fn a_plain_port_that_is_not_wanted_any_more_serves_nobody() {
    let hospital = Hospital::new();
    let gateway = hospital.gateway(Clients::None, &[], |policy| policy.plain = false);
    let mut plain = Peer::connect(&gateway);
    plain.send(&request("CT01", "CONTOURD", &[(ECHO_CONTEXT, VERIFICATION)]));
    assert_eq!(plain.answer(), Answer::Closed);
    assert_eq!(hospital.ask(&gateway, &version::TLS13, None), Answer::Status(0));
}

#[test]
fn presents_a_new_certificate_to_the_next_caller() {
    let hospital = Hospital::new();
    let gateway = hospital.gateway(Clients::None, &[], |_| ());
    let presented = |gateway: &Gateway| {
        let mut peer = hospital.connect(gateway, &version::TLS13, None);
        peer.send(&request("CT01", "CONTOURD", &[(ECHO_CONTEXT, VERIFICATION)]));
        assert_eq!(peer.answer(), Answer::Accepted);
        let chain = peer.stream.conn.peer_certificates().expect("a certificate").to_vec();
        (peer, chain[0].to_vec())
    };
    let (mut open, first) = presented(&gateway);
    assert_eq!(first, hospital.own.der);
    let new = hospital.authority.issue("contourd", &["127.0.0.1"]);
    let mut changed = Policy::clone(&gateway.policy.borrow());
    changed.tls = Some(hospital.server(&new, Clients::None, &[]));
    gateway.policy.send_replace(Arc::new(changed));
    assert_eq!(presented(&gateway).1, new.der);
    assert_eq!(open.echo(), Answer::Status(0), "who is there already goes on");
}

fn call(port: u16, tls: Option<ClientTls>) -> Result<(), String> {
    let title = |text: &str| text.parse().expect("a legal title");
    let destination = dicom::Destination {
        ae_title: title("CONTOURD"),
        host: "127.0.0.1".to_owned(),
        port,
        tls,
        calling_ae: title("CT01"),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(2),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(dicom::echo(&destination)) {
        Outcome::Delivered { .. } => Ok(()),
        Outcome::Retry { reason, .. } => Err(reason),
        Outcome::Refused { reason, .. } => panic!("nothing of TLS is for good: {reason}"),
    }
}

#[test]
fn calls_over_tls_and_says_why_not() {
    let hospital = Hospital::new();
    let identity = hospital.identity(&hospital.authority.issue("ours", &[]), "ours");
    let stranger = hospital.identity(&self_signed("stranger", &[]), "stranger");
    let tls = |authorities, pinned: &[Fingerprint], name: &str, own: Option<&Identity>| {
        let pinned = BTreeSet::from_iter(pinned.iter().copied());
        Some(ClientTls::new(Trust { authorities, pinned }, name, own).expect("a client"))
    };
    let ours = || Some(hospital.authorities());
    let gateway = hospital.gateway(Clients::Required, &[], |_| ());
    let port = gateway.tls_address.expect("a TLS port").port();
    let check = |tls, expected: &str| {
        let told = call(port, tls).expect_err(expected);
        assert!(told.contains(expected) && told.contains(&format!("127.0.0.1:{port}")), "{told}");
    };
    assert_eq!(call(port, tls(ours(), &[], "127.0.0.1", Some(&identity))), Ok(()));
    assert_eq!(call(port, tls(ours(), &[], "localhost", Some(&identity))), Ok(()));
    assert_eq!(call(port, tls(None, &[Fingerprint(hospital.own.sha256)], "any.example", Some(&identity))), Ok(()));
    check(
        tls(ours(), &[], "tps.example", Some(&identity)),
        "does not hold the name \"tps.example\" but localhost, 127.0.0.1;",
    );
    check(tls(ours(), &[], "127.0.0.1", None), "wants a certificate of ours");
    check(
        tls(ours(), &[], "127.0.0.1", Some(&stranger)),
        "does not know the authority of the certificate that we present",
    );
    let other = Authorities::read(&Authority::new("Other").write(hospital.folder.path(), "other.pem")).expect("one");
    check(tls(Some(other), &[], "127.0.0.1", Some(&identity)), "no authority of \"authorities\"");
    check(
        tls(None, &[Fingerprint([1; 32])], "127.0.0.1", Some(&identity)),
        &Fingerprint(hospital.own.sha256).to_string(),
    );
    let plain = gateway.address.port();
    let told = call(plain, tls(ours(), &[], "127.0.0.1", None)).expect_err("no TLS there");
    assert!(told.contains("does not speak TLS on this port"), "{told}");
    call(port, None).expect_err("no DICOM without TLS there");
    let expired = hospital.authority.expired(&["127.0.0.1"]);
    let server = hospital.server(&expired, Clients::None, &[]);
    let mut changed = Policy::clone(&gateway.policy.borrow());
    changed.tls = Some(server);
    gateway.policy.send_replace(Arc::new(changed));
    check(tls(ours(), &[], "127.0.0.1", None), "its certificate has expired on 2021-03-04");
    check(tls(None, &[Fingerprint(expired.sha256)], "127.0.0.1", None), "its certificate has expired");
}
