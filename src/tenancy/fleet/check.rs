//! Looking at every tenant's file as a whole, one after the other, so that damage is found before somebody needs the rows.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::error::FleetError;
use crate::domain::{Scope, TenantId};
use crate::telemetry;
use crate::tenancy::engine::{LongRead, Read};
use crate::tenancy::error::{Reason, StoreError};
use crate::tenancy::map::{OpenError, Tenants};

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
    /// What is wrong; none: the file is sound, if it could be looked at.
    pub problems: Vec<String>,
    /// Why it could not be looked at now, if it could not.
    pub unchecked: Option<String>,
}

impl Tenants {
    /// Looks at all of a tenant's file (`integrity_check`, `foreign_key_check`), while it serves.
    pub async fn check(&self, tenant: &TenantId) -> Finding {
        let found = {
            let _one_at_a_time = self.drilling.lock().await;
            self.find_problems(tenant).await
        };
        let (problems, unchecked) = match found {
            Ok(problems) => (problems, None),
            Err(error) if is_damage(&error) => (vec![telemetry::in_full(&error)], None),
            Err(error) => (Vec::new(), Some(telemetry::in_full(&error))),
        };
        if problems.is_empty() && unchecked.is_none() {
            self.roll.checked(tenant, self.opener().shared.clock.now());
        }
        Finding { tenant: tenant.clone(), problems, unchecked }
    }

    async fn find_problems(&self, tenant: &TenantId) -> Result<Vec<String>, FleetError> {
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        let found = db.read_aside(LongRead::Check, Scope::All, async move |read: &mut Read| {
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

/// Whether the file itself is what failed.
fn is_damage(error: &FleetError) -> bool {
    let why = match error {
        FleetError::Open(OpenError::Unavailable(why)) => why,
        FleetError::Read(StoreError::Unavailable(why)) => why,
        FleetError::Read(StoreError::Sql(_)) => return true,
        _ => return false,
    };
    matches!(why.reason, Reason::Quarantined(_) | Reason::Migration(_) | Reason::CannotOpen(_))
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
        let Finding { tenant, problems, unchecked } = tenants.check(&tenant).await;
        if let Some(why) = unchecked {
            tracing::debug!(tenant_id = %tenant, why, "a tenant's file could not be looked at");
            tenants.roll.checked(&tenant, now);
        }
        if !problems.is_empty() {
            tenants.stats().check_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(tenant_id = %tenant, problems = problems.join("; "), "a tenant's file is not sound");
            // The others' turn comes, although this one was not found sound.
            tenants.roll.checked(&tenant, now);
        }
        sleep(pause.max(begun.elapsed() * PACE)).await;
    }
}
