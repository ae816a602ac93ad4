//! A connection on a TLS port until its handshake is done; what comes after is like any other.

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::Shared;
use super::association::{Opening, say, say_of};
use crate::tls::{ServerStream, ServerTls};

/// The handshake; `None` when there is no connection after it. It has its part of the ARTIM time and of the places of those
/// that have said nothing yet: half of one stops nobody.
pub(super) async fn shake(
    stream: TcpStream,
    opening: &mut Opening<'_>,
    tls: Option<&ServerTls>,
    shared: &Shared,
) -> Option<ServerStream> {
    let (peer, artim) = (opening.peer, opening.policy.artim);
    let Some(tls) = tls else {
        say(
            shared,
            peer,
            "TLS is not set up any more, see ae-config/gateway.json and the log before; a restart closes its port",
        );
        return None;
    };
    let mut killed = shared.killed.clone();
    let shaken = tokio::select! {
        shaken = timeout_at(opening.deadline, tls.accept(stream)) => shaken,
        () = opening.ticket.evicted() => return None,
        _ = killed.wait_for(|killed| *killed) => return None,
    };
    match shaken {
        Ok(Ok((stream, certificate))) => {
            opening.certificate = certificate;
            return Some(stream);
        }
        Ok(Err(refused)) => {
            say_of(shared, peer, "handshake", &refused.reason);
            // Whether the peer takes its alert or not, the place is free at the end of the time, or when another needs it.
            tokio::select! {
                _ = timeout_at(opening.deadline, refused.close()) => {}
                () = opening.ticket.evicted() => {}
                _ = killed.wait_for(|killed| *killed) => {}
            }
        }
        Err(_) => say(shared, peer, &format!("no TLS handshake within {artim:?}")),
    }
    None
}
