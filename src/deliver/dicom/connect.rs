//! Opens the connection to a destination, with or without TLS; never without where TLS is asked for.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Destination;
use super::association::Failure;
use crate::tls::{self, Stream};
use crate::wire::WireError;

/// Connects and, where the destination wants it, shakes hands, all within the time to connect.
pub(super) async fn connect(destination: &Destination) -> Result<Stream, Failure> {
    let address = format!("{}:{}", destination.host, destination.port);
    let limit = destination.connect_timeout;
    let deadline = Instant::now() + limit;
    let connected = timeout_at(deadline, TcpStream::connect((destination.host.as_str(), destination.port))).await;
    let stream = connected
        .map_err(|_| Failure::Connect(address.clone(), format!("no connection within {limit:?}")))?
        .map_err(|error| Failure::Connect(address.clone(), error.to_string()))?;
    // One write per PDU and no waiting for more: otherwise each object costs a delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &destination.tls else { return Ok(Stream::Plain(stream)) };
    let shaken = timeout_at(deadline, tls.connect(stream)).await;
    shaken.map_err(|_| silent(&address, limit))?.map_err(|error| Failure::Tls(address, tls::explain_handshake(&error)))
}

fn silent(address: &str, limit: Duration) -> Failure {
    let why = format!("no TLS handshake within {limit:?}; does it speak TLS on this port?");
    Failure::Tls(address.to_owned(), why)
}

/// In TLS 1.3 the other side judges our certificate after our handshake is done: its refusal comes where the answer to
/// the association request was due.
pub(super) fn explained(destination: &Destination, error: WireError) -> Failure {
    let address = || format!("{}:{}", destination.host, destination.port);
    match &error {
        WireError::Io(broken) if destination.tls.is_some() => match tls::explain(broken) {
            Some(why) => Failure::Tls(address(), why),
            None if is_closed(broken) => Failure::Tls(address(), tls::explain_handshake(broken)),
            None => Failure::Wire(error),
        },
        _ => Failure::Wire(error),
    }
}

fn is_closed(error: &io::Error) -> bool {
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
}
