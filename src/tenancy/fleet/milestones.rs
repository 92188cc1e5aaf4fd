//! When what must be done now and then was done last. The catalog remembers it: if that is lost, it is done again.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::Timestamp;
use crate::tenancy::map::{Stats, Tenants};

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Milestone {
    /// A copy was restored beside, and was what the tenant has.
    Drill,
    /// All tenants were backed up, and none failed.
    Backup,
}

impl Milestone {
    /// What the catalog calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Drill => "drill",
            Self::Backup => "backup",
        }
    }

    fn gauge(self, stats: &Stats) -> &AtomicI64 {
        match self {
            Self::Drill => &stats.last_drill,
            Self::Backup => &stats.last_backup,
        }
    }
}

impl Tenants {
    /// When it was last done, if anybody knows.
    pub(super) async fn milestone(&self, milestone: Milestone) -> Option<Timestamp> {
        self.catalog.moment(milestone.name()).await.ok().flatten()
    }

    /// It was done.
    pub(super) async fn reached(&self, milestone: Milestone, at: Timestamp) {
        milestone.gauge(self.stats()).store(at.millis(), Ordering::Relaxed);
        if let Err(error) = self.catalog.set_moment(milestone.name(), at).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the catalog cannot be used");
        }
    }

    /// Fills the metrics with what the catalog knows. Drills are held by the cell itself: where there was none, their time runs
    /// from now.
    pub(in crate::tenancy) async fn recall(&self) {
        let stats = self.stats();
        let drill =
            self.milestone(Milestone::Drill).await.unwrap_or_else(|| self.opener().shared.clock.now());
        stats.last_drill.store(drill.millis(), Ordering::Relaxed);
        if let Some(backup) = self.milestone(Milestone::Backup).await {
            stats.last_backup.store(backup.millis(), Ordering::Relaxed);
        }
    }
}
