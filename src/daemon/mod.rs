//! Starts the parts of the gateway, runs them, reloads the configuration, and ends in order.
//!
//! Order of the start: configuration, storage, ledger, what the last life left behind, and only then the port. Order
//! of the end: no new associations, a grace time for open ones, then the loop; a run under way is done again at the
//! next start.

mod assess;
mod clock;
mod commitment;
mod destinations;
mod engine;
mod hands;
mod reload;
mod restore;
mod retrieval;
mod source;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};

use crate::config::{Configuration, Gateway, Loader};
use crate::document::Problem;
use crate::folder::{self, Folder};
use crate::ledger::{Ledger, LedgerError};
use crate::limits::{EVENT_QUEUE_MAX, LISTEN_QUEUE_MAX, NOTICE_QUEUE_MAX};
use crate::node::{Event, Node, Placed, Stored};
use crate::onnx::{self, OnnxError};
use crate::receive::{self, Listeners, Notice, StoredInstance};
use crate::spool::{Spool, SpoolError};
use crate::worker::{Supervisor, worker_arguments};

pub use assess::assess;

use clock::Clock;
use commitment::Conversations;
use engine::Engine;
use hands::Hands;

/// Name of the ledger in the storage folder.
pub const LEDGER_FILE: &str = "ledger.sqlite";

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Nothing was started; exit code 78.
    #[error("the configuration has {} problems", .0.len())]
    Configuration(Vec<Problem>),
    #[error(transparent)]
    Runtime(#[from] OnnxError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot listen at {address}: {source}; stop what uses the port, or change ae-config/gateway.json")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the gateway until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// [`DaemonError`] when it cannot start.
pub fn run(folder: &Path) -> Result<(), DaemonError> {
    let mut loader = Loader::new(folder);
    let configuration = loader.load().map_err(DaemonError::Configuration)?;
    if !configuration.problems.is_empty() {
        return Err(DaemonError::Configuration(configuration.problems));
    }
    if !configuration.models.is_empty() {
        onnx::check_library()?;
    }
    // Each association, request and watched folder may hold a thread while it writes; what checks and removes needs some beside.
    let requests = configuration.gateway.dicomweb.as_ref().map_or(0, |web| web.requests);
    let senders = configuration.gateway.limits.associations + requests + configuration.gateway.folders.len();
    let threads = senders + BLOCKING_THREADS_BESIDE;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(threads)
        .enable_all()
        .build()?;
    let result = start(&runtime, loader, configuration);
    // A blocking thread that waits for a disk must not keep the process; all that counts is durable.
    runtime.shutdown_background();
    result
}

/// One worker for the one device, the processor; a run uses all of its cores already.
const WORKERS: usize = 1;

/// Threads that may wait for a disk, besides one for each sender.
const BLOCKING_THREADS_BESIDE: usize = 64;

/// The network needs little; pixels and models are elsewhere.
const NETWORK_THREADS: usize = 2;

fn start(runtime: &tokio::runtime::Runtime, loader: Loader, configuration: Configuration) -> Result<(), DaemonError> {
    let gateway = &configuration.gateway;
    let spool = Spool::open(&configuration.storage_folder(), gateway.free_floor_mb << 20)?;
    let mut ledger = Ledger::open(&configuration.storage_folder().join(LEDGER_FILE))?;
    let clock = Clock::start();
    restore::finish_removals(&spool, &mut ledger)?;
    let restored = ledger.restore()?;
    let orphans = restore::orphans(&spool, &restored, clock.now())?;
    let (node, effects) = Node::restore(configuration.node_settings(WORKERS), restored, clock.now());
    // Sockets belong to the runtime in which they are made.
    let entered = runtime.enter();
    let listeners = listen(gateway)?;
    drop(entered);

    let (events, inbox) = mpsc::channel(EVENT_QUEUE_MAX);
    let (runs_in, runs_out) = mpsc::unbounded_channel();
    let (orders, effects_out) = mpsc::unbounded_channel();
    let (stop_loop, loop_stopped) = watch::channel(false);
    let (stop_listener, listener_stopped) = watch::channel(false);
    let (policy, policy_seen) = watch::channel(Arc::new(configuration.receive_policy()));
    let (current, current_seen) = watch::channel(Arc::new(configuration.clone()));

    let mut engine = Engine { node, ledger, clock, events: inbox, orders, stop: loop_stopped };
    engine.begin(effects);
    for orphan in orphans {
        engine.take(Event::Stored(orphan));
    }
    let (handle, loop_spool) = (runtime.handle().clone(), Arc::clone(&spool));
    let loop_thread = std::thread::Builder::new().name("loop".to_owned()).spawn(move || {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.run(&handle, &loop_spool)));
        if ran.is_err() {
            tracing::error!("the loop ended by an error of the program; contourd ends, to be started again. Report it");
            std::process::exit(EXIT_SOFTWARE);
        }
    })?;

    let certificates = current_seen.clone();
    let (notices, notices_in) = mpsc::channel(NOTICE_QUEUE_MAX);
    let retrievals = retrieval::places();
    let conversations = Arc::new(Conversations::default());
    let hands = Hands {
        spool: Arc::clone(&spool),
        configuration: current_seen.clone(),
        events: events.clone(),
        runs: runs_in,
        deliveries: hands::delivery_places(),
        assessments: hands::assessment_places(),
        places: Arc::default(),
        conversations: Arc::clone(&conversations),
        retrievals: Arc::clone(&retrievals),
        notices: notices.clone(),
        stop: listener_stopped.clone(),
    };
    start_hands(runtime, hands, runs_out, effects_out, &configuration)?;
    let watcher = reload::follow_changes(loader, &configuration, current, policy, events.clone());
    let bringing = runtime.spawn(forward(notices_in, events.clone(), clock, conversations, current_seen));
    runtime.spawn(must_go_on("the task that brings what was received", bringing));
    runtime.spawn(expire(events, clock, configuration.gateway.retention_days, configuration.gateway.committed_days));
    runtime.spawn(reload::warn_of_certificates(certificates, clock));
    runtime.block_on(async {
        let folders = configuration.watched_folders();
        let serving = take_in(listeners, folders, policy_seen, spool, notices, listener_stopped);
        let signals = stop_on_signal(stop_listener)?;
        let asked = reload::read_again_on_signal(watcher)?;
        // Without systemd there is nobody to notify.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        serving.await;
        retrieval::wait_for_end(&retrievals).await;
        signals.abort();
        asked.abort();
        Ok::<(), io::Error>(())
    })?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // The loop has ended already when this fails.
    let _ = stop_loop.send(true);
    let _ = loop_thread.join();
    tracing::info!("stopped; what is under way goes on at the next start");
    Ok(())
}

