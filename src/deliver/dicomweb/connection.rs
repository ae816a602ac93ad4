//! One request to a web server over a connection of its own, and its answer within bounds; what it means is not judged
//! here.

use std::error::Error as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE, HOST, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::body::Body;
use super::{Destination, Outcome, Url};
use crate::deliver::connect::{ConnectError, connect, refused_by_tls};
use crate::limits::{LOGIN_BYTES_MAX, WEB_ANSWER_BYTES_MAX, WEB_REASON_LENGTH_MAX};

/// What we prove ourselves with: a file, read for each request, so that a new password needs no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A file with `user:password` (RFC 7617).
    Password(PathBuf),
    /// A file with a token (RFC 6750).
    Token(PathBuf),
}

/// Why a file of a password or token cannot be used. It never says what is in the file.
#[derive(Debug, Error)]
pub enum LoginError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: found {found}, expected one line of {expected}")]
    Content { path: PathBuf, found: &'static str, expected: &'static str },
}

impl Login {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Login::Password(path) | Login::Token(path) => path,
        }
    }

    /// The same with a file that is relative to a folder.
    pub fn under(&self, folder: &Path) -> Login {
        match self {
            Login::Password(path) => Login::Password(folder.join(path)),
            Login::Token(path) => Login::Token(folder.join(path)),
        }
    }

    /// Whether the file can be used as it is now.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn check(&self) -> Result<(), LoginError> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(self.path());
        let read = file.and_then(|file| file.take(LOGIN_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|source| LoginError::Io { path: self.path().to_owned(), source })?;
        self.read(&bytes).map(drop)
    }

    /// The header for what the file holds.
    fn read(&self, bytes: &[u8]) -> Result<HeaderValue, LoginError> {
        let (path, expected) = match self {
            Login::Password(path) => (path, "USER:PASSWORD"),
            Login::Token(path) => (path, "a token"),
        };
        let content = |found| LoginError::Content { path: path.clone(), found, expected };
        // A part of a token is a wrong token.
        if bytes.len() as u64 > LOGIN_BYTES_MAX {
            return Err(content("more than 16 KiB"));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| content("bytes that are not UTF-8"))?.trim_end_matches(['\r', '\n']);
        let header = match self {
            _ if text.is_empty() => return Err(content("nothing")),
            _ if text.chars().any(char::is_control) => return Err(content("several lines, or a control character")),
            Login::Password(_) if !text.contains(':') => return Err(content("no colon")),
            Login::Password(_) => format!("Basic {}", STANDARD.encode(text)),
            Login::Token(_) => format!("Bearer {text}"),
        };
        let mut header = HeaderValue::from_str(&header).map_err(|_| content("what no header can hold"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn header(&self) -> Result<HeaderValue, LoginError> {
        let failed = |source| LoginError::Io { path: self.path().to_owned(), source };
        let file = tokio::fs::File::open(self.path()).await.map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(LOGIN_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(failed)?;
        self.read(&bytes)
    }
}

/// A request.
pub(super) struct Request {
    pub method: Method,
    /// Behind the prefix of the server.
    pub path: String,
    /// What the body is.
    pub kind: Option<HeaderValue>,
    pub body: Body,
}

/// What a server says.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    /// What it says as `application/dicom+json`, or any other JSON.
    pub json: Option<Value>,
    /// In its own words, short and without control characters; empty when it has none.
    pub words: String,
    /// Whether it says when to come again.
    pub retry_after: bool,
    /// Where it sends us.
    pub location: Option<String>,
    /// Its clock, as it writes it (RFC 9110 6.6.1).
    pub date: Option<String>,
    /// It came before the request was sent whole.
    pub early: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("{0} did not answer: {1}")]
    Http(String, String),
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("the request could not be made: {0}")]
    Request(String),
}

impl Failure {
    /// The network may come back, and a file can be mended; a request that cannot be written stays so.
    pub(super) fn outcome(&self) -> Outcome {
        let reason = self.to_string();
        match self {
            Failure::Request(_) => Outcome::Refused { reason, status: None },
            _ => Outcome::Retry { reason, status: None },
        }
    }
}

