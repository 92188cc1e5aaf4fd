//! `copies/`: of every tenant a closed, verified file, so that any tool may copy the directory at any time (contract §4).
//!
//! SQLite writes what one snapshot has into a file in `copying/`. That is synced, opened, checked and renamed into `copies/`. Its
//! time of modification says as of when it is: it holds every write that was answered before. All times here are those
//! that the file system stamps, so that they can be compared with those of the tenants' files.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep};

use super::engine::{Connection, Read, Role};
use super::error::{StoreError, Unavailable};
use super::files::{blocking, make_anew, remove_if_there, sync_directory_of};
use super::fleet::LowSpace;
use super::location::side_file;
use super::map::{OpenError, Tenants};
use super::open::{Opener, check_content};
use super::schema;
use crate::domain::TenantId;

/// A tenant that has not been written to for this long is copied; one that never rests, before its copy is too old. Copied
/// in the middle of its writes it would be copied again soon.
const REST: Duration = Duration::from_secs(10);

/// How often it is looked which copies are due: a twentieth of how old they may be, within these bounds.
const SHORTEST_TICK: Duration = Duration::from_millis(50);
const LONGEST_TICK: Duration = Duration::from_secs(60);
/// After a copy there is a pause of so many times what it took.
const PACE: u32 = 3;

/// Why a tenant could not be copied. The copy that was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The tenant cannot be had.
    #[error("the tenant cannot be opened")]
    Open(#[from] OpenError),
    /// Reading it failed.
    #[error("the tenant cannot be read")]
    Read(#[from] StoreError),
    /// There is too little room for it.
    #[error(transparent)]
    LowSpace(#[from] LowSpace),
    /// The copy cannot be written or put in place.
    #[error("the copy cannot be written")]
    Write(#[from] io::Error),
    /// What was written is not the tenant, whole.
    #[error("the copy is not sound: {0}")]
    Unsound(String),
}

/// A tenant's file and its copy, as the file system shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyState {
    /// When the tenant's file was last changed.
    pub changed: SystemTime,
    /// As of when its copy is; `None` if there is none.
    pub copied: Option<SystemTime>,
}

impl CopyState {
    /// Whether the copy may lack a change. File systems stamp many changes alike.
    #[must_use]
    pub fn is_behind(self) -> bool {
        self.copied.is_none_or(|copied| copied <= self.changed)
    }

    /// Whether a change may be missing from the copy for longer than `every`.
    #[must_use]
    pub fn is_overdue(self, now: SystemTime, every: Duration) -> bool {
        let since = self.copied.unwrap_or(self.changed);
        self.is_behind() && now.duration_since(since).unwrap_or_default() >= every
    }

    /// Whether the copy is to be made anew at `now`, so that no change is older than `every` when it is in a copy.
    #[must_use]
    pub fn is_due(self, now: SystemTime, every: Duration) -> bool {
        let age_of = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        // Between two looks and while others are copied there is a fifth left.
        let is_old = self.copied.is_none_or(|copied| age_of(copied) >= every.mul_f64(0.8));
        self.is_behind() && (age_of(self.changed) >= REST || is_old)
    }
}

impl Tenants {
    /// The data root.
    #[must_use]
    pub fn data_root(&self) -> &Path {
        self.opener().root.directory()
    }

    /// Copies a tenant into `copies/`, one at a time, and says as of when the copy is; `None` if there is no such tenant.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub async fn copy(&self, tenant: &TenantId) -> Result<Option<SystemTime>, CopyError> {
        let root = &self.opener().root;
        let (unfinished, copy) = (root.unfinished_copy(tenant), root.copy_file(tenant));
        self.check_space().await?;
        // Until it is in place: whoever copies the same tenant uses the same names.
        let turn = self.copying.lock().await;
        let Some(snapshot) = self.snapshot(tenant, &unfinished, &turn).await? else { return Ok(None) };
        let as_of = snapshot.as_of;
        let file = root.tenant_file(tenant);
        blocking(move || {
            publish(&unfinished, &copy, as_of)?;
            // The tenant may have been deleted meanwhile: nobody would see to its copy any more.
            if file.try_exists()? { Ok(()) } else { remove_if_there(&copy) }
        })
        .await?;
        Ok(Some(as_of))
    }

    /// Writes what a tenant has now into the file `to`, closed and checked, whatever state the tenant is in; one tenant at a
    /// time, which `_turn` proves. `None` if there is no such tenant.
    pub(super) async fn snapshot(
        &self,
        tenant: &TenantId,
        to: &Path,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<Option<Snapshot>, CopyError> {
        let Some(db) = self.inspect(tenant).await? else { return Ok(None) };
        let as_of = {
            let to = to.to_owned();
            blocking(move || make_anew(&to)?.metadata()?.modified()).await?
        };
        failpoint!("copy.begun", |error: io::Error| CopyError::Write(error));
        let head = db.read(async move |read: &mut Read| journal_head(read).await).await?;
        db.copy_to(to.to_owned()).await?;
        drop(db);
        schema::add_views(to).await.map_err(|error| CopyError::Unsound(error.to_string()))?;
        failpoint!("copy.written", |error: io::Error| CopyError::Write(error));
        let content = self.opener().check_copy(tenant, to).await?;
        if content.journal_head < head {
            return Err(CopyError::Unsound("it lacks changes that were made before it".to_owned()));
        }
        Ok(Some(Snapshot { as_of, content }))
    }

    /// The tenant's file and its copy; `None` if there is no such file.
    #[must_use]
    pub fn copy_state(&self, tenant: &TenantId) -> Option<CopyState> {
        self.opener().copy_state(tenant)
    }

    /// The tenants whose copies may lack a change, by id.
    ///
    /// # Errors
    /// The file system was not asked.
    pub async fn behind_copies(&self) -> io::Result<Vec<TenantId>> {
        let opener = self.opener_arc();
        blocking(move || {
            let mut behind = opener.tenants();
            behind.retain(|tenant| opener.copy_state(tenant).is_some_and(CopyState::is_behind));
            behind.sort();
            Ok(behind)
        })
        .await
    }

    /// The time that the file system would stamp a file with now.
    ///
    /// # Errors
    /// No file can be made in the data root.
    pub fn file_time(&self) -> io::Result<SystemTime> {
        let path = self.opener().root.clock_file();
        let now = make_anew(&path)?.metadata()?.modified();
        fs::remove_file(&path)?;
        now
    }
}

async fn journal_head(read: &mut Read) -> Result<i64, StoreError> {
    let row = sqlx::query("select coalesce(max(seq), 0) from journal").fetch_one(&mut *read).await?;
    Ok(row.try_get(0)?)
}

/// A copy of a tenant's file.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// It holds every write that was answered before this moment.
    pub(super) as_of: SystemTime,
    pub(super) content: Content,
}

/// What a closed file of a tenant holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The schema that it is at.
    pub schema_version: i64,
    /// The number of its last journal entry.
    pub journal_head: i64,
    /// Rows of each table.
    pub rows: BTreeMap<String, i64>,
}

