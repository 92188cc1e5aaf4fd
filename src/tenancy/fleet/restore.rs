//! Restoring and branching: a tenant's file made of another file, beside; it takes its place only when it is whole and checked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backups::Entry;
use super::error::FleetError;
use super::life::Outcome;
use super::promotion::make_ready;
use super::trash::Kind;
use crate::domain::{Scope, TenantId, Timestamp};
use crate::telemetry;
use crate::tenancy::copies::{Content, CopyError, count_rows};
use crate::tenancy::engine::{LongRead, Read};
use crate::tenancy::error::StoreError;
use crate::tenancy::files::{blocking, make_anew, move_new, remove_if_there, sync_directory_of};
use crate::tenancy::location::{SIDE_FILES, side_file};
use crate::tenancy::map::Tenants;
use crate::tenancy::meta::{Meta, State};
use crate::tenancy::schema;

/// Of what a tenant's file is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind", deny_unknown_fields)]
pub enum Source {
    /// The newest backup in `directory`, or of this name there.
    Backup {
        /// Absent: the data root's `backups/`.
        directory: Option<PathBuf>,
        /// Absent: the newest that holds the tenant.
        name: Option<String>,
    },
    /// The tenant's copy in `copies/`.
    Copy,
    /// What the last restore took the place of.
    Undo,
    /// A file of a tenant.
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// The tenant as it is now.
    Live,
}

impl Source {
    /// Whether it names a path of the machine.
    #[must_use]
    pub fn names_a_path(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Backup { directory: Some(_), .. })
    }
}

/// A file made of a source, which is not yet anybody's.
#[derive(Debug)]
struct Prepared {
    path: PathBuf,
    content: Content,
    /// What it was made of, for people.
    from: String,
    as_of: Option<Timestamp>,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The tenant.
    pub tenant: TenantId,
    /// What it was restored from.
    pub from: String,
    /// As of when that is; absent if nothing says so.
    pub as_of: Option<Timestamp>,
    /// Nothing was changed.
    pub preview: bool,
    /// Why the restored tenant does not serve, if it does not.
    pub problem: Option<String>,
    /// The schema that the source is at, and the one that the tenant was at.
    pub schema: Difference,
    /// The number of the last journal entry.
    pub journal: Difference,
    /// Rows of each table.
    pub rows: BTreeMap<String, Difference>,
}

/// A figure before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Of the tenant as it is; absent if there is none that can be read.
    pub before: Option<i64>,
    /// Of what is restored.
    pub after: i64,
}

impl Tenants {
    /// Makes the tenant what it was as of `source`. The file is made and checked beside; then the tenant is taken out of use for
    /// as long as renaming takes, and what it was until then is kept: [`Source::Undo`] brings it back. State, reason and protection
    /// stay as they are. With `preview`, nothing is changed.
    ///
    /// # Errors
    /// There is no such source, it is not this tenant's or not sound, or the tenant cannot be closed.
    pub async fn restore(
        &self,
        tenant: &TenantId,
        source: &Source,
        preview: bool,
    ) -> Result<Restored, FleetError> {
        let _operation = self.operate(tenant)?;
        if self.opener().trash.holds(tenant) {
            return Err(FleetError::Deleted(tenant.clone()));
        }
        let incoming = self.opener().root.incoming_file(tenant);
        if [incoming.clone()]
            .into_iter()
            .chain(SIDE_FILES.map(|suffix| side_file(&incoming, suffix)))
            .any(|it| it.exists())
        {
            return Err(FleetError::Unfit(format!(
                "incoming/ has a file of the tenant {tenant}, which would take its place at the next start: move it away first"
            )));
        }
        let prepared = self.prepare(tenant, tenant, source).await?;
        let path = prepared.path.clone();
        let restored = self.restore_prepared(tenant, prepared, preview).await;
        // After it took the tenant's place, there is nothing left to remove.
        let removed = blocking(move || remove_if_there(&path)).await;
        restored.and_then(|restored| removed.map(|()| restored).map_err(FleetError::from))
    }

