//! `contourd doctor`: looks at a peer step by step, as the gateway would call it, and prints a report for a ticket.

mod look;
mod report;
mod trial;

use anyhow::Context;
use clap::Args;

use super::check::{ConfigArgs, told};
use super::{EXIT_FAILED, EXIT_OK};
use crate::config;
use crate::deliver::{Destination, Way};
use report::Report;

/// Look for what stands between us and a peer: name, connection, TLS, association, services, on request an object.
///
/// The report holds names, addresses and certificates of the site, and nothing of a patient.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Name of the peer: that of its file in ae-config/peers.
    peer: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Send a small structure set of a computed phantom (patient ID PHANTOM-0), and ask whether it is there.
    #[arg(long)]
    store: bool,
    /// Send the five small images that it was drawn on before it; most planning systems want them.
    #[arg(long, requires = "store")]
    images: bool,
    /// Seconds to wait for the connection and for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_s: u64,
}

impl DoctorArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let configuration =
            config::load(&self.config.folder).map_err(|problems| anyhow::anyhow!("{}", told(&problems).trim_end()))?;
        let names: Vec<&str> = configuration.peers.keys().map(String::as_str).collect();
        let peer = configuration.peers.get(&self.peer).with_context(|| {
            format!("found {:?}, expected a peer of ae-config/peers ({})", self.peer, names.join(", "))
        })?;
        // A node that only sends may have an address too.
        let node = || configuration.called(peer).map(|node| Destination::Dicom(Box::new(node)));
        let mut destination = configuration.destination(&peer.name).or_else(node).with_context(|| {
            let file = format!("ae-config/peers/{}.json", peer.name);
            format!("{file}: found no \"host\" and \"port\", expected both: this peer calls us, and nobody can call it")
        })?;
        self.limit(&mut destination);
        let mut report = Report::of(&peer.name, &destination);
        let wanted = look::wanted(&configuration, peer);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let reached = match &destination {
                Destination::Dicom(node) => {
                    look::way(&mut report, &Way::from(&**node)).await
                        && look::associate(&mut report, node, &wanted).await
                }
                Destination::Web(web) => {
                    look::way(&mut report, &Way::from(&**web)).await && look::web(&mut report, web).await
                }
                Destination::Folder(to) => look::folder(&mut report, &to.folder),
            };
            if reached && self.store {
                trial::store(&mut report, &destination, peer, self.images).await;
            }
        });
        print!("{}", report.text());
        Ok(if report.failures() == 0 { EXIT_OK } else { EXIT_FAILED })
    }

    /// An operator does not wait as long as a delivery does.
    fn limit(&self, destination: &mut Destination) {
        let limit = std::time::Duration::from_secs(self.timeout_s);
        match destination {
            Destination::Dicom(node) => (node.connect_timeout, node.response_timeout) = (limit, limit),
            Destination::Web(web) => (web.connect_timeout, web.response_timeout) = (limit, limit),
            Destination::Folder(_) => {}
        }
    }
}
