//! A DICOMweb server that stores what it is sent, shows it, and answers otherwise when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use contourd::dicom::Instance;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it answers instead of what it would.
pub enum Instead {
    /// This status with this body of this kind, and these headers.
    Answer(u16, &'static str, Vec<u8>, Vec<(&'static str, &'static str)>),
    /// Nothing: the connection is closed.
    Close,
    /// Nothing, ever.
    Silence,
}

impl Instead {
    pub fn json(status: u16, body: &Value) -> Instead {
        Instead::Answer(status, "application/dicom+json", body.to_string().into_bytes(), Vec::new())
    }

    pub fn text(status: u16, body: &str) -> Instead {
        Instead::Answer(status, "text/plain", body.as_bytes().to_vec(), Vec::new())
    }
}

#[derive(Default)]
pub struct State {
    /// What was stored, by SOP Instance UID.
    pub stored: BTreeMap<String, Vec<u8>>,
    /// Method and path of each request, with its `Authorization`.
    pub requests: Vec<(String, Option<String>)>,
    /// What the next requests are answered with.
    pub instead: VecDeque<Instead>,
    /// Whether it hides what it has stored.
    pub hides: bool,
}

/// It runs until it is stopped or dropped, and can be started again at the same port.
pub struct Server {
    pub port: u16,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
    handle: tokio::runtime::Handle,
}

impl Server {
    /// A server that is not started yet.
    pub fn at_rest(runtime: &tokio::runtime::Runtime) -> Server {
        let port = StdListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
        Server { port, state: Arc::default(), task: None, handle: runtime.handle().clone() }
    }

    pub fn started(runtime: &tokio::runtime::Runtime) -> Server {
        let mut server = Server::at_rest(runtime);
        server.start();
        server
    }

    pub fn start(&mut self) {
        let (port, state) = (self.port, Arc::clone(&self.state));
        let listener = StdListener::bind(("127.0.0.1", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("not blocking");
        let task = async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                open.spawn(serve(stream, Arc::clone(&state)));
            }
        };
        self.task = Some(self.handle.spawn(task));
    }

    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Until it is gone, the port is taken.
            while !task.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub fn shared(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/dicom-web", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves one connection.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    // That a client goes away is no trouble of the server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answered = Result<Response<Full<Bytes>>, std::io::Error>;

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Answered {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = parts.uri.path_and_query().expect("a path").as_str().to_owned();
    let instead = {
        let mut state = state.lock().expect("no panic");
        state.requests.push((format!("{} {path}", parts.method), header(AUTHORIZATION)));
        state.instead.pop_front()
    };
    match instead {
        Some(Instead::Close) => return Err(std::io::Error::other("closed")),
        Some(Instead::Silence) => std::future::pending::<()>().await,
        _ => {}
    }
    // A request that is refused is read all the same, as most servers do.
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    if let Some(Instead::Answer(status, kind, body, more)) = instead {
        let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
        let response = more.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        return Ok(response.body(Full::new(body.into())).expect("a response"));
    }
    let json = |status: u16, body: Value| {
        let response = Response::builder().status(status).header(CONTENT_TYPE, "application/dicom+json");
        Ok(response.body(Full::new(body.to_string().into())).expect("a response"))
    };
    let mut state = state.lock().expect("no panic");
    if parts.method == Method::POST && path == "/dicom-web/studies" {
        let kind = header(CONTENT_TYPE).expect("a kind");
        let boundary =
            kind.strip_prefix("multipart/related; type=\"application/dicom\"; boundary=").expect("multipart");
        let file = only_part(&bytes, boundary);
        let uid = Instance::read_part10(file).expect("a DICOM file").sop_instance_uid.to_string();
        state.stored.insert(uid.clone(), file.to_vec());
        return json(200, json!({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}));
    }
    let uid = path.rsplit_once("/instances?SOPInstanceUID=").map(|(_, uid)| uid.to_owned()).expect("a search");
    let found = state.stored.contains_key(&uid) && !state.hides;
    let list = if found { json!([{"00080018": {"vr": "UI", "Value": [uid]}}]) } else { json!([]) };
    json(200, list)
}

/// The bytes of the one part of a multipart message.
fn only_part<'a>(bytes: &'a [u8], boundary: &str) -> &'a [u8] {
    let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n");
    let tail = format!("\r\n--{boundary}--\r\n");
    let rest = bytes.strip_prefix(head.as_bytes()).expect("the head of the part");
    rest.strip_suffix(tail.as_bytes()).expect("the end of the last part")
}
