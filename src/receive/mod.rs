//! The Storage, Verification and Storage Commitment SCP (PS3.4 A, B, J) and STOW-RS (PS3.18 10.5): listens, keeps the
//! limits, ends in order; the handshake of a TLS port is in `tls`, what one association says in `association`, what one HTTP
//! connection asks for in `web`, what becomes of one instance in `store`.

mod association;
mod connections;
mod file;
mod intake;
mod pace;
mod quiet;
mod store;
mod tls;
mod web;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::dicom::{AeTitle, Instance, SeriesKey};
use crate::dimse::Acceptance;
use crate::limits::{HTTP_PENDING_MAX, PENDING_CONNECTIONS_MAX};
use crate::spool::Spool;
use crate::tls::ServerTls;

use association::Opening;
pub use association::{Back, CommitmentAsked, ReportReceived};
pub use file::{FileSink, Terms};
pub use intake::Intake;
pub use store::{Finished, Received};
pub use web::{Multipart, MultipartError, PartHead, Piece, WebPolicy};

use connections::{Pending, Slots};
use quiet::Quiet;
pub(crate) use store::Sink;

/// What the site has decided. A change holds for associations that begin after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub acceptance: Acceptance,
    /// Whether the port without TLS is wanted; one that is open closes its connections when it is not any more.
    pub plain: bool,
    /// What a TLS port presents and asks for.
    pub tls: Option<ServerTls>,
    /// What an HTTP port takes; `None` where it is not wanted.
    pub web: Option<WebPolicy>,
    /// Most associations at the same time, and most of one caller that has no limit of its own; beyond them 2/3/2 is
    /// answered.
    pub associations_max: usize,
    pub associations_per_caller_max: usize,
    /// From the connection to a whole A-ASSOCIATE-RQ, and for the peer to close at the end (PS3.8 9.1.4).
    pub artim: Duration,
    /// Longest wait for a whole PDU within an association.
    pub idle: Duration,
    /// Longest data set.
    pub instance_bytes_max: u64,
    /// How long open associations may go on after the shutdown began.
    pub grace: Duration,
}

impl Default for Policy {
    /// Nobody may call; the limits are those that suit a department.
    fn default() -> Policy {
        Policy {
            acceptance: Acceptance { max_pdu: 131_072, ..Acceptance::default() },
            plain: true,
            tls: None,
            web: None,
            associations_max: 100,
            associations_per_caller_max: 32,
            artim: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            instance_bytes_max: 2 << 30,
            grace: Duration::from_secs(20),
        }
    }
}

/// What the daemon is told.
pub enum Notice {
    /// An instance is durable. It is acknowledged after this was taken.
    Stored(Box<StoredInstance>),
    /// An association has ended.
    Closed {
        association: u64,
        /// Whether it was released; only then did the sender say that it was done.
        released: bool,
        /// The series of which it brought instances, new or known.
        series: Vec<SeriesKey>,
    },
    /// A peer asks for storage commitment, and waits for the answer.
    CommitmentAsked(Box<CommitmentAsked>),
    /// A peer reports on a storage commitment of ours, and waits for the answer.
    ReportReceived(Box<ReportReceived>),
}

/// An instance that has just become durable. It holds attributes of the patient, so it derives no `Debug`.
pub struct StoredInstance {
    pub instance: Instance,
    /// SHA-256 of the data set as received, hexadecimal.
    pub digest: String,
    /// Length of the data set.
    pub size_bytes: u64,
    pub calling_ae: AeTitle,
    pub called_ae: AeTitle,
    /// The association that brought it, counted from 1 in the life of the process.
    pub association: u64,
    /// Whether it was not there before. One that was is told too: its sender is at work, and an earlier notice may have
    /// been lost with an error of the disk.
    pub new: bool,
}

/// The number of an association that brings instances, also of one that we have opened.
pub fn next_association() -> u64 {
    intake::next_number()
}

/// How long the A-ABORT of open associations may take when the grace is over.
pub(crate) const ABORT_TIME: Duration = Duration::from_secs(5);

/// The ports that are listened at: one of them at least.
#[derive(Debug, Default)]
pub struct Listeners {
    pub plain: Option<TcpListener>,
    pub tls: Option<TcpListener>,
    /// HTTP, with TLS or without.
    pub web: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    /// One port without TLS.
    fn from(plain: TcpListener) -> Listeners {
        Listeners { plain: Some(plain), ..Listeners::default() }
    }
}

