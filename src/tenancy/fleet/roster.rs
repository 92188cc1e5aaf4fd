//! The list of tenants: what was last seen of each, and what the file system and the map show now.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::FleetError;
use super::restore::moment;
use crate::domain::{Scope, TenantId, Timestamp};
use crate::telemetry;
use crate::tenancy::catalog::Known;
use crate::tenancy::copies::count_rows;
use crate::tenancy::engine::{LongRead, Read};
use crate::tenancy::error::StoreError;
use crate::tenancy::location::side_file;
use crate::tenancy::map::Tenants;
use crate::tenancy::meta::{Meta, State};

/// How many rows of the catalog are looked at together.
const BATCH: u32 = 500;

/// Which tenants are listed. Every condition narrows the list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RosterQuery {
    /// Those whose ids follow this one.
    pub after: Option<String>,
    /// At most so many; absent: 100.
    pub limit: Option<u32>,
    /// In this state.
    pub state: Option<Condition>,
    /// At this schema version.
    pub schema_version: Option<i64>,
    /// With files of at least so many bytes.
    pub min_bytes: Option<u64>,
    /// Not used for so many seconds.
    pub idle_seconds: Option<u64>,
    /// With changes that may have been missing from their copies for so many seconds.
    pub copy_behind_seconds: Option<u64>,
    /// With at least so many events to deliver.
    pub min_undelivered: Option<u64>,
}

/// The state of a tenant as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It serves everybody.
    Active,
    /// It serves readers.
    ReadOnly,
    /// It serves nobody.
    Suspended,
    /// Its file is refused.
    Quarantined,
    /// Its file was not opened since the catalog was made.
    Unseen,
}

/// A tenant in the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The tenant.
    pub tenant: TenantId,
    /// Its state.
    pub state: Condition,
    /// What its file said of itself when it was last opened.
    pub meta: Option<Meta>,
    /// Bytes of its file and of the WAL beside it.
    pub bytes: u64,
    /// Whether it is open.
    pub open: bool,
    /// When a request used it last.
    pub accessed_at: Option<Timestamp>,
    /// As of when its copy is.
    pub copied_at: Option<Timestamp>,
    /// Whether its copy may lack a change.
    pub copy_behind: bool,
    /// When its file was last looked at as a whole, and found sound.
    pub checked_at: Option<Timestamp>,
    /// Events to be delivered.
    pub undelivered: u64,
}

/// A page of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roster {
    /// The tenants, by id.
    pub items: Vec<Listed>,
    /// What `after` is for the next page; absent: there is none.
    pub next: Option<String>,
}

/// A tenant, looked at closely.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// What the list says of it.
    #[serde(flatten)]
    pub listed: Listed,
    /// Its file, relative to the data root.
    pub file: String,
    /// Rows of each table; absent if the file cannot be read.
    pub rows: Option<BTreeMap<String, i64>>,
    /// Bytes of pages that hold nothing.
    pub free_bytes: Option<i64>,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

