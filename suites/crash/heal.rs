//! A tenant whose fault is over must take writes again soon, without a restart, and then all of them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Method;
use serde_json::json;

use crate::cell::Client;
use crate::workload::{Effect, Fate, Kind, Write};

/// How soon after the fault.
const HEALED: Duration = Duration::from_secs(1);

/// Writes to a tenant until it takes one, which must be soon; then it must take more without a refusal.
pub(crate) async fn heal(
    client: &Client,
    tenant: &str,
    name: &str,
    over: Instant,
) -> anyhow::Result<(Vec<Write>, Duration)> {
    let (first, _) = write_until_acknowledged(client, tenant, &format!("{name}.{tenant}.0")).await?;
    let after = over.elapsed();
    ensure!(after <= HEALED, "{tenant} took writes again only {} ms after the fault", after.as_millis());
    let mut writes = vec![first];
    for number in 1..4 {
        let (write, tries) =
            write_until_acknowledged(client, tenant, &format!("{name}.{tenant}.{number}")).await?;
        ensure!(tries == 1, "{tenant} had healed, and refused a write");
        writes.push(write);
    }
    Ok((writes, after))
}

/// Makes a customer; says how often that had to be tried.
pub(crate) async fn write_until_acknowledged(
    client: &Client,
    tenant: &str,
    request_id: &str,
) -> anyhow::Result<(Write, usize)> {
    let mut write = Write {
        tenant: tenant.to_owned(),
        request_id: request_id.to_owned(),
        method: Method::POST,
        path: "/customers".to_owned(),
        body: Some(json!({ "name": request_id })),
        effect: Effect::Create(Kind::Customer),
        fate: Fate::Unknown,
    };
    for tries in 1..1000 {
        let answer = write.send(client).await.with_context(|| format!("writing to {tenant}"))?;
        if answer.is_success() {
            write.fate = Fate::Acknowledged(answer);
            return Ok((write, tries));
        }
        ensure!(answer.status == 423, "{tenant} answers {} {}", answer.status, answer.body);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("{tenant} takes no writes any more")
}