struct Shared {
    policy: watch::Receiver<Arc<Policy>>,
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    /// Becomes true when open associations have to end at once.
    killed: watch::Receiver<bool>,
    /// Becomes true when no new associations and requests are wanted.
    stopping: watch::Receiver<bool>,
    slots: Arc<Slots>,
    pending: Pending,
    /// HTTP has places of its own: a flood there takes none of an association.
    web_slots: Arc<Slots>,
    web_pending: Pending,
    quiet: Quiet,
}

/// Serves the ports until `shutdown` becomes true (or its sender is gone); returns when every association has ended.
///
/// Instances become durable in `spool`, are told to `notices`, and are acknowledged then. A receiver of notices that
/// does not keep up slows the senders down; one that is gone does not stop the acknowledgement, because the instance
/// is durable and is found again at the next start.
pub async fn serve(
    listeners: impl Into<Listeners>,
    policy: watch::Receiver<Arc<Policy>>,
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    mut shutdown: watch::Receiver<bool>,
) {
    let (kill, killed) = watch::channel(false);
    let shared = Arc::new(Shared {
        policy,
        spool,
        notices,
        killed,
        stopping: shutdown.clone(),
        slots: Arc::default(),
        pending: Pending::of(PENDING_CONNECTIONS_MAX),
        web_slots: Arc::default(),
        web_pending: Pending::of(HTTP_PENDING_MAX),
        quiet: Quiet::default(),
    });
    let listeners: Listeners = listeners.into();
    let mut connections = JoinSet::new();
    loop {
        let (accepted, port) = tokio::select! {
            accepted = accept(listeners.plain.as_ref()) => (accepted, Port::Plain),
            accepted = accept(listeners.tls.as_ref()) => (accepted, Port::Tls),
            accepted = accept(listeners.web.as_ref()) => (accepted, Port::Web),
            _ = shutdown.wait_for(|down| *down) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, port, shared.clone()));
            }
            // Out of file descriptors, most likely: that must not end the listener.
            Err(error) => {
                if shared.quiet.may_say(IpAddr::from([0, 0, 0, 0]), "accept") {
                    warn!(%error, "a connection could not be accepted; the limit of open files may be too low");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listeners);
    let grace = shared.policy.borrow().grace;
    drain(connections, &kill, grace).await;
}

/// The next connection at a port; at one that is not there none ever comes.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Which port a connection came to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Port {
    Plain,
    Tls,
    Web,
}

async fn connection(stream: TcpStream, peer: SocketAddr, port: Port, shared: Arc<Shared>) {
    // Without it, each answer waits for the peer's delayed acknowledgement: 40 ms an image.
    let _ = stream.set_nodelay(true);
    let id = intake::next_number();
    let policy = shared.policy.borrow().clone();
    if port == Port::Plain && !policy.plain {
        association::say(&shared, peer.ip(), "\"port\" was taken out of ae-config/gateway.json; a restart closes it");
        return;
    }
    let deadline = Instant::now() + policy.artim;
    let ticket = if port == Port::Web { shared.web_pending.enter(id) } else { shared.pending.enter(id) };
    let mut opening = Opening { peer: peer.ip(), certificate: None, id, policy: policy.clone(), deadline, ticket };
    match port {
        Port::Plain => association::serve(stream, opening, &shared).await,
        Port::Tls => {
            if let Some(stream) = tls::shake(stream, &mut opening, policy.tls.as_ref(), &shared).await {
                association::serve(stream, opening, &shared).await;
            }
        }
        Port::Web => match &policy.web {
            Some(web) if web.secure => {
                if let Some(stream) = tls::shake(stream, &mut opening, web.tls.as_ref(), &shared).await {
                    web::serve(stream, opening, &shared).await;
                }
            }
            _ => web::serve(stream, opening, &shared).await,
        },
    }
}

async fn drain(mut connections: JoinSet<()>, kill: &watch::Sender<bool>, grace: Duration) {
    if !connections.is_empty() {
        info!(open = connections.len(), "no new associations; waiting for those that are open");
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, ended).await.is_err() {
        kill.send_replace(true);
        let aborted = async { while connections.join_next().await.is_some() {} };
        // Past that they are dropped with the set: a peer that does not close, a disk that does not answer. Nothing
        // that was acknowledged hangs on them.
        let _ = tokio::time::timeout(ABORT_TIME, aborted).await;
    }
}
