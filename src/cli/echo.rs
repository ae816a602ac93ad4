//! `contourd echo`: asks a DICOM node whether it is there (C-ECHO).

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::check::{ConfigArgs, told};
use super::tls::TlsArgs;
use super::{EXIT_FAILED, EXIT_OK};
use crate::config;
use crate::deliver::{Outcome, dicom};
use crate::dicom::AeTitle;

/// Ask a DICOM node whether it is there (C-ECHO).
#[derive(Debug, Args)]
pub(super) struct EchoArgs {
    #[command(flatten)]
    peer: PeerArgs,
}

/// Which node, and as whom.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// Address of the node.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, required_unless_present = "peer")]
    to: Option<(String, u16)>,
    /// Call the peer of this name in ae-config/peers, as the gateway does; instead of an address.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "aec", "aet", "tls_authorities", "tls_sha256", "tls_certificate"])]
    peer: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// AE title of the node.
    #[arg(long, value_name = "TITLE", default_value = "ANY-SCP")]
    aec: AeTitle,
    /// Our own AE title.
    #[arg(long, value_name = "TITLE", default_value = "CONTOURD")]
    aet: AeTitle,
    /// Seconds to wait for the connection and for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_s: u64,
    #[command(flatten)]
    tls: TlsArgs,
}

impl PeerArgs {
    /// The node as a destination.
    pub(super) fn destination(&self) -> anyhow::Result<dicom::Destination> {
        let timeout = Duration::from_secs(self.timeout_s);
        if let Some(name) = &self.peer {
            let configuration =
                config::load(&self.config.folder).map_err(|problems| anyhow::anyhow!("{}", told(&problems)))?;
            let called = configuration.peers.get(name).and_then(|peer| configuration.called(peer));
            let names: Vec<&str> = configuration.peers.keys().map(String::as_str).collect();
            let destination = called.with_context(|| {
                format!(
                    "found {name:?}, expected a peer of ae-config/peers with \"host\" and \"port\" ({})",
                    names.join(", ")
                )
            })?;
            return Ok(dicom::Destination { connect_timeout: timeout, response_timeout: timeout, ..destination });
        }
        let (host, port) = self.to.clone().context("found neither --to nor --peer, expected one of them")?;
        Ok(dicom::Destination {
            ae_title: self.aec.clone(),
            tls: self.tls.client(&host)?,
            host,
            port,
            calling_ae: self.aet.clone(),
            connect_timeout: timeout,
            response_timeout: timeout,
        })
    }
}

impl EchoArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let destination = self.peer.destination()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let start = Instant::now();
        let outcome = runtime.block_on(dicom::echo(&destination));
        let (title, host, port) = (&destination.ae_title, &destination.host, destination.port);
        match outcome {
            Outcome::Delivered { .. } => {
                println!("{title} at {host}:{port} answered in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
                Ok(EXIT_OK)
            }
            Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => {
                eprintln!("{title} at {host}:{port}: {reason}");
                Ok(EXIT_FAILED)
            }
        }
    }
}

/// `host:port`, `[address]:port`.
fn address(text: &str) -> Result<(String, u16), String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("found {text:?}, expected HOST:PORT, as in pacs:104"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0);
    match (host, port) {
        ("", _) => Err("found no host before the colon, expected HOST:PORT".to_owned()),
        (_, None) => Err(format!("found port {:?}, expected 1 to 65535", &text[text.len().min(host.len() + 1)..])),
        (host, Some(port)) => Ok((host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_addresses() {
        assert_eq!(address("pacs:104"), Ok(("pacs".to_owned(), 104)));
        assert_eq!(address("[::1]:104"), Ok(("::1".to_owned(), 104)));
        for refused in ["pacs", ":104", "pacs:", "pacs:0", "pacs:70000", "pacs:x"] {
            assert!(address(refused).is_err(), "{refused}");
        }
    }
}
