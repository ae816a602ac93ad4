//! Opens the connection to a destination, with or without TLS; never without where TLS is asked for.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::tls::{self, ClientTls, Stream};

/// Why there is no connection. All may pass.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    #[error("{0} could not be reached: {1}")]
    Tcp(String, String),
    #[error("no TLS connection with {0}: {1}")]
    Tls(String, String),
}

/// Connects and, where the destination wants it, shakes hands, all within the time to connect.
pub(super) async fn connect(
    (host, port): (&str, u16),
    tls: Option<&ClientTls>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let address = format!("{host}:{port}");
    let deadline = Instant::now() + limit;
    let connected = timeout_at(deadline, TcpStream::connect((host, port))).await;
    let stream = connected
        .map_err(|_| ConnectError::Tcp(address.clone(), format!("no connection within {limit:?}")))?
        .map_err(|error| ConnectError::Tcp(address.clone(), error.to_string()))?;
    // One write per PDU and no waiting for more: otherwise each object costs a delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    let shaken = timeout_at(deadline, tls.connect(stream)).await;
    shaken
        .map_err(|_| silent(&address, limit))?
        .map_err(|error| ConnectError::Tls(address, tls::explain_handshake(&error)))
}

fn silent(address: &str, limit: Duration) -> ConnectError {
    let why = format!("no TLS handshake within {limit:?}; does it speak TLS on this port?");
    ConnectError::Tls(address.to_owned(), why)
}

/// In TLS 1.3 the other side judges our certificate after our handshake is done: its refusal comes where the answer to
/// the first request was due. `None` for an error that is no such thing.
pub(super) fn refused_by_tls((host, port): (&str, u16), broken: &io::Error) -> Option<ConnectError> {
    let why = match tls::explain(broken) {
        Some(why) => why,
        None if is_closed(broken) => tls::explain_handshake(broken),
        None => return None,
    };
    Some(ConnectError::Tls(format!("{host}:{port}"), why))
}

fn is_closed(error: &io::Error) -> bool {
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
}
