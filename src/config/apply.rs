//! What the parts of the gateway take from the configuration: the policy of the listener, destinations, times.

use std::time::Duration;

use super::{Configuration, OnWarning, Peer, Place, WatchedFolder};
use crate::deliver::{self, dicom::Destination};
use crate::dicom::AeTitle;
use crate::dimse::{Acceptance, Caller};
use crate::folder::Folder;
use crate::job::VerifyBy;
use crate::node::{Association, Settings};
use crate::pipeline::{Completeness, CompletenessOverride, Input, Mode};
use crate::receive::{Policy, WebPolicy};
use crate::retrieve::Source;
use crate::tls::ClientTls;
use crate::worker::Limits as WorkerLimits;

/// How long open associations may go on after the shutdown began: less than systemd waits (90 s).
const GRACE: Duration = Duration::from_secs(20);

/// For a destination to answer the connection and the association request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// For a destination to answer one object.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

impl Configuration {
    /// Whom the listener lets in, and how much of it.
    pub fn receive_policy(&self) -> Policy {
        let limits = &self.gateway.limits;
        let mut acceptance =
            Acceptance { called: self.gateway.ae_titles.clone(), max_pdu: limits.pdu_bytes, ..Acceptance::default() };
        for peer in self.peers.values() {
            let may_report = !self.reporting(vec![peer.name.clone()]).is_empty();
            // Several peers may call with one title (a scanner and its console).
            let Some(ae_title) = peer.ae_title.clone() else { continue };
            acceptance.callers.entry(ae_title).or_default().push(Caller {
                name: peer.name.clone(),
                from: peer.from.clone(),
                certificate: peer.certificate.clone(),
                tokens: peer.tokens.clone(),
                associations_max: peer.associations,
                may_send: peer.may.send,
                may_commit: peer.may.commit,
                may_report,
            });
        }
        Policy {
            acceptance,
            plain: self.gateway.port.is_some(),
            tls: self.tls.server.clone(),
            web: self.gateway.dicomweb.as_ref().map(|web| WebPolicy {
                secure: web.tls.is_some(),
                tls: self.tls.web.clone(),
                requests_max: web.requests,
                requests_per_caller_max: web.requests_per_peer,
                request_bytes_max: web.request_mb << 20,
            }),
            associations_max: limits.associations,
            associations_per_caller_max: limits.associations_per_peer,
            artim: Duration::from_secs_f64(limits.request_timeout_s),
            idle: Duration::from_secs_f64(limits.idle_timeout_s),
            instance_bytes_max: limits.instance_mb << 20,
            grace: GRACE,
        }
    }

    /// The folders whose files are taken.
    pub fn watched_folders(&self) -> Vec<Folder> {
        let folder = |watched: &WatchedFolder| Folder {
            path: self.folder.join(&watched.path),
            calling: watched.calling_ae.clone(),
            called: watched.called_ae.clone(),
            after: watched.after,
            settle: Duration::from_secs_f64(watched.settle_s),
            scan: Duration::from_secs_f64(watched.scan_s),
        };
        self.gateway.folders.iter().map(folder).collect()
    }

    /// Where results for a peer go; `None` for a peer that is not known or may not receive.
    pub fn destination(&self, peer: &str) -> Option<deliver::Destination> {
        let peer = self.peers.get(peer).filter(|peer| peer.may.receive)?;
        Some(match &peer.place {
            Place::Node => deliver::Destination::Dicom(Box::new(self.called(peer)?)),
            Place::Folder(folder) => {
                let (folder, peer) = (self.folder.join(folder), peer.name.clone());
                deliver::Destination::Folder(deliver::folder::Destination { folder, peer })
            }
            Place::Web(web) => deliver::Destination::Web(Box::new(deliver::dicomweb::Destination {
                url: web.url.clone(),
                tls: self.tls_of(peer)?,
                login: web.login.as_ref().map(|login| login.under(&self.folder)),
                connect_timeout: CONNECT_TIMEOUT,
                response_timeout: RESPONSE_TIMEOUT,
            })),
        })
    }