    async fn restore_prepared(
        &self,
        tenant: &TenantId,
        prepared: Prepared,
        preview: bool,
    ) -> Result<Restored, FleetError> {
        let Prepared { path, content, from, as_of } = prepared;
        let before = self.content(tenant).await;
        let restored = compare(tenant, (from, as_of), before.as_ref(), &content, preview);
        if preview {
            return Ok(restored);
        }
        match self.meta(tenant).await {
            Ok(Some(meta)) => schema::take_over(&path, &meta).await?,
            Ok(None) => {}
            Err(_unreadable) => {
                // Whether it was suspended is known to nobody: it must not serve by mistake.
                let reason = Some("restored while nobody knew its state: resume it".to_owned());
                let meta = Meta { state: State::Suspended, reason, ..Meta::default() };
                schema::take_over(&path, &meta).await?;
            }
        }
        let mut fence = self.fence(tenant).await?;
        let placed = self.in_trash(tenant, move |trash, tenant, root, now| {
            make_ready(&path)?;
            failpoint!("restore.ready", |error| error);
            trash.restore(tenant, root, &path, now)
        });
        let placed = placed.await;
        self.settle_fence(&mut fence, tenant, placed).await?;
        drop(fence);
        self.event_work.nudge(tenant);
        // It is done, whatever comes now; whoever restored learns of it if the tenant does not serve.
        let problem = self.inspect(tenant).await.err().map(|error| telemetry::in_full(&error));
        Ok(Restored { problem, ..restored })
    }

    /// Makes the tenant `tenant` of another one's file: as that is now, or was. It serves from the beginning; it has no members,
    /// and delivers none of the events that the other one has.
    ///
    /// # Errors
    /// There is a tenant of this name, or no such source, or it is not sound.
    pub async fn create_from(
        &self,
        tenant: &TenantId,
        of: &TenantId,
        source: &Source,
    ) -> Result<Outcome, FleetError> {
        let _operation = self.operate(tenant)?;
        self.must_be_free(tenant)?;
        let prepared = self.prepare(tenant, of, source).await?;
        let path = prepared.path.clone();
        let made = self.place_branch(tenant, of, prepared).await;
        let removed = blocking(move || remove_if_there(&path)).await;
        made?;
        removed?;
        self.stats().creations.fetch_add(1, Ordering::Relaxed);
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        let meta = db.about().meta.clone();
        Ok(Outcome { tenant: tenant.clone(), changed: true, meta, open_descriptors: 0 })
    }

    async fn place_branch(
        &self,
        tenant: &TenantId,
        of: &TenantId,
        prepared: Prepared,
    ) -> Result<(), FleetError> {
        let Prepared { path, from, as_of, .. } = prepared;
        let origin = json!({ "tenant": of, "from": from, "asOf": as_of });
        schema::rename(&path, tenant, &origin, self.opener().shared.clock.now()).await?;
        self.opener().check_copy(tenant, &path).await?;
        failpoint!("branch.made", FleetError::Io);
        let mut fence = self.fence(tenant).await?;
        self.must_be_free(tenant)?;
        let file = self.opener().path(tenant);
        blocking(move || {
            make_ready(&path)?;
            move_new(&path, &file)?;
            failpoint!("branch.renamed", |error| error);
            sync_directory_of(&file)
        })
        .await?;
        fence.reopen();
        Ok(())
    }

    fn must_be_free(&self, tenant: &TenantId) -> Result<(), FleetError> {
        if self.opener().exists(tenant) {
            Err(FleetError::Exists(tenant.clone()))
        } else if self.opener().trash.holds(tenant) {
            Err(FleetError::Deleted(tenant.clone()))
        } else {
            Ok(())
        }
    }

    /// Makes a file for `tenant` of what `source` has of the tenant `of`: whole, checked, of the present schema.
    async fn prepare(
        &self,
        tenant: &TenantId,
        of: &TenantId,
        source: &Source,
    ) -> Result<Prepared, FleetError> {
        self.check_space().await?;
        let path = self.opener().root.unfinished_file(tenant);
        if *source == Source::Live {
            let turn = self.copying.lock().await;
            let snapshot = self.snapshot(of, &path, &turn).await?.ok_or_else(|| self.missing(of))?;
            schema::remove_views(&path).await?;
            let (content, as_of) = (snapshot.content, Some(moment(snapshot.as_of)));
            return Ok(Prepared { path, content, from: "the tenant itself".to_owned(), as_of });
        }
        let (file, from, as_of, entry) = self.find_source(of, source).await?;
        {
            let path = path.clone();
            blocking(move || make_anew(&path)).await?;
        }
        let made = self.make(of, &file, entry.as_ref(), &path).await;
        match made {
            Ok(content) => Ok(Prepared { path, content, from, as_of }),
            Err(error) => {
                blocking(move || remove_if_there(&path)).await?;
                Err(match error {
                    FleetError::Copy(CopyError::Unsound(why)) => {
                        FleetError::Unfit(format!("{} cannot be used: {why}", file.display()))
                    }
                    other => other,
                })
            }
        }
    }