impl Opener {
    fn copy_state(&self, tenant: &TenantId) -> Option<CopyState> {
        let root = &self.root;
        let modified = |path: &Path| fs::metadata(path).ok()?.modified().ok();
        let file = root.tenant_file(tenant);
        let wal = fs::metadata(side_file(&file, "-wal")).ok().filter(|wal| wal.len() > 0);
        let wal = wal.and_then(|wal| wal.modified().ok());
        let changed = modified(&file)?.max(wal.unwrap_or(SystemTime::UNIX_EPOCH));
        Some(CopyState { changed, copied: modified(&root.copy_file(tenant)) })
    }

    /// How many tenants have no copy, and of how many others a change may be missing.
    pub(super) fn count_behind(&self) -> (usize, usize) {
        let (mut missing, mut behind) = (0, 0);
        for tenant in self.tenants() {
            match self.copy_state(&tenant) {
                Some(state) if state.copied.is_none() => missing += 1,
                Some(state) if state.is_behind() => behind += 1,
                _ => {}
            }
        }
        (missing, behind)
    }

    /// Opens a copy, as whoever restores it would, and looks at all of it.
    pub(super) async fn check_copy(&self, tenant: &TenantId, copy: &Path) -> Result<Content, CopyError> {
        let opened = Connection::open(copy, Role::Immutable, self.shared.counters.clone()).await;
        let mut copy = opened.map_err(|error| CopyError::Unsound(error.to_string()))?;
        let checked = check(&mut copy, tenant).await;
        copy.close().await;
        checked
    }
}

