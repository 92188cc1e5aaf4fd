//! What a running cell does for its tenants by itself, day and night.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::log::Deed;
use super::{check, drill, space};
use crate::config::Backup;
use crate::tenancy::copies;
use crate::tenancy::map::Tenants;

/// How often it is looked what in the trash is to be removed for good, and the list of tenants is saved.
const TRASH_TICK: Duration = Duration::from_secs(3600);
const ROLL_TICK: Duration = Duration::from_secs(10);

/// Copies are kept fresh and drilled, files are looked at, the trash is emptied, the disk is watched; until this is dropped.
#[derive(Debug)]
pub struct Upkeep {
    _tasks: JoinSet<()>,
}

impl Upkeep {
    /// Starts it. Whatever has an interval of zero is not done.
    #[must_use]
    pub fn start(tenants: &Arc<Tenants>, backup: &Backup, trash_keep: Duration) -> Self {
        let Backup { copy_every, drill_every, check_every } = *backup;
        let mut tasks = JoinSet::new();
        tasks.spawn(space::watch(tenants.clone()));
        tasks.spawn(empty_trash(tenants.clone(), trash_keep));
        tasks.spawn(save_roll(tenants.clone()));
        if !copy_every.is_zero() {
            tasks.spawn(copies::keep_fresh(tenants.clone(), copy_every));
        }
        if !drill_every.is_zero() {
            tasks.spawn(drill::hold(tenants.clone(), drill_every));
        }
        if !check_every.is_zero() {
            tasks.spawn(check::go_round(tenants.clone(), check_every));
        }
        Self { _tasks: tasks }
    }
}

async fn save_roll(tenants: Arc<Tenants>) {
    loop {
        sleep(ROLL_TICK).await;
        tenants.save_roll().await;
    }
}

async fn empty_trash(tenants: Arc<Tenants>, keep: Duration) {
    loop {
        sleep(TRASH_TICK.min(keep)).await;
        let now = tenants.opener().shared.clock.now();
        match tenants.purge_expired(keep).await {
            Ok(purged) => {
                for purged in purged {
                    let deed = Deed {
                        at: now,
                        operator: "cell".to_owned(),
                        via: "cell".to_owned(),
                        action: "tenant.purge".to_owned(),
                        tenant: Some(purged.tenant),
                        detail: json!({ "removed": purged.removed }),
                        outcome: "done".to_owned(),
                    };
                    if let Err(error) = tenants.log(deed).await {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the operators' log cannot be written"
                        );
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the trash cannot be emptied");
            }
        }
    }
}
