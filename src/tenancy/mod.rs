//! One tenant, one SQLite file: from a [`TenantId`](crate::domain::TenantId) to units of work on that file alone.
//!
//! The life of a tenant's file, in the order of the modules:
//! - `location`: the id becomes a file name, here and nowhere else.
//! - `root`: the data root, which `LOCK` gives to one process; `volume` is the file system that it is on.
//! - `schema`: migrations, and the template that new tenants are copied from.
//! - `open`: creates, checks whose file it is, migrates; `files` is what it and `root` need of a file system.
//! - `map`: finds open tenants, opens the others once, forgets the least used; `slot` is what it knows of one tenant.
//! - `engine`: one writer and one reader task for each open tenant, and connections for long reads.
//! - `meta`: what operators have decided about a tenant; `roll` is what was last seen of all of them.
//! - `fleet`: what operators do to tenants.
//! - `copies`: a closed, verified file of every tenant, for whoever copies files.
//! - `event_work`: which tenants have events to see to; `catalog` keeps that, and what else concerns all of them.
//!
//! Nothing outside can name a connection. [`Read`] and [`Write`] exist only inside a unit of work, units are only taken
//! by a [`TenantDb`], and those only come from [`Tenants`].

#[macro_use]
mod failpoint;

mod bucket;
mod catalog;
mod copies;
mod engine;
mod error;
mod event_work;
mod files;
mod fleet;
mod limits;
mod location;
mod map;
mod meta;
mod open;
mod roll;
mod root;
pub(crate) mod rows;
mod schema;
mod search_text;
mod slot;
mod volume;

use std::sync::Arc;

use anyhow::Context as _;

pub use self::copies::{Content, CopyError, CopyState};
pub use self::engine::{
    Actor, Addition, Change, CountKey, Counters, Done, Event, IdempotencyKey, LongRead, Members, PointRead,
    Read, TenantDb, Unit, Write,
};
pub use self::error::{Outcome, Quarantine, Reason, StoreError, Unavailable};
pub use self::event_work::{Backlog, EventWork};
pub use self::fleet::{
    BackedUp, Backup, BackupOrder, BackupStep, Condition, Deed, Difference, Discarded, DrillError, Entry,
    Failure, Finding, FleetError, Frozen, Kind, Listed, LogEntry, LogError, LowSpace, Manifest, NotFrozen,
    OperatorLog, Outcome as FleetOutcome, Purged, Remark, Restored, Roster, RosterQuery, Severity, Shown,
    Source, Upkeep, Verified,
};
pub use self::limits::{Bound, Capacity, Machine};
pub use self::location::{file_name, tenant_of};
pub use self::map::{OpenError, Stats, Tenants};
pub use self::meta::{Meta, State};
pub use self::root::{DataRoot, Guard};
use crate::config;
use crate::domain::{Clock, IdSource, Masking};

/// What units of work take from outside.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<IdSource>,
    /// How personal data is masked in journal entries and events.
    pub masking: Masking,
    /// Events are delivered; otherwise they are kept as unpublished.
    pub publishes_events: bool,
}

impl Tenants {
    /// Opens the tenants of a data root.
    ///
    /// # Errors
    /// SQLite is too old, or the data root cannot be used.
    pub async fn open(
        root: DataRoot,
        storage: &config::Storage,
        tenants: &config::Tenants,
        capacity: Capacity,
        surroundings: Surroundings,
    ) -> anyhow::Result<Self> {
        let directory = root.directory().to_owned();
        let opened = Self::try_open(root, storage, tenants, capacity, surroundings).await;
        opened.map_err(|error| volume::explain(error, &directory))
    }

    async fn try_open(
        root: DataRoot,
        storage: &config::Storage,
        tenants: &config::Tenants,
        capacity: Capacity,
        surroundings: Surroundings,
    ) -> anyhow::Result<Self> {
        let catalog = catalog::Catalog::open(&root.catalog_file()).await.context("opening the catalog")?;
        let template =
            schema::Template::build(root.template_file()).await.context("preparing new tenants")?;
        let settings = engine::Settings {
            queue: storage.queue,
            read_deadline: storage.read_deadline,
            write_deadline: storage.write_deadline,
            report_deadline: storage.report_deadline,
            export_deadline: storage.export_deadline,
            checkpoint_after: storage.checkpoint_after,
            writer_idle: storage.writer_idle,
        };
        let space = fleet::Space::of(root.directory().to_owned(), storage.low_water, storage.stop_writes);
        let shared = engine::Shared::new(settings, surroundings, root.trash().into(), space);
        let trash = fleet::Trash::open(root.trash()).context("reading the trash")?;
        let settings = map::Settings {
            idle: storage.tenant_idle,
            provision: tenants.provision,
            create_burst: tenants.create_burst,
            create_per_minute: tenants.create_per_minute,
        };
        let opener = open::Opener { root, template, shared, trash };
        opener.settle().await?;
        let seen = catalog.set_tenants(&opener.tenants()).await;
        seen.context("writing the catalog: remove catalog.db, which is made anew")?;
        let tenants = Self::new(opener, catalog, capacity.tenants, &settings).await?;
        tenants.recall().await;
        Ok(tenants)
    }
}
