//! Answers that take a while: a JSON line for each step, and one for how it ended. Who hangs up ends the work; who only reads
//! slowly does not hold it up.

use futures_util::stream;
use salvo::http::header::CONTENT_TYPE;
use salvo::http::{HeaderValue, ResBody, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::Refusal;
use crate::domain::TenantId;

/// Says how far the work is.
#[derive(Debug, Clone)]
pub(super) struct Steps(mpsc::UnboundedSender<Value>);

/// What is told of one tenant of many.
#[derive(Serialize)]
struct OneDone<T> {
    tenant: TenantId,
    /// How many are done, this one included.
    done: usize,
    of: usize,
    #[serde(flatten)]
    found: T,
}

impl Steps {
    pub(super) fn tell<T: Serialize>(&self, step: &T) {
        if let Ok(step) = serde_json::to_value(step) {
            // Whoever listened may be gone.
            let _gone = self.0.send(json!({ "step": step }));
        }
    }

    /// Does `work` to each tenant in turn, with a step for each. `work` says whether all is well, and what else the step tells.
    /// Returns on how many it was not.
    pub(super) async fn each<W, T>(
        &self,
        tenants: Vec<TenantId>,
        mut work: impl FnMut(TenantId) -> W,
    ) -> Result<usize, Refusal>
    where
        W: Future<Output = Result<(bool, T), Refusal>>,
        T: Serialize,
    {
        let (of, mut failed) = (tenants.len(), 0);
        for (before, tenant) in tenants.into_iter().enumerate() {
            let (is_well, found) = work(tenant.clone()).await?;
            failed += usize::from(!is_well);
            self.tell(&OneDone { tenant, done: before + 1, of, found });
        }
        Ok(failed)
    }

    /// What `work` comes to, unless whoever listens goes away first.
    pub(super) async fn while_heard<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Refusal>
    where
        Refusal: From<E>,
    {
        tokio::select! {
            done = work => done.map_err(Refusal::from),
            () = self.0.closed() => Err(Refusal::invalid("who asked for it has hung up")),
        }
    }
}

/// Answers with the steps of `work` while it goes on, then with `{"done": …}` or `{"error": …}`.
pub(super) fn answer<F, W>(response: &mut Response, work: F)
where
    F: FnOnce(Steps) -> W,
    W: Future<Output = Result<Value, Refusal>> + Send + 'static,
{
    let (sender, lines) = mpsc::unbounded_channel();
    let mut working = JoinSet::new();
    let end = sender.clone();
    let work = work(Steps(sender));
    working.spawn(async move {
        let last = match work.await {
            Ok(done) => json!({ "done": done }),
            Err(refusal) => refusal.to_json(),
        };
        let _gone = end.send(last);
    });
    // The set goes with the body: dropped, it ends the work.
    let lines = stream::unfold((lines, working), async |(mut lines, working)| {
        let line = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(format!("{line}\n")), (lines, working)))
    });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.body = ResBody::stream(lines);
}