async fn check(copy: &mut Connection, tenant: &TenantId) -> Result<Content, CopyError> {
    let unsound = |what: &dyn ToString| CopyError::Unsound(what.to_string());
    let about = check_content(copy, tenant, schema::latest_version()).await;
    let about = about.map_err(|why: Unavailable| unsound(&why))?;
    let found: Vec<String> = sqlx::query_scalar("pragma integrity_check(1)")
        .fetch_all(copy.raw())
        .await
        .map_err(|error| unsound(&error))?;
    if found != ["ok"] {
        return Err(unsound(&found.concat()));
    }
    let orphans = sqlx::query("pragma foreign_key_check").fetch_optional(copy.raw()).await;
    if orphans.map_err(|error| unsound(&error))?.is_some() {
        return Err(unsound(&"a row refers to one that is not there"));
    }
    let head = sqlx::query_scalar("select coalesce(max(seq), 0) from journal").fetch_one(copy.raw());
    let journal_head = head.await.map_err(|error| unsound(&error))?;
    let rows = count_rows(copy.raw()).await.map_err(|error| unsound(&error))?;
    Ok(Content { schema_version: about.meta.schema_version, journal_head, rows })
}

/// How many rows each table has, SQLite's own and sqlx's aside.
pub(super) async fn count_rows(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let mut rows = BTreeMap::new();
    for name in schema::table_names(connection).await? {
        let count = format!("select count(*) from {}", schema::quoted(&name));
        let count = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        rows.insert(name, count);
    }
    Ok(rows)
}

/// Makes a copy durable, says in its time of modification as of when it is, and puts it in place.
fn publish(unfinished: &Path, copy: &Path, as_of: SystemTime) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(unfinished)?;
    file.set_modified(as_of)?;
    file.sync_all()?;
    failpoint!("copy.synced", |error| error);
    fs::rename(unfinished, copy)?;
    failpoint!("copy.renamed", |error| error);
    sync_directory_of(copy)
}

/// Copies tenants that have changed, so that each change is in a copy within `every`.
pub(super) async fn keep_fresh(tenants: Arc<Tenants>, every: Duration) {
    let mut failing = HashSet::new();
    loop {
        sleep((every / 20).clamp(SHORTEST_TICK, LONGEST_TICK)).await;
        let of = tenants.clone();
        let due = match blocking(move || due(&of, every)).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "it cannot be told which copies are due");
                continue;
            }
        };
        for tenant in due {
            let begun = Instant::now();
            match tenants.copy(&tenant).await {
                Ok(_) => {
                    tenants.stats().copies.fetch_add(1, Ordering::Relaxed);
                    failing.remove(&tenant);
                }
                Err(error) => {
                    tenants.stats().copy_failures.fetch_add(1, Ordering::Relaxed);
                    // It is tried again with each look: said once.
                    if failing.insert(tenant.clone()) {
                        tracing::warn!(tenant_id = %tenant, error = &error as &dyn Error, "a tenant cannot be copied");
                    }
                }
            }
            // The disk is the writers' first.
            sleep(begun.elapsed() * PACE).await;
        }
    }
}

/// The tenants whose copies are due, the oldest copies first.
fn due(tenants: &Tenants, every: Duration) -> io::Result<Vec<TenantId>> {
    let now = tenants.file_time()?;
    let states = tenants.all().into_iter().filter_map(|tenant| Some((tenants.copy_state(&tenant)?, tenant)));
    let behind: Vec<_> = states.filter(|(state, _)| state.is_behind()).collect();
    let overdue = behind.iter().filter(|(state, _)| state.is_overdue(now, every)).count();
    tenants.stats().copies_overdue.store(overdue as u64, Ordering::Relaxed);
    let mut due: Vec<_> = behind.into_iter().filter(|(state, _)| state.is_due(now, every)).collect();
    due.sort_by_key(|(state, _)| state.copied);
    Ok(due.into_iter().map(|(_, tenant)| tenant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_due_when_its_tenant_rests_or_before_a_change_is_too_old() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let hour = Duration::from_secs(3600);
        for (changed, copied, now, is_due) in [
            (100, None, 100, true),         // it has none
            (99, Some(100), 99_999, false), // nothing has changed
            (100, Some(100), 99_999, true), // perhaps after the copy
            (100, Some(50), 105, false),    // it is being changed
            (100, Some(50), 110, true),     // it rests
            (5000, Some(2000), 5000, true), // it never rests
            (4800, Some(2000), 4801, false),
        ] {
            let state = CopyState { changed: at(changed), copied: copied.map(at) };
            assert_eq!(state.is_due(at(now), hour), is_due, "{state:?} at {now}");
        }
        let state = CopyState { changed: at(5000), copied: Some(at(1000)) };
        assert!(state.is_overdue(at(4600), hour) && !state.is_overdue(at(4599), hour));
    }
}