    async fn make(
        &self,
        of: &TenantId,
        file: &Path,
        entry: Option<&Entry>,
        to: &Path,
    ) -> Result<Content, FleetError> {
        if let Some(entry) = entry {
            entry.verify(file).await?;
        }
        failpoint!("restore.begun", FleetError::Io);
        let copied = schema::copy_resting(file, to).await;
        copied.map_err(|error| FleetError::Unfit(format!("{} cannot be read: {error}", file.display())))?;
        failpoint!("restore.copied", FleetError::Io);
        let content = self.opener().check_copy(of, to).await?;
        schema::remove_views(to).await?;
        if content.schema_version >= schema::latest_version() {
            return Ok(content);
        }
        let migrated = schema::migrate(to).await;
        migrated
            .map_err(|error| FleetError::Unfit(format!("{} cannot be migrated: {error}", file.display())))?;
        // What it is compared by is what it was.
        self.opener().check_copy(of, to).await?;
        Ok(content)
    }

    /// The file that is meant, what it is called, as of when it is, and what its backup says of it.
    async fn find_source(
        &self,
        of: &TenantId,
        source: &Source,
    ) -> Result<(PathBuf, String, Option<Timestamp>, Option<Entry>), FleetError> {
        let unfit = |why: String| Err(FleetError::Unfit(why));
        match source {
            Source::Backup { directory, name } => {
                let found = self.find_backup(of, directory.as_deref(), name.as_deref()).await?;
                let (file, backup, entry) = found;
                Ok((file, format!("the backup {backup}"), Some(entry.as_of), Some(entry)))
            }
            Source::Copy => {
                let file = self.opener().root.copy_file(of);
                match fs::metadata(&file).and_then(|copy| copy.modified()) {
                    Ok(as_of) => Ok((file, "its copy".to_owned(), Some(moment(as_of)), None)),
                    Err(error) => {
                        Err(FleetError::NoSuchFile(format!("the tenant {of} has no copy: {error}")))
                    }
                }
            }
            Source::Undo => {
                let kept = self.trash().await?.into_iter().rev();
                let kept = kept.filter(|kept| kept.kind == Kind::Replaced).find(|kept| kept.tenant == *of);
                match kept {
                    Some(kept) => {
                        let file = self.opener().trash.file_of(&kept);
                        Ok((file, format!("trash/{}", kept.name), Some(kept.at), None))
                    }
                    None => {
                        let why = format!("nothing took the place of the tenant {of} lately");
                        Err(FleetError::NoSuchFile(why))
                    }
                }
            }
            Source::File { path } if path.is_file() => {
                if path.parent().is_some_and(|parent| parent == self.opener().root.tenants()) {
                    return unfit(
                        "a tenant's own file must not be read beside the cell: name the tenant".to_owned(),
                    );
                }
                Ok((path.clone(), path.display().to_string(), None, None))
            }
            Source::File { path } => {
                let why = match fs::metadata(path) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        "cannot be reached by the user that the cell runs as"
                    }
                    _ => "is no file that the cell sees",
                };
                Err(FleetError::NoSuchFile(format!("{} {why}", path.display())))
            }
            Source::Live => unfit(format!("a tenant cannot be restored from itself: {of}")),
        }
    }

    /// What a tenant holds; `None` if there is none that can be read.
    pub(in crate::tenancy) async fn content(&self, tenant: &TenantId) -> Option<Content> {
        let db = self.inspect(tenant).await.ok()??;
        let counted = db.read_aside(LongRead::Report, Scope::All, async move |read: &mut Read| {
            let head = sqlx::query_scalar("select coalesce(max(seq), 0) from journal");
            let journal_head = head.fetch_one(&mut *read).await?;
            Ok::<_, StoreError>((journal_head, count_rows(read.raw()).await?))
        });
        let (journal_head, rows) = counted.await.ok()?;
        Some(Content { schema_version: db.about().meta.schema_version, journal_head, rows })
    }
}

/// The same in the API's terms; before 1970 there was nothing.
pub(super) fn moment(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn compare(
    tenant: &TenantId,
    (from, as_of): (String, Option<Timestamp>),
    before: Option<&Content>,
    after: &Content,
    preview: bool,
) -> Restored {
    let of = |figure: fn(&Content) -> i64| Difference { before: before.map(figure), after: figure(after) };
    let (schema, journal) = (of(|content| content.schema_version), of(|content| content.journal_head));
    let rows_before = before.map(|content| &content.rows);
    let names = after.rows.keys().chain(rows_before.into_iter().flat_map(BTreeMap::keys)).cloned();
    let difference = |name: String| {
        let before = rows_before.map(|rows| rows.get(&name).copied().unwrap_or(0));
        let after = after.rows.get(&name).copied().unwrap_or(0);
        (name, Difference { before, after })
    };
    let rows = names.map(difference).collect();
    Restored { tenant: tenant.clone(), from, as_of, preview, problem: None, schema, journal, rows }
}
