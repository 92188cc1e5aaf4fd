//! A platform on loopback that answers what a test tells it to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the platform does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Sends these bytes and closes.
    Send(String),
    /// Sends them after a while.
    SendAfter(Duration, String),
    /// Sends the head of a huge body and then body for as long as anyone listens.
    Flood,
    /// Never answers.
    Hang,
    /// Closes without a word.
    Close,
}

/// A complete response with a JSON body.
pub(super) fn respond(status: u16, body: &str) -> Act {
    respond_with(status, "Content-Type: application/json\r\n", body)
}

pub(super) fn respond_with(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// The yes of a platform that knows everyone: the user's name is the token.
pub(super) fn yes_to_all(request: &str) -> Act {
    let token = bearer(request).unwrap_or("nobody");
    respond(200, &format!(r#"{{"username":"{token}","role":"client","allowedCells":["crm"]}}"#))
}

pub(super) fn bearer(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "))
}

pub(super) struct Upstream {
    pub(super) url: String,
    hits: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    act: Arc<Mutex<Script>>,
}

type Script = Box<dyn Fn(&str) -> Act + Send>;

impl Upstream {
    /// Serves in the background; each request is answered by what `act` returns for it.
    pub(super) async fn start(act: impl Fn(&str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            hits: Arc::default(),
            most_at_once: Arc::default(),
            requests: Arc::default(),
            act: Arc::new(Mutex::new(Box::new(act))),
        };
        let (hits, most, requests, act) = (
            Arc::clone(&upstream.hits),
            Arc::clone(&upstream.most_at_once),
            Arc::clone(&upstream.requests),
            Arc::clone(&upstream.act),
        );
        let open = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hits, most, requests) = (Arc::clone(&hits), Arc::clone(&most), Arc::clone(&requests));
                let (act, open) = (Arc::clone(&act), Arc::clone(&open));
                tokio::spawn(async move {
                    hits.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    serve(stream, &requests, &act).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        upstream
    }

    pub(super) async fn always(act: Act) -> Self {
        Self::start(move |_| act.clone()).await
    }

    /// Changes what the platform does from now on.
    pub(super) fn now(&self, act: impl Fn(&str) -> Act + Send + 'static) {
        *self.act.lock().expect("not poisoned") = Box::new(act);
    }

    /// Connections so far.
    pub(super) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut stream: TcpStream, requests: &Mutex<Vec<String>>, act: &Mutex<Script>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let act = (act.lock().expect("not poisoned"))(&head);
    requests.lock().expect("not poisoned").push(head);
    match act {
        Act::Send(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
        Act::SendAfter(wait, bytes) => {
            tokio::time::sleep(wait).await;
            drop(stream.write_all(bytes.as_bytes()).await);
        }
        Act::Flood => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
        Act::Hang => {
            // Ends when the other side gives up.
            let _ = stream.read_u8().await;
        }
        Act::Close => {}
    }
    let _ = stream.shutdown().await;
}
