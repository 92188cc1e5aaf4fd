//! Looking at every tenant's file as a whole, one after the other, so that damage is found before somebody needs the rows.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::domain::{Scope, TenantId};
use crate::telemetry;
use crate::tenancy::engine::{LongRead, Read};
use crate::tenancy::error::StoreError;
use crate::tenancy::map::Tenants;

/// After a look there is a pause of so many times what it took.
const PACE: u32 = 3;
/// The pauses between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a look at a tenant's file came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The tenant.
    pub tenant: TenantId,
    /// What is wrong; none: the file is sound.
    pub problems: Vec<String>,
}

impl Tenants {
    /// Looks at all of a tenant's file (`integrity_check`, `foreign_key_check`), while it serves.
    pub async fn check(&self, tenant: &TenantId) -> Finding {
        let problems = match self.find_problems(tenant).await {
            Ok(problems) => problems,
            Err(error) => vec![telemetry::in_full(&*error)],
        };
        if problems.is_empty() {
            self.roll.checked(tenant, self.opener().shared.clock.now());
        }
        Finding { tenant: tenant.clone(), problems }
    }

    async fn find_problems(&self, tenant: &TenantId) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
        let Some(db) = self.inspect(tenant).await? else {
            return Ok(vec![self.missing(tenant).to_string()]);
        };
        let found = db.read_aside(LongRead::Export, Scope::All, async move |read: &mut Read| {
            let found = sqlx::query_scalar("pragma integrity_check(10)").fetch_all(read.raw()).await?;
            let orphans = sqlx::query("pragma foreign_key_check").fetch_optional(read.raw()).await?;
            Ok::<(Vec<String>, bool), StoreError>((found, orphans.is_some()))
        });
        let (mut found, has_orphans) = found.await?;
        found.retain(|line| line != "ok");
        if has_orphans {
            found.push("a row refers to one that is not there".to_owned());
        }
        Ok(found)
    }
}

/// Looks at one file after the other, at each once in each span of `every`.
pub(super) async fn go_round(tenants: Arc<Tenants>, every: Duration) {
    // A cell that has just started has others to see to.
    sleep(LONGEST_PAUSE.min(every)).await;
    loop {
        tenants.save_roll().await;
        let longest_unchecked = tenants.catalog.longest_unchecked().await;
        let (tenant, checked_at, of) = match longest_unchecked {
            Ok(Some(found)) => found,
            Ok(None) => {
                sleep(LONGEST_PAUSE.min(every)).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "the catalog cannot be used");
                sleep(LONGEST_PAUSE).await;
                continue;
            }
        };
        let now = tenants.opener().shared.clock.now();
        let pause = (every / u32::try_from(of).unwrap_or(u32::MAX)).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if checked_at.is_some_and(|at| now.since(at) < every.mul_f64(0.9)) {
            sleep(pause).await;
            continue;
        }
        let begun = Instant::now();
        let Finding { tenant, problems } = tenants.check(&tenant).await;
        if !problems.is_empty() {
            tenants.stats().check_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(tenant_id = %tenant, problems = problems.join("; "), "a tenant's file is not sound");
            // The others' turn comes, although this one was not found sound.
            tenants.roll.checked(&tenant, now);
        }
        sleep(pause.max(begun.elapsed() * PACE)).await;
    }
}