    /// Where reports of storage commitment for a peer go; `None` when it may not ask for commitment any more. Several
    /// peers can have one title: only transactions of earlier versions, which hold no name, are resolved by it.
    pub fn committing(&self, name: &str, ae_title: &AeTitle) -> Option<Destination> {
        let mut may = self.peers.values().filter(|peer| peer.may.commit);
        self.called(
            may.find(
                |peer| if name.is_empty() { peer.ae_title.as_ref() == Some(ae_title) } else { peer.name == name },
            )?,
        )
    }

    /// Of these peers, those that are asked for storage commitment, so that their reports count.
    pub fn reporting(&self, mut names: Vec<String>) -> Vec<String> {
        let by_commitment = |peer: &Peer| peer.verify.is_some_and(|asked| asked.by == VerifyBy::Commitment);
        names.retain(|name| self.peers.get(name).is_some_and(|peer| peer.may.receive && by_commitment(peer)));
        names
    }

    /// A peer from which series are fetched; `None` for one that is not known or has no "retrieve".
    pub fn source(&self, peer: &str) -> Option<Source> {
        let peer = self.peers.get(peer)?;
        Some(Source { destination: self.called(peer)?, way: peer.retrieve? })
    }

    /// Whether a warning of a peer is as good as success.
    pub fn takes_warnings(&self, peer: &str) -> bool {
        self.peers.get(peer).is_none_or(|peer| peer.on_warning == OnWarning::Accept)
    }

    /// How a peer is called by DICOM; `None` for one without a title or an address.
    pub fn called(&self, peer: &Peer) -> Option<Destination> {
        let (ae_title, address) = (peer.ae_title.clone()?, peer.address.as_ref()?);
        Some(Destination {
            ae_title,
            host: address.host.clone(),
            port: address.port,
            tls: self.tls_of(peer)?,
            calling_ae: self.gateway.ae_titles.first()?.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
        })
    }

    /// How a peer is called by TLS, or that it is called without; `None` when that cannot be said: a peer with TLS is
    /// never called without it.
    fn tls_of(&self, peer: &Peer) -> Option<Option<ClientTls>> {
        match &peer.tls {
            Some(_) => self.tls.clients.get(&peer.name).cloned().map(Some),
            None => Some(None),
        }
    }

    /// What the node must know.
    pub fn node_settings(&self, workers: usize) -> Settings {
        let running = self.pipelines.values().filter(|pipeline| pipeline.value.mode() != Mode::Off);
        let waiting = running.filter_map(|pipeline| {
            let pipeline = &pipeline.value;
            let takes_gaps = pipeline.inputs().iter().any(Input::takes_gaps);
            let own = *pipeline.complete() != CompletenessOverride::default();
            let (called_ae, calling_ae) = (pipeline.when().called_ae.clone(), pipeline.when().calling_ae.clone());
            let waiting = Completeness { takes_gaps, ..self.completeness(pipeline) };
            (own || takes_gaps).then_some((Association { called_ae, calling_ae }, waiting))
        });
        let ask =
            self.pipelines.values().filter(|pipeline| pipeline.value.mode() != Mode::Off).filter_map(|pipeline| {
                let pipeline = &pipeline.value;
                let (called_ae, calling_ae) = (pipeline.when().called_ae.clone(), pipeline.when().calling_ae.clone());
                Some((Association { called_ae, calling_ae }, pipeline.complete().ask.clone()?))
            });
        let retry = self.peers.values().map(|peer| (peer.name.clone(), peer.retry)).collect();
        Settings {
            waiting: waiting.collect(),
            waiting_default: self.gateway.complete,
            ask: ask.collect(),
            ask_default: self.gateway.complete_ask.clone(),
            workers,
            runs_max: self.gateway.worker.runs_max,
            retry,
            retry_default: super::RETRY_DEFAULT,
            verify: self.peers.values().filter_map(|peer| Some((peer.name.clone(), peer.verify?))).collect(),
        }
    }

    /// What a worker may use for one job.
    pub fn worker_limits(&self) -> WorkerLimits {
        let worker = &self.gateway.worker;
        WorkerLimits { time: Duration::from_secs_f64(worker.time_limit_s), memory_bytes: worker.memory_limit_mb << 20 }
    }
}
