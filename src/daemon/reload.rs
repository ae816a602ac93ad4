//! Makes changes of the configuration active while the gateway runs, and tells of certificates that end; it reads no
//! file itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::WORKERS;
use super::clock::Clock;
use crate::config::{self, Configuration, Loader};
use crate::node::Event;
use crate::receive;

/// Makes a good change active at once; a bad one leaves the last good version in use and is told in the log.
pub(super) fn follow_changes(
    loader: Loader,
    configuration: &Configuration,
    current: watch::Sender<Arc<Configuration>>,
    policy: watch::Sender<Arc<receive::Policy>>,
    events: mpsc::Sender<Event>,
) -> Option<config::Watcher> {
    let watching = config::watch(loader, configuration, move |loaded| match loaded {
        Ok(changed) => {
            for problem in &changed.problems {
                tracing::error!("{problem}; the last good version stays in use");
            }
            let settings = changed.node_settings(WORKERS);
            policy.send_replace(Arc::new(changed.receive_policy()));
            current.send_replace(Arc::new(changed));
            // Fails only when the gateway ends.
            let _ = events.blocking_send(Event::Settings(Box::new(settings)));
            tracing::info!(
                "the configuration was read again; what is good in it is active, except storage, addresses and ports, watched folders, worker threads and retention, which need a restart"
            );
        }
        Err(problems) => {
            for problem in problems {
                tracing::error!("{problem}; the last good version stays in use");
            }
        }
    });
    watching.inspect_err(|error| tracing::warn!("{error}")).ok()
}

/// SIGHUP reads the configuration again. Without a watcher it does nothing, instead of ending the process.
pub(super) fn read_again_on_signal(watcher: Option<config::Watcher>) -> io::Result<JoinHandle<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match &watcher {
                Some(watcher) => watcher.read_again(),
                None => tracing::warn!("asked to read the configuration again, which needs a restart here"),
            }
        }
    }))
}

/// Tells once a day, and after each change, which certificates of ours have ended or will soon.
pub(super) async fn warn_of_certificates(mut current: watch::Receiver<Arc<Configuration>>, clock: Clock) {
    let day = Duration::from_secs(86_400);
    let mut said = Vec::new();
    loop {
        let told = current.borrow_and_update().tls.warnings(clock.now());
        for warning in told.iter().filter(|warning| !said.contains(*warning)) {
            tracing::warn!("{warning}");
        }
        said = told;
        tokio::select! {
            // The days that are left are in the text, so that it is another one tomorrow.
            () = tokio::time::sleep(day) => said.clear(),
            changed = current.changed() => if changed.is_err() { return },
        }
    }
}