/// Takes what is sent and what is put into folders, until it is told to stop and what is open has ended.
async fn take_in(
    listeners: Listeners,
    folders: Vec<Folder>,
    policy: watch::Receiver<Arc<receive::Policy>>,
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    stopped: watch::Receiver<bool>,
) {
    let (seen, ended, mut told) = (policy.clone(), stopped.clone(), stopped.clone());
    let grace = policy.borrow().grace + receive::ABORT_TIME;
    let watching = tokio::spawn(folder::serve(folders, seen, Arc::clone(&spool), notices.clone(), ended));
    let serving = receive::serve(listeners, policy, spool, notices, stopped);
    // A share that does not answer must not hold up the end: what was not taken away yet is found identical at the next start.
    let late = async {
        let _ = told.wait_for(|told| *told).await;
        tokio::time::sleep(grace).await;
    };
    let watching = async {
        tokio::select! {
            () = must_go_on("the task that watches folders", watching) => {}
            () = late => tracing::warn!("a watched folder does not answer; its file waits for the next start"),
        }
    };
    tokio::join!(serving, watching);
}

/// Opens the ports of the configuration.
fn listen(gateway: &Gateway) -> Result<Listeners, DaemonError> {
    let bind = |address: SocketAddr| {
        let listening = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart must not wait for what the last life has left in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(LISTEN_QUEUE_MAX)
        };
        listening().map_err(|source| DaemonError::Listen { address, source })
    };
    let titles: Vec<&str> = gateway.ae_titles.iter().map(|title| title.as_str()).collect();
    let (version, titles) = (env!("CARGO_PKG_VERSION"), titles.join(", "));
    let mut listeners = Listeners::default();
    if let Some(port) = gateway.port {
        let address = SocketAddr::new(gateway.bind, port);
        listeners.plain = Some(bind(address)?);
        tracing::info!("contourd {version} listens at {address} as {titles}");
    }
    if let Some(tls) = &gateway.tls {
        let address = SocketAddr::new(tls.bind.unwrap_or(gateway.bind), tls.port);
        listeners.tls = Some(bind(address)?);
        tracing::info!("contourd {version} listens at {address} as {titles}, with TLS");
    }
    if let Some(web) = &gateway.dicomweb {
        let address = SocketAddr::new(web.address.unwrap_or(gateway.bind), web.port);
        listeners.web = Some(bind(address)?);
        let with = if web.tls.is_some() { "with TLS" } else { "without TLS" };
        tracing::info!("contourd {version} takes instances by HTTP (STOW-RS) at {address}, {with}");
    }
    Ok(listeners)
}

