//! `crm-cell doctor --through URL`: whether a gateway passes on what the cell depends on. Two tenants are made for it, and removed.

use std::io::Read as _;

use anyhow::Context as _;
use flate2::read::GzDecoder;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap};
use reqwest::{Client, Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::console::Console;
use crate::domain::{Clock as _, IdSource, SystemClock};
use crate::upstream;

/// How long one call may take: longer than gateways wait.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(40);
/// Longer than the bodies that gateways leave alone.
const REMARK: usize = 1200;

/// A gateway, and who asks through it.
struct Gateway {
    client: Client,
    base: Url,
    token: SecretString,
    /// Unlike that of every other time.
    mark: String,
}

/// What came through.
struct Answer {
    status: u16,
    headers: HeaderMap,
    /// `None`: not the body that was announced.
    body: Option<Value>,
}

/// What is wrong with the gateway, as remarks of the doctor.
///
/// # Errors
/// The probe tenants cannot be made or removed, or there is no client to be had.
pub(super) async fn examine(
    console: &Console,
    url: &str,
    token: Option<SecretString>,
) -> anyhow::Result<Vec<Value>> {
    let base = upstream::base_url(url).map_err(|error| anyhow::anyhow!("--through {error}"))?;
    let client = upstream::client("--through", &base, LIMIT)?;
    let token = token.unwrap_or_else(|| SecretString::from("doctor"));
    let mark = IdSource::default().next(SystemClock.now()).simple().to_string();
    let gateway = Gateway { client, base, token, mark };
    let tenants = ["a", "b"].map(|name| format!("doctor-{}-{name}", gateway.mark));
    for tenant in &tenants {
        console
            .admin
            .send(Method::PUT, &["tenants", tenant], &json!({}))
            .await
            .context("making a probe tenant")?;
    }
    let state = |state: &str| json!({ "state": state });
    let path = ["tenants", &tenants[0], "state"];
    console.admin.send(Method::PUT, &path, &state("suspended")).await?;
    // Nothing is written before it is certain that it would be written into a probe tenant.
    let lost = gateway.find_lost_tenant(&tenants[0]).await;
    console.admin.send(Method::PUT, &path, &state("active")).await?;
    let found = match lost {
        Some(lost) => vec![lost],
        None => gateway.examine(&tenants[0], &tenants[1]).await,
    };
    for tenant in &tenants {
        let reason = json!({ "reason": "a probe of crm-cell doctor" });
        console
            .admin
            .send(Method::DELETE, &["tenants", tenant], &reason)
            .await
            .context("removing a probe tenant")?;
        console.admin.send(Method::POST, &["tenants", tenant, "purge"], &json!({})).await?;
    }
    Ok(found)
}

fn remark(severity: &str, message: impl Into<String>) -> Value {
    json!({ "severity": severity, "subject": "gateway", "message": message.into() })
}

impl Gateway {
    /// Asks in a tenant that is suspended: whoever is served was in another one.
    async fn find_lost_tenant(&self, suspended: &str) -> Option<Value> {
        let path = format!("/customers/none-{}", self.mark);
        let id = format!("doctor-{}-0", self.mark);
        let answer = self.call(Method::GET, &path, suspended, &id, &[], None).await;
        let said = match &answer {
            None => "it gives no answer".to_owned(),
            Some(answer) => {
                let code = answer
                    .body
                    .as_ref()
                    .and_then(|body| body["code"].as_str())
                    .unwrap_or("no error of the cell's");
                format!("it answers {} ({code})", answer.status)
            }
        };
        let code = answer.and_then(|answer| Some(answer.body?["code"].as_str()?.to_owned()));
        match code.as_deref() {
            Some("TENANT_SUSPENDED") => None,
            Some("NOT_FOUND") => Some(remark(
                "problem",
                "X-Tenant-Id is lost: every caller is in the default tenant, or in that of their token",
            )),
            _ => Some(remark(
                "problem",
                format!(
                    "the cell cannot be asked through it, {said}: is the URL that of the cell behind the gateway, and the token \
                     (GATEWAY_TOKEN) one that both take, for any tenant?"
                ),
            )),
        }
    }

    async fn examine(&self, ours: &str, others: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let request_id = format!("doctor-{}", self.mark);
        let (name, remark_text) = (format!("探针 {}", self.mark), "长".repeat(REMARK / 3));
        let body = json!({ "name": name, "remark": remark_text });
        let made = self.call(Method::POST, "/customers", ours, &request_id, &[], Some(&body)).await;
        let Some((made, id)) = made.and_then(|made| {
            let id = made.body.as_ref()?["customerId"].as_str()?.to_owned();
            (made.status == 201).then_some((made, id))
        }) else {
            return vec![remark("problem", "a customer cannot be made through it: POST does not pass")];
        };
        let got =
            |name: &str| made.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if got("x-request-id") != request_id {
            found.push(remark("problem", "X-Request-ID is lost: a write that is repeated is made twice"));
        }
        self.find_shared_cache(ours, others, (&id, &name), &mut found).await;
        self.find_damage(ours, &mut found).await;
        let stale = [("If-Match", "\"99\"".to_owned())];
        let path = format!("/customers/{id}");
        let change = json!({ "level": "A" });
        let other_id = format!("{request_id}-2");
        let patched = self.call(Method::PATCH, &path, ours, &other_id, &stale, Some(&change)).await;
        match patched.map(|patched| patched.status) {
            Some(412) => {}
            Some(200) => found.push(remark(
                "warning",
                "If-Match is lost: clients that depend on it overwrite each other; baseVersion in the body passes",
            )),
            _ => found.push(remark("problem", "a PATCH does not pass")),
        }
        let missing =
            self.call(Method::GET, "/customers/none", ours, &format!("{request_id}-3"), &[], None).await;
        if missing.is_none_or(|missing| missing.body.is_none_or(|body| body["code"] != "NOT_FOUND")) {
            found.push(remark(
                "warning",
                "what the cell says of an error does not pass: clients see the gateway's words",
            ));
        }
        if found.is_empty() {
            found.push(remark("ok", "tenants are apart, headers and bodies pass whole"));
        }
        found
    }

    /// Asks for the same path as two tenants.
    async fn find_shared_cache(
        &self,
        ours: &str,
        others: &str,
        (id, name): (&str, &str),
        found: &mut Vec<Value>,
    ) {
        let path = format!("/customers/{id}");
        for (round, tenant) in [ours, others, ours, others].into_iter().enumerate() {
            let request_id = format!("doctor-{}-cache-{round}", self.mark);
            let Some(answer) = self.call(Method::GET, &path, tenant, &request_id, &[], None).await else {
                continue;
            };
            let shows_it = answer.body.is_some_and(|body| body.to_string().contains(name));
            if tenant == others && shows_it {
                found.push(remark(
                    "problem",
                    "it shows one tenant to another: its cache of GETs knows neither tenant nor token. Switch it off at once \
                     (GATEWAY_GET_CACHE_TTL_SEC=0)",
                ));
                return;
            }
            if tenant == ours && !shows_it {
                found.push(remark(
                    "problem",
                    "a tenant does not see what it has written: a cache is in the way",
                ));
                return;
            }
        }
    }

    /// Asks for a long body as clients with and without gzip do.
    async fn find_damage(&self, tenant: &str, found: &mut Vec<Value>) {
        for (encoding, who) in [("identity", "do not take gzip"), ("gzip", "take gzip")] {
            let id = format!("doctor-{}-{encoding}", self.mark);
            let path = format!(
                "/customers?pageSize=5&sort=name&lang={}",
                if encoding == "gzip" { "en" } else { "zh" }
            );
            let headers = [(ACCEPT_ENCODING.as_str(), encoding.to_owned())];
            let answer = self.call(Method::GET, &path, tenant, &id, &headers, None).await;
            if answer.is_none_or(|answer| answer.body.is_none_or(|body| body["total"] != 1)) {
                found.push(remark(
                    "problem",
                    format!(
                        "long bodies arrive damaged or cut off at clients that {who}: leave CRM_HTTP_CONTENT_LENGTH and \
                         CRM_HTTP_COMPRESS off"
                    ),
                ));
            }
        }
    }

    /// `None`: no answer.
    async fn call(
        &self,
        method: Method,
        path: &str,
        tenant: &str,
        request_id: &str,
        headers: &[(&str, String)],
        body: Option<&Value>,
    ) -> Option<Answer> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut url = upstream::below(&self.base, path);
        url.set_query((!query.is_empty()).then_some(query));
        let mut request = self.client.request(method, url).bearer_auth(self.token.expose_secret());
        request = request.header("X-Tenant-Id", tenant).header("X-Request-ID", request_id);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.ok().and_then(|bytes| decoded(&headers, &bytes));
        Some(Answer { status, headers, body })
    }
}

/// The body that the headers announce.
fn decoded(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    match headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()) {
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(bytes).read_to_end(&mut plain).ok()?;
            serde_json::from_slice(&plain).ok()
        }
        Some("identity") | None => serde_json::from_slice(bytes).ok(),
        Some(_) => None,
    }
}