/// Sends a request and reads the answer.
pub(super) async fn ask(destination: &Destination, request: Request) -> Result<Answer, Failure> {
    let url = &destination.url;
    let address = (url.host.as_str(), url.port);
    let written = |error: hyper::http::Error| Failure::Request(error.to_string());
    let mut builder = hyper::Request::builder()
        .method(request.method)
        .uri(format!("{}{}", url.prefix, request.path))
        .header(HOST, url.authority())
        .header(ACCEPT, "application/dicom+json")
        .header(USER_AGENT, concat!("contourd/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if let Some(kind) = request.kind {
        builder = builder.header(CONTENT_TYPE, kind);
    }
    if let Some(login) = &destination.login {
        builder = builder.header(AUTHORIZATION, login.header().await?);
    }
    let (progress, length) = (request.body.progress(), request.body.length());
    let message = builder.body(request.body).map_err(written)?;

    let stream = connect(address, destination.tls.as_ref(), destination.connect_timeout).await?;
    let failed = |error: hyper::Error| explained(destination, &error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let limit = destination.response_timeout;
    let silent = || Failure::Http(url.to_string(), format!("nothing came within {limit:?}"));
    let exchange = async move {
        let mut answer = pin!(sender.send_request(message));
        let mut before = 0;
        let response = loop {
            match timeout(limit, &mut answer).await {
                Ok(response) => break response.map_err(failed)?,
                Err(_) => {
                    let now = progress.load(Ordering::Relaxed);
                    if now == before {
                        return Err(silent());
                    }
                    before = now;
                }
            }
        };
        let early = progress.load(Ordering::Relaxed) < length;
        let answer = timeout(limit, read(response, url)).await.map_err(|_| silent())?;
        answer.map(|answer| Answer { early, ..answer })
    };
    // The connection is driven beside the exchange, and ends with it.
    let mut exchange = pin!(exchange);
    let mut connection = pin!(connection);
    tokio::select! {
        done = &mut exchange => return done,
        ended = &mut connection => if let Err(error) = ended {
            // The exchange knows more, where it has an answer already.
            return match timeout(destination.connect_timeout, exchange).await {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(failed(error)),
            };
        },
    }
    exchange.await
}

/// The answer within bounds. What is longer, or breaks off, is no answer where its body says what became of the objects;
/// that of another status says enough by its status.
async fn read(response: Response<Incoming>, url: &Url) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(shortened);
    let retry_after = parts.headers.contains_key(RETRY_AFTER);
    let date = parts.headers.get(DATE).and_then(|value| value.to_str().ok()).map(shortened);
    let status = parts.status.as_u16();
    let bytes = match Limited::new(body, WEB_ANSWER_BYTES_MAX).collect().await {
        Ok(all) => all.to_bytes(),
        Err(error) if matches!(status, 200..=299 | 409) => {
            let found = format!("its answer (HTTP {status}) could not be read to its end: {error}");
            return Err(Failure::Http(url.to_string(), found));
        }
        Err(_) => Default::default(),
    };
    let json: Option<Value> = serde_json::from_slice(&bytes).ok();
    let words = words(json.as_ref(), &bytes, parts.headers.get(CONTENT_TYPE));
    Ok(Answer { status, json, words, retry_after, location, date, early: false })
}

/// What a server says of an error: a text, or the usual members of an object.
fn words(json: Option<&Value>, bytes: &[u8], kind: Option<&HeaderValue>) -> String {
    let told = json.and_then(|json| {
        let member = |key: &&str| json.get(*key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let found: Vec<&str> =
            ["Message", "message", "errorMessage", "Details", "error"].iter().filter_map(member).collect();
        (!found.is_empty()).then(|| found.join(": "))
    });
    let is_text = kind.and_then(|kind| kind.to_str().ok()).is_none_or(|kind| kind.starts_with("text/plain"));
    let plain = || if is_text && json.is_none() { String::from_utf8_lossy(bytes).into_owned() } else { String::new() };
    shortened(&told.unwrap_or_else(plain))
}

fn shortened(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(WEB_REASON_LENGTH_MAX).collect::<String>().trim().to_owned()
}

/// That the server does not take our certificate comes late; see [`refused_by_tls`].
fn explained(destination: &Destination, error: &hyper::Error) -> Failure {
    let url = &destination.url;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(broken) = inner.downcast_ref::<io::Error>() {
            let refused = destination.tls.as_ref().and_then(|_| refused_by_tls((&url.host, url.port), broken));
            return refused.map_or_else(|| Failure::Http(url.to_string(), broken.to_string()), Failure::Connect);
        }
        source = inner.source();
    }
    Failure::Http(url.to_string(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_one_line_and_never_told() {
        let password = Login::Password("f".into());
        let header = password.read(b"ann:a secret\n").expect("good");
        assert_eq!(header.to_str().ok(), Some("Basic YW5uOmEgc2VjcmV0"));
        assert!(!format!("{header:?}").contains("YW5u"));
        assert_eq!(Login::Token("f".into()).read(b"abc.def\r\n").expect("good").to_str().ok(), Some("Bearer abc.def"));
        for bad in [&b""[..], b"\n", b"no colon", b"a:b\nc:d\n", b"a:\xff"] {
            let told = password.read(bad).expect_err("bad").to_string();
            assert!(told.starts_with("f: found ") && !told.contains("c:d"), "{told}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let long = Login::Token(folder.path().join("token"));
        std::fs::write(long.path(), "t".repeat((LOGIN_BYTES_MAX + 1) as usize)).expect("written");
        let told = long.check().expect_err("too long").to_string();
        assert!(told.contains("found more than 16 KiB, expected one line of a token"), "{told}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert!(runtime.block_on(long.header()).is_err(), "it is not cut either when it is used");
        std::fs::write(long.path(), "t".repeat(LOGIN_BYTES_MAX as usize)).expect("written");
        long.check().expect("just short enough");
    }

    #[test]
    fn the_words_of_a_server_are_short_and_plain() {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let html = HeaderValue::from_static("text/html");
        let check = |body: &str, kind: &HeaderValue| {
            words(serde_json::from_str(body).ok().as_ref(), body.as_bytes(), Some(kind))
        };
        assert_eq!(check("no\r\nroom", &text), "no  room");
        assert_eq!(check("<html>no</html>", &html), "");
        assert_eq!(check(r#"{"Message": "Bad file", "Details": "x"}"#, &html), "Bad file: x");
        assert_eq!(check(&"a".repeat(9_999), &text).len(), WEB_REASON_LENGTH_MAX);
    }
}
