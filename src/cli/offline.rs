//! How commands open a data root that no cell uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{self, Config, Provision};
use crate::domain::{Clock, IdSource, Masking};
use crate::tenancy::{Capacity, DataRoot, Machine, Surroundings, Tenants};

/// How long closing the tenants may take.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(60);
/// How long one transaction may take: nobody waits for the others.
const DEADLINE: Duration = Duration::from_secs(600);

/// What the tenants are opened with.
#[derive(Debug)]
pub(super) struct Offline {
    pub(super) storage: config::Storage,
    pub(super) tenants: config::Tenants,
    pub(super) capacity: Capacity,
    pub(super) surroundings: Surroundings,
}

impl Offline {
    /// The tenants of a data root, which no cell may be serving.
    pub(super) async fn open(self, data_root: &Path) -> anyhow::Result<Tenants> {
        let Self { storage, tenants, capacity, surroundings } = self;
        let root = DataRoot::open(data_root, storage.lock_wait).await;
        let root = root.context("this command needs the data root for itself")?;
        Tenants::open(root, &storage, &tenants, capacity, surroundings).await
    }
}

/// The settings of an operator's command: it does not wait for a running cell, and may create tenants.
pub(super) fn settings(config: Config, clock: Arc<dyn Clock>) -> Offline {
    let Config { server, mut storage, mut tenants, api, events, .. } = config;
    storage.lock_wait = Duration::ZERO;
    storage.read_deadline = DEADLINE;
    storage.write_deadline = DEADLINE;
    tenants.provision = Provision::Auto;
    tenants.create_burst = u32::MAX;
    Offline {
        capacity: Capacity::of(Machine::inspect(), storage.max_open_tenants, server.max_connections),
        storage,
        tenants,
        surroundings: Surroundings {
            clock,
            ids: Arc::<IdSource>::default(),
            masking: Masking { email: api.mask_email },
            // Delivered by the cell, when it runs.
            publishes_events: events.target().is_some(),
        },
    }
}
