//! A platform on loopback that answers what a test tells it to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Script = Box<dyn Fn(&str) -> Option<String> + Send>;

/// A running platform.
pub struct Upstream {
    pub url: String,
    heads: Arc<Mutex<Vec<String>>>,
    script: Arc<Mutex<Script>>,
}

/// A whole answer.
pub fn answer(status: u16, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Retry-After: 7\r\nLocation: /api/auth/me/\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// The platform's own form of a yes.
pub fn yes(user: &str) -> Option<String> {
    answer(200, &format!(r#"{{"username":"{user}","role":"client","allowedCells":["crm"],"email":null}}"#))
}

impl Upstream {
    /// Answers each question about a token with what `script` makes of it; `None` never answers.
    pub async fn start(script: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let upstream = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            heads: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
        };
        let (heads, script) = (upstream.heads.clone(), upstream.script.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, heads.clone(), script.clone()));
            }
        });
        upstream
    }

    /// Answers otherwise from now on.
    pub fn now(&self, script: impl Fn(&str) -> Option<String> + Send + 'static) {
        *self.script.lock().expect("not poisoned") = Box::new(script);
    }

    /// The heads of the questions so far.
    pub fn questions(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>, script: Arc<Mutex<Script>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    let answer = (script.lock().expect("not poisoned"))(token.unwrap_or_default());
    heads.lock().expect("not poisoned").push(head);
    match answer {
        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
        None => drop(stream.read_u8().await), // ends when the other side gives up
    }
}
