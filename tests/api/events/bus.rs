//! The platform's bus on loopback (its behaviour: `POST` and `GET /api/events`), which does to each event what a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use salvo::conn::tcp::TcpAcceptor;
use salvo::http::{ResBody, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Server, async_trait};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the bus does to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept, and the answer is 202.
    Accept,
    /// It is kept, and the answer is this status: the sender cannot know.
    KeepAndAnswer(u16),
    /// It is not kept, and the answer is this status.
    Answer(u16),
    /// It is not kept, and the answer is 202 with `status: dlq`.
    Bury,
}

type Script = Box<dyn Fn(&Value) -> Verdict + Send + Sync>;

/// A running bus.
#[derive(Clone)]
pub struct Bus {
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    script: Mutex<Script>,
    /// Every event that was kept, in the order in which they came, repetitions included.
    kept: Mutex<Vec<Value>>,
    /// The headers of every request that offered an event.
    heads: Mutex<Vec<Vec<(String, String)>>>,
    offers: AtomicU64,
    /// What is given to those who ask: entries with `ts`.
    entries: Mutex<Vec<Value>>,
    /// What they are given instead.
    nonsense: Mutex<Option<Value>>,
    polls: Mutex<Vec<String>>,
}

impl Bus {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// A bus at this address, which must be free.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let inner = Arc::new(Inner {
            script: Mutex::new(Box::new(|_| Verdict::Accept)),
            kept: Mutex::default(),
            heads: Mutex::default(),
            offers: AtomicU64::new(0),
            entries: Mutex::default(),
            nonsense: Mutex::default(),
            polls: Mutex::default(),
        });
        let events = Router::with_path("api/events").post(Taking(inner.clone())).get(Giving(inner.clone()));
        let acceptor = TcpAcceptor::try_from(listener).expect("a listener");
        tokio::spawn(Server::new(acceptor).serve(Router::new().push(events)));
        Self { url, inner }
    }

    /// From now on this is what is done to events.
    pub fn now(&self, script: impl Fn(&Value) -> Verdict + Send + Sync + 'static) {
        *self.inner.script.lock().expect("not poisoned") = Box::new(script);
    }

    /// The events that were kept, repetitions included.
    pub fn kept(&self) -> Vec<Value> {
        self.inner.kept.lock().expect("not poisoned").clone()
    }

    /// The events that were kept, each once, as a receiver that knows them by their ids sees them.
    pub fn distinct(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        self.kept().into_iter().filter(|event| seen.insert(event["eventId"].to_string())).collect()
    }

    /// The headers of the offers.
    pub fn heads(&self) -> Vec<Vec<(String, String)>> {
        self.inner.heads.lock().expect("not poisoned").clone()
    }

    /// How often an event was offered.
    pub fn offers(&self) -> u64 {
        self.inner.offers.load(Ordering::SeqCst)
    }

    /// Gives this entry to those who ask.
    pub fn put(&self, entry: Value) {
        self.inner.entries.lock().expect("not poisoned").push(entry);
    }

    /// Gives this to those who ask, instead of what there is.
    pub fn talk_nonsense(&self, answer: Option<Value>) {
        *self.inner.nonsense.lock().expect("not poisoned") = answer;
    }

    /// The queries of those who asked.
    pub fn polls(&self) -> Vec<String> {
        self.inner.polls.lock().expect("not poisoned").clone()
    }
}

struct Taking(Arc<Inner>);

#[async_trait]
impl Handler for Taking {
    async fn handle(&self, request: &mut Request, _: &mut Depot, response: &mut Response, _: &mut FlowCtrl) {
        let Self(inner) = self;
        let header = |(name, value): (&salvo::http::HeaderName, &salvo::http::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let head: Vec<_> = request.headers().iter().map(header).collect();
        let event: Value = request.parse_json().await.unwrap_or_default();
        inner.offers.fetch_add(1, Ordering::SeqCst);
        inner.heads.lock().expect("not poisoned").push(head);
        let verdict = (inner.script.lock().expect("not poisoned"))(&event);
        let (keeps, status, word) = match verdict {
            Verdict::Accept => (true, 202, "accepted"),
            Verdict::KeepAndAnswer(status) => (true, status, "lost"),
            Verdict::Answer(status) => (false, status, "refused"),
            Verdict::Bury => (false, 202, "dlq"),
        };
        let answer = json!({"eventId": event["eventId"], "status": word});
        if keeps {
            inner.kept.lock().expect("not poisoned").push(event);
        }
        response.status_code(StatusCode::from_u16(status).expect("a status"));
        response.body = ResBody::Once(answer.to_string().into());
    }
}

struct Giving(Arc<Inner>);

#[async_trait]
impl Handler for Giving {
    async fn handle(&self, request: &mut Request, _: &mut Depot, response: &mut Response, _: &mut FlowCtrl) {
        let Self(inner) = self;
        inner.polls.lock().expect("not poisoned").push(request.uri().query().unwrap_or_default().to_owned());
        if let Some(nonsense) = &*inner.nonsense.lock().expect("not poisoned") {
            response.body = ResBody::Once(nonsense.to_string().into());
            return;
        }
        let topic: String = request.query("topic").unwrap_or_default();
        let since: f64 = request.query("since").unwrap_or(0.0);
        let limit: usize = request.query("limit").unwrap_or(20);
        let entries = inner.entries.lock().expect("not poisoned");
        let found: Vec<_> = entries
            .iter()
            .filter(|entry| entry["eventType"].as_str().is_some_and(|kind| kind.starts_with(&topic)))
            .filter(|entry| entry["ts"].as_f64().is_some_and(|ts| ts >= since))
            .cloned()
            .collect();
        let newest = &found[found.len().saturating_sub(limit.min(100))..];
        response.body = ResBody::Once(json!({"data": newest, "total": newest.len()}).to_string().into());
    }
}
