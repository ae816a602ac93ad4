//! What the parts of the gateway take from the configuration: the policy of the listener, destinations, times.

use std::time::Duration;

use super::{Configuration, Peer};
use crate::deliver::dicom::Destination;
use crate::dimse::{Acceptance, Caller};
use crate::node::{Association, Settings};
use crate::pipeline::{Completeness, CompletenessOverride, Input, Mode};
use crate::receive::Policy;
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
            // Several peers may call with one title (a scanner and its console): what one may, that title may.
            let caller = acceptance
                .callers
                .entry(peer.ae_title.clone())
                .or_insert_with(|| Caller { hosts: peer.from.clone(), may_send: false });
            caller.may_send |= peer.may.send;
            if peer.from.is_empty() {
                caller.hosts.clear();
            } else if !caller.hosts.is_empty() {
                caller.hosts.extend(&peer.from);
            }
        }
        Policy {
            acceptance,
            associations_max: limits.associations,
            associations_per_caller_max: limits.associations_per_peer,
            artim: Duration::from_secs_f64(limits.request_timeout_s),
            idle: Duration::from_secs_f64(limits.idle_timeout_s),
            instance_bytes_max: limits.instance_mb << 20,
            grace: GRACE,
        }
    }

    /// Where results for a peer go; `None` for a peer that is not known or may not receive.
    pub fn destination(&self, peer: &str) -> Option<Destination> {
        let peer: &Peer = self.peers.get(peer).filter(|peer| peer.may.receive)?;
        let address = peer.address.as_ref()?;
        Some(Destination {
            ae_title: peer.ae_title.clone(),
            host: address.host.clone(),
            port: address.port,
            calling_ae: self.gateway.ae_titles.first()?.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
        })
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
        let retry = self.peers.values().map(|peer| (peer.name.clone(), peer.retry)).collect();
        Settings {
            waiting: waiting.collect(),
            waiting_default: self.gateway.complete,
            workers,
            runs_max: self.gateway.worker.runs_max,
            retry,
            retry_default: super::RETRY_DEFAULT,
        }
    }

    /// What a worker may use for one job.
    pub fn worker_limits(&self) -> WorkerLimits {
        let worker = &self.gateway.worker;
        WorkerLimits { time: Duration::from_secs_f64(worker.time_limit_s), memory_bytes: worker.memory_limit_mb << 20 }
    }
}
