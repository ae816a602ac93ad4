//! A connection on the TLS port until its handshake is done; what comes after is an association like any other.

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::association::{self, Opening, say, say_of};
use super::{Policy, Shared};

/// Serves a connection until it is closed. The handshake has its part of the ARTIM time and of the places of those that
/// have said nothing yet: half of one stops nobody.
pub(super) async fn serve(stream: TcpStream, mut opening: Opening<'_>, shared: &Shared) {
    let peer = opening.peer;
    let Policy { tls: Some(tls), artim, .. } = &*opening.policy.clone() else {
        say(
            shared,
            peer,
            "TLS is not set up any more, see ae-config/gateway.json and the log before; a restart closes its port",
        );
        return;
    };
    let mut killed = shared.killed.clone();
    let shaken = tokio::select! {
        shaken = timeout_at(opening.deadline, tls.accept(stream)) => shaken,
        () = opening.ticket.evicted() => return,
        _ = killed.wait_for(|killed| *killed) => return,
    };
    match shaken {
        Ok(Ok((stream, certificate))) => {
            opening.certificate = certificate;
            association::serve(stream, opening, shared).await;
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
}