fn start_hands(
    runtime: &tokio::runtime::Runtime,
    hands: Hands,
    queue: mpsc::UnboundedReceiver<Box<crate::job::Job>>,
    orders: mpsc::UnboundedReceiver<crate::node::Effect>,
    first: &Configuration,
) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WORKERS {
        let arguments = worker_arguments(first.gateway.worker.threads, first.gateway.worker.devices);
        let worker = Supervisor::new(program.clone(), arguments.clone());
        let running = runtime.spawn(hands.clone().run_jobs(Arc::clone(&queue), worker));
        runtime.spawn(must_go_on("a worker's task", running));
    }
    runtime.spawn(must_go_on("the task that hands out work", runtime.spawn(hands.work(orders))));
    Ok(())
}

/// A part that ends early, by an error of the program, must not leave a gateway that acknowledges and does nothing: the
/// process ends, systemd starts it again, and all that is durable goes on.
async fn must_go_on(part: &'static str, task: tokio::task::JoinHandle<()>) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!("{part} ended by an error of the program; contourd ends, to be started again. Report it");
        std::process::exit(EXIT_SOFTWARE);
    }
}

/// `EX_SOFTWARE` of sysexits.h.
const EXIT_SOFTWARE: i32 = 70;

/// Brings what the receiver says to the loop.
async fn forward(
    mut notices: mpsc::Receiver<Notice>,
    events: mpsc::Sender<Event>,
    clock: Clock,
    conversations: Arc<Conversations>,
    configuration: watch::Receiver<Arc<Configuration>>,
) {
    while let Some(notice) = notices.recv().await {
        let event = match notice {
            Notice::Stored(stored) => Event::Stored(stored_event(&stored, clock.now())),
            Notice::Closed { association, released, .. } => Event::Closed { association, released },
            Notice::CommitmentAsked(asked) => conversations.asked(*asked),
            Notice::ReportReceived(received) => conversations.reported(*received, &configuration.borrow()),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn stored_event(stored: &StoredInstance, received_at: jiff::Timestamp) -> Stored {
    Stored {
        series: stored.instance.series_key(),
        sop_instance_uid: stored.instance.sop_instance_uid.clone(),
        digest: stored.digest.clone(),
        size_bytes: stored.size_bytes,
        calling_ae: stored.calling_ae.clone(),
        called_ae: stored.called_ae.clone(),
        association: stored.association,
        received_at,
        placed: Placed::of(&stored.instance),
    }
}

/// Once an hour, asks for the removal of what is older than the site keeps it.
async fn expire(events: mpsc::Sender<Event>, clock: Clock, retention_days: f64, committed_days: Option<f64>) {
    let hour = std::time::Duration::from_secs(3_600);
    loop {
        tokio::time::sleep(hour).await;
        let since = |days: f64| {
            let kept = jiff::SignedDuration::from_secs((days * 86_400.0) as i64);
            clock.now().checked_sub(kept).ok()
        };
        let Some(before) = since(retention_days) else { continue };
        let committed_before = committed_days.and_then(since);
        if events.send(Event::Expire { before, committed_before }).await.is_err() {
            return;
        }
    }
}

/// The first signal begins the orderly end; a second one ends at once.
fn stop_on_signal(stop: watch::Sender<bool>) -> io::Result<tokio::task::JoinHandle<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        for count in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if count > 0 {
                std::process::exit(130);
            }
            tracing::info!("told to stop: no new associations; open ones may end");
            let _ = stop.send(true);
        }
    }))
}

/// Where the folder of results of a job lies.
pub fn objects_folder(storage: &Path, job: &crate::job::JobId) -> PathBuf {
    storage.join("objects").join(job.as_str())
}
