//! STOW-RS as origin server (PS3.18 10.5): HTTP/1.1 on a port of its own, for whom the peers' files name, with limits of
//! its own; what a request brings goes the way of a C-STORE. No instance can be asked for here.

mod answer;
mod body;
mod media;
mod multipart;
mod request;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

pub use multipart::{Multipart, MultipartError, PartHead, Piece};

use super::association::{Opening, say_of};
use super::connections::Ticket;
use super::file::Terms;
use super::intake::Intake;
use super::{Policy, Shared};
use crate::dimse::{Certificate, Origin, Rejection};
use crate::limits::{HTTP_BUFFER_BYTES_MAX, HTTP_HEADERS_MAX, LINGER_BYTES_MAX};
use crate::tls::ServerTls;
use answer::{Answer, Refused};
use body::Admitted;
use request::{Target, sender, wanted};

/// What the site has decided about HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct WebPolicy {
    /// Whether its port is one with TLS.
    pub secure: bool,
    /// What it presents and asks for then; `None` when its files are bad.
    pub tls: Option<ServerTls>,
    /// Most requests at the same time, and most of one peer that has no limit of its own.
    pub requests_max: usize,
    pub requests_per_caller_max: usize,
    /// Longest body.
    pub request_bytes_max: u64,
}

/// How often a connection is looked at whose answer is not taken.
const LOOK: Duration = Duration::from_secs(1);

/// What the requests of one connection share.
struct Remote<'a> {
    peer: IpAddr,
    certificate: Option<Certificate>,
    id: u64,
    /// Told when its place is needed for another.
    evicted: Arc<Notify>,
    shared: &'a Arc<Shared>,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    /// Its place among those whose caller is not known, while no request of a known one is served.
    ticket: Option<Ticket<'a>>,
    /// Since when nothing of ours goes on in it.
    idle_since: Option<Instant>,
    /// Whether the last request was answered before all of its body was read.
    is_unread: bool,
}

/// Serves a connection until it is closed.
pub(super) async fn serve<S>(stream: S, opening: Opening<'_>, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Opening { peer, certificate, id, policy, ticket, .. } = opening;
    let evicted = ticket.eviction();
    let state = Mutex::new(State { ticket: Some(ticket), idle_since: Some(Instant::now()), is_unread: false });
    let remote = Remote { peer, certificate, id, evicted: evicted.clone(), shared, state };
    let service = service_fn(|request| {
        let answer: Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send + '_>> =
            Box::pin(async { Ok(remote.answer(request).await) });
        answer
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(policy.artim);
    // Whoever closes his side after the request is still there for the answer.
    http.half_close(true);
    http.max_buf_size(HTTP_BUFFER_BYTES_MAX).max_headers(HTTP_HEADERS_MAX);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let (mut killed, mut stopping, mut told) = (shared.killed.clone(), shared.stopping.clone(), false);
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = evicted.notified() => return,
            _ = killed.wait_for(|killed| *killed) => return,
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = tokio::time::sleep(LOOK) => if remote.is_stuck(policy.idle) { return },
        }
    };
    let parts = connection.into_parts();
    // hyper gives the head of the next request the time of the first: that none comes is the end of a good connection.
    let ended =
        ended.or_else(|error| if error.is_timeout() && parts.read_buf.is_empty() { Ok(()) } else { Err(error) });
    if let Err(error) = &ended
        && !error.is_incomplete_message()
        && !error.is_canceled()
    {
        say_of(shared, peer, "http", &format!("HTTP that cannot be followed ({error})"));
    }
    let is_unread = ended.is_err() || remote.lock().is_unread;
    tokio::select! {
        _ = timeout(policy.artim, close(parts.io.into_inner(), is_unread)) => {}
        () = evicted.notified() => {}
        _ = killed.wait_for(|killed| *killed) => {}
    }
}

/// Closes a connection. Over unread bytes it would be reset, and the sender would not see its answer; where there are none,
/// a client that leaves its side open must not hold up the end.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, is_unread: bool) -> io::Result<()> {
    stream.shutdown().await?;
    let (mut buffer, mut taken) = ([0; 16_384], 0);
    while is_unread && taken < LINGER_BYTES_MAX {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => taken += count,
        }
    }
    Ok(())
}