impl Tenants {
    /// A page of the tenants that have files.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn roster(&self, query: &RosterQuery) -> Result<Roster, FleetError> {
        self.save_roll().await;
        let limit = query.limit.unwrap_or(100).clamp(1, 1000) as usize;
        let now = self.opener().shared.clock.now();
        let state = match query.state {
            Some(Condition::Active) => Some(State::Active),
            Some(Condition::ReadOnly) => Some(State::ReadOnly),
            Some(Condition::Suspended) => Some(State::Suspended),
            Some(Condition::Quarantined | Condition::Unseen) | None => None,
        };
        let (mut items, mut after) = (Vec::new(), query.after.clone().unwrap_or_default());
        loop {
            let batch = self.catalog.tenants(&after, state, query.schema_version, BATCH).await?;
            let is_last = batch.len() < BATCH as usize;
            for known in batch {
                after = known.tenant.to_string();
                let listed = self.listed(known);
                if query.admits(&listed, now) {
                    if items.len() == limit {
                        let next = items.last().map(|last: &Listed| last.tenant.to_string());
                        return Ok(Roster { items, next });
                    }
                    items.push(listed);
                }
            }
            if is_last {
                return Ok(Roster { items, next: None });
            }
        }
    }

    /// A tenant, looked at closely.
    ///
    /// # Errors
    /// There is no such tenant.
    pub async fn show(&self, tenant: &TenantId) -> Result<Shown, FleetError> {
        if !self.opener().exists(tenant) {
            return Err(self.missing(tenant));
        }
        let usage = self.usage(tenant).await;
        let known = self.known(tenant).await.unwrap_or_else(|| Known::nothing_of(tenant.clone()));
        let listed = self.listed(known);
        let file = format!("tenants/{}", crate::tenancy::location::file_name(tenant));
        Ok(match usage {
            Ok((rows, free_bytes)) => {
                Shown { listed, file, rows: Some(rows), free_bytes: Some(free_bytes), error: None }
            }
            Err(error) => {
                let error = Some(telemetry::in_full(&error));
                Shown { listed, file, rows: None, free_bytes: None, error }
            }
        })
    }

    async fn usage(&self, tenant: &TenantId) -> Result<(BTreeMap<String, i64>, i64), FleetError> {
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        let read = db.read_aside(LongRead::Report, Scope::All, async move |read: &mut Read| {
            let sql = "select freelist_count * page_size from pragma_freelist_count, pragma_page_size";
            let free_bytes = sqlx::query_scalar(sql).fetch_one(&mut *read).await?;
            Ok::<_, StoreError>((count_rows(read.raw()).await?, free_bytes))
        });
        Ok(read.await?)
    }

    /// What the catalog knows of a tenant.
    pub(in crate::tenancy) async fn known(&self, tenant: &TenantId) -> Option<Known> {
        self.save_roll().await;
        self.catalog.tenant(tenant).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the catalog cannot be used");
            None
        })
    }

    fn listed(&self, known: Known) -> Listed {
        let Known { tenant, meta, accessed_at, checked_at } = known;
        let path = self.opener().path(&tenant);
        let size = |path| fs::metadata(path).map_or(0, |file| file.len());
        let copy = self.copy_state(&tenant);
        let state = match &meta {
            _ if self.is_quarantined(&tenant) => Condition::Quarantined,
            None => Condition::Unseen,
            Some(meta) => meta.state.into(),
        };
        Listed {
            state,
            meta,
            bytes: size(path.clone()) + size(side_file(&path, "-wal")),
            open: self.is_open(&tenant),
            accessed_at,
            copied_at: copy.and_then(|copy| copy.copied).map(moment),
            copy_behind: copy.is_some_and(super::super::copies::CopyState::is_behind),
            checked_at,
            undelivered: self.event_work.pending(&tenant),
            tenant,
        }
    }

    /// Saves what was seen of tenants in the catalog.
    pub async fn save_roll(&self) {
        let unsaved = self.roll.take();
        if unsaved.is_empty() {
            return;
        }
        if let Err(error) = self.catalog.set_seen(&unsaved).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the catalog cannot be used");
            self.roll.give_back(unsaved);
        }
    }

    /// Makes the catalog's list of tenants anew from their files, each of which is opened. Says how many could not be.
    ///
    /// # Errors
    /// The catalog cannot be written.
    pub async fn rebuild_catalog(&self, mut step: impl FnMut(usize, usize)) -> Result<usize, FleetError> {
        self.save_roll().await;
        self.catalog.forget_files().await?;
        let all = self.all();
        self.catalog.set_tenants(&all).await?;
        let (of, mut failed) = (all.len(), 0);
        for (before, tenant) in all.into_iter().enumerate() {
            match self.inspect(&tenant).await {
                // What is open was seen when it was opened.
                Ok(Some(db)) => self.roll.saw(&tenant, &db.about().meta, None),
                Ok(None) => self.roll.gone(&tenant),
                Err(error) => {
                    failed += 1;
                    tracing::warn!(tenant_id = %tenant, %error, "a tenant cannot be opened");
                }
            }
            step(before + 1, of);
        }
        self.save_roll().await;
        Ok(failed)
    }
}

impl RosterQuery {
    fn admits(&self, listed: &Listed, now: Timestamp) -> bool {
        let is_older = |at: Option<Timestamp>, seconds: u64| {
            at.is_none_or(|at| now.since(at) >= Duration::from_secs(seconds))
        };
        self.state.is_none_or(|state| state == listed.state)
            && self.min_bytes.is_none_or(|bytes| listed.bytes >= bytes)
            && self.min_undelivered.is_none_or(|events| listed.undelivered >= events)
            && self.idle_seconds.is_none_or(|idle| is_older(listed.accessed_at, idle))
            && self
                .copy_behind_seconds
                .is_none_or(|seconds| listed.copy_behind && is_older(listed.copied_at, seconds))
    }
}

impl From<State> for Condition {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::ReadOnly => Self::ReadOnly,
            State::Suspended => Self::Suspended,
        }
    }
}

impl Condition {
    /// The word in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => State::Active.as_str(),
            Self::ReadOnly => State::ReadOnly.as_str(),
            Self::Suspended => State::Suspended.as_str(),
            Self::Quarantined => "quarantined",
            Self::Unseen => "unseen",
        }
    }
}
