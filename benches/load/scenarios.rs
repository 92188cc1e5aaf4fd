//! The requests that are sent, and to whom.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::SECRET;
use crate::client::Requests;

/// Tenants and how often each is asked for.
#[derive(Clone)]
pub(crate) struct Tenants {
    heads: Arc<[String]>,
    /// Cumulated weights: Zipf's law with exponent 1, the first tenant most often.
    weights: Arc<[f64]>,
    /// Customers in each, `c00001` and so on.
    rows: u64,
}

impl Tenants {
    /// So many tenants `t0`, `t1` … with so many customers each; callers are bound to a tenant by their JWT.
    pub(crate) fn new(tenants: usize, rows: u64) -> anyhow::Result<Self> {
        let mut sum = 0.0;
        let weights = (1..=tenants).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let heads = (0..tenants).map(|number| Ok(head(number, &token(number)?)));
        Ok(Self {
            weights: weights.collect(),
            heads: heads.collect::<anyhow::Result<Vec<_>>>()?.into(),
            rows,
        })
    }

    /// The headers of a caller in the tenant that the n-th request falls to.
    fn head(&self, number: u64) -> &str {
        let (Some(sum), Some(last)) = (self.weights.last(), self.heads.last()) else { return "" };
        let point = scatter(number) as f64 / u64::MAX as f64 * sum;
        self.heads.get(self.weights.partition_point(|weight| *weight < point)).unwrap_or(last)
    }

    fn customer(&self, number: u64) -> String {
        format!("c{:05}", 1 + scatter(number ^ 0x5bd1) % (self.rows - 1))
    }

    pub(crate) fn get(&self) -> Requests {
        let this = self.clone();
        Arc::new(move |number, request| {
            get(this.head(number), &this.customer(number), number, request);
        })
    }

    /// A GET of `path`.
    pub(crate) fn read(&self, path: &str) -> Requests {
        let (this, path) = (self.clone(), path.to_owned());
        Arc::new(move |number, request| {
            let head = this.head(number);
            let _infallible =
                write!(request, "GET {path} HTTP/1.1\r\n{head}X-Request-ID: l-{number}\r\n\r\n");
        })
    }

    pub(crate) fn post(&self) -> Requests {
        let this = self.clone();
        Arc::new(move |number, request| create(this.head(number), &crate::record_id(), number, request))
    }

    /// POSTs that have been answered before, all but the first 64.
    pub(crate) fn replay(&self) -> Requests {
        let this = self.clone();
        let run = crate::record_id();
        Arc::new(move |number, request| {
            let number = number % 64;
            create(this.head(number), &format!("{run}-{number}"), number, request);
        })
    }

    pub(crate) fn patch(&self) -> Requests {
        let this = self.clone();
        Arc::new(move |number, request| {
            let (head, id) = (this.head(number), this.customer(number));
            body(
                request,
                "PATCH",
                &format!("/customers/{id}"),
                head,
                &format!("p-{number}"),
                &format!(r#"{{"level":"L{number}"}}"#),
            );
        })
    }

    /// Four in five read, one writes.
    pub(crate) fn mix(&self) -> Requests {
        let (get, post) = (self.get(), self.post());
        Arc::new(
            move |number, request| {
                if number.is_multiple_of(5) { post(number, request) } else { get(number, request) }
            },
        )
    }

    /// One tenant after the other; in the turns that `writes` names, each is written to.
    pub(crate) fn in_turn(&self, writes: fn(u64) -> bool) -> Requests {
        let (this, sent) = (self.clone(), AtomicUsize::new(0));
        Arc::new(move |number, request| {
            let sent = sent.fetch_add(1, Ordering::Relaxed);
            let head = this.heads.get(sent % this.heads.len()).map_or("", |head| head);
            if writes((sent / this.heads.len()) as u64) {
                create(head, &crate::record_id(), number, request);
            } else {
                get(head, &this.customer(number), number, request);
            }
        })
    }
}

/// A GET without credentials.
pub(crate) fn open(path: &str) -> Requests {
    let request = format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n");
    Arc::new(move |_, bytes| bytes.extend_from_slice(request.as_bytes()))
}

/// POSTs to tenants that do not exist before.
pub(crate) fn first_touch() -> anyhow::Result<Requests> {
    // No tenant in the token: the header alone names it.
    let token = sign(&json!({"sub": "u1", "role": "admin", "exp": 4_000_000_000_u64}))?;
    Ok(Arc::new(move |number, request| {
        let head = format!("Host: load\r\nAuthorization: Bearer {token}\r\nX-Tenant-Id: new-{number}\r\n");
        create(&head, &crate::record_id(), number, request);
    }))
}

fn get(head: &str, id: &str, number: u64, request: &mut Vec<u8>) {
    let _infallible =
        write!(request, "GET /customers/{id} HTTP/1.1\r\n{head}X-Request-ID: g-{number}\r\n\r\n");
}

fn create(head: &str, key: &str, number: u64, request: &mut Vec<u8>) {
    let json = format!(
        r#"{{"name":"客户 {key}","contactPhone":"1380000{:04}","contactEmail":"c{number}@example.com"}}"#,
        number % 10_000
    );
    body(request, "POST", "/customers", head, key, &json);
}

fn body(request: &mut Vec<u8>, method: &str, path: &str, head: &str, key: &str, json: &str) {
    let _infallible = write!(
        request,
        "{method} {path} HTTP/1.1\r\n{head}X-Request-ID: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
}

fn head(tenant: usize, token: &str) -> String {
    let mut head = String::new();
    let _infallible =
        write!(head, "Host: load\r\nAuthorization: Bearer {token}\r\nX-Tenant-Id: t{tenant}\r\n");
    head
}

fn token(tenant: usize) -> anyhow::Result<String> {
    sign(&json!({"sub": "u1", "role": "admin", "tenantId": format!("t{tenant}"), "exp": 4_000_000_000_u64}))
}

fn sign(claims: &serde_json::Value) -> anyhow::Result<String> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)?)
}

/// Another number for each number, without a pattern (the finaliser of SplitMix64).
fn scatter(number: u64) -> u64 {
    let mixed =
        (number.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