impl<'a> Remote<'a> {
    /// Whether an answer is not taken, or no other request comes, for so long.
    fn is_stuck(&self, limit: Duration) -> bool {
        self.lock().idle_since.is_some_and(|since| since.elapsed() > limit)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let is_unread = !request.body().is_end_stream();
        {
            let mut state = self.lock();
            (state.idle_since, state.is_unread) = (None, is_unread);
        }
        let answer = self.serve(request).await.unwrap_or_else(|refused| refused.answer());
        self.lock().idle_since = Some(Instant::now());
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        let (head, body) = request.into_parts();
        let policy = self.shared.policy.borrow().clone();
        let admitted = match self.admit(&head, &policy) {
            Ok(admitted) => self.check_room().await.map(|()| admitted),
            Err(refused) => Err(refused),
        };
        let (admitted, name, requests_max) = admitted.map_err(|(refused, why)| {
            self.say_refused(refused.status.as_str(), &refused, &why);
            refused
        })?;
        let (max, each_max) = policy.web.as_ref().map_or((0, 0), |web| (web.requests_max, web.requests_per_caller_max));
        let slot = self.shared.web_slots.enter(&name, max, requests_max.unwrap_or(each_max)).map_err(|rejection| {
            let (status, reason) = match rejection {
                Rejection::PeerLimit => {
                    (StatusCode::TOO_MANY_REQUESTS, "as many requests are open as this sender may have")
                }
                _ => (StatusCode::SERVICE_UNAVAILABLE, "as many requests are open as all senders may have"),
            };
            let refused = Refused::later(status, reason);
            self.say_refused(reason, &refused, reason);
            refused
        })?;
        // A known sender is at work: the connection takes no place any more among those that may be closed for others.
        let ticket = self.lock().ticket.take();
        drop(ticket);
        let taken = tokio::spawn(body::take(body, admitted, slot, Arc::clone(self.shared))).await;
        let mut state = self.lock();
        state.ticket = Some(self.shared.web_pending.enter_again(self.id, self.evicted.clone()));
        let (answer, is_read) = taken.map_err(|_| {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "processing failure; see the log of the gateway")
        })?;
        state.is_unread = !is_read;
        Ok(answer)
    }

    /// Tells the log why a request is refused, each kind once a minute.
    fn say_refused(&self, kind: &str, refused: &Refused, why: &str) {
        if self.shared.quiet.may_say(self.peer, kind) {
            let (peer, status) = (self.peer, refused.status.as_u16());
            // Of use to whoever enters it in the peer's file; no secret.
            let presented = self.certificate.as_ref().map(|found| format!(", certificate {}", found.fingerprint));
            warn!(%peer, "HTTP request refused with {status}: {why}{}", presented.unwrap_or_default());
        }
    }

    /// Whether anything can be stored now.
    async fn check_room(&self) -> Result<(), (Refused, String)> {
        let spool = Arc::clone(&self.shared.spool);
        let checked = tokio::task::spawn_blocking(move || spool.check_room().map_err(|error| error.to_string())).await;
        checked.map_err(|error| error.to_string()).and_then(|checked| checked).map_err(|why| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (Refused::later(status, "storage is full or failing; try again later"), why)
        })
    }

    /// All that is decided before the body comes; with the refusal, why, for the log.
    fn admit(
        &self,
        head: &hyper::http::request::Parts,
        policy: &Policy,
    ) -> Result<(Admitted, String, Option<usize>), (Refused, String)> {
        let also = |refused: Refused| {
            let why = refused.reason.clone();
            (refused, why)
        };
        let web = policy.web.as_ref().ok_or_else(|| {
            let reason = "\"dicomweb\" was taken out of ae-config/gateway.json; a restart closes its port";
            (Refused::new(StatusCode::NOT_FOUND, "nothing is served here any more"), reason.to_owned())
        })?;
        let origin = Origin { address: self.peer, certificate: self.certificate.as_ref() };
        let caller = sender(&head.headers, &policy.acceptance, origin)?;
        let target = Target::of(&head.method, head.uri.path(), &policy.acceptance).map_err(also)?;
        let wanted = wanted(&head.headers, web.request_bytes_max).map_err(also)?;
        let terms = Terms {
            spool: Arc::clone(&self.shared.spool),
            calling: caller.calling.clone(),
            called: target.called.clone(),
            study: target.study,
            instance_bytes_max: policy.instance_bytes_max,
        };
        let admitted = Admitted {
            terms,
            multipart: wanted.multipart,
            format: wanted.format,
            intake: Intake::begin(caller.calling, target.called, self.shared.notices.clone()),
            idle: policy.idle,
            request_bytes_max: web.request_bytes_max,
        };
        Ok((admitted, caller.name, caller.requests_max))
    }
}
