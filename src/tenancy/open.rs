//! From a tenant id to an open file: creation, identity checks, migration.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::Row as _;

use super::engine::{
    About, Connection, Fault, FileId, Members, OpenFile, Role, Shared, TenantDb, fault_of, file_identity,
    quarantined,
};
use super::error::{Quarantine, Reason, Unavailable};
use super::files::{blocking, move_new, remove_if_there, sync_directory_of, write_new};
use super::fleet::Trash;
use super::location::{self, side_file};
use super::meta::Meta;
use super::root::{DataRoot, UNFINISHED};
use super::schema::{self, Template};
use crate::domain::TenantId;

/// The smallest SQLite file: one page of the smallest size.
const SMALLEST_FILE: u64 = 512;

/// Opens and makes tenants' files. Its callers see to it that only one of them works on a tenant.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) root: DataRoot,
    pub(super) template: Template,
    pub(super) shared: Shared,
    pub(super) trash: Trash,
}

/// A tenant's file, open for reading, of the present schema.
pub(super) struct Opened {
    pub(super) file: OpenFile,
    pub(super) reader: Connection,
    pub(super) about: About,
    pub(super) migrated: bool,
}

impl Opener {
    pub(super) fn path(&self, tenant: &TenantId) -> PathBuf {
        self.root.tenant_file(tenant)
    }

    /// Whether there is anything of this tenant. A WAL or journal whose file is lost counts: SQLite would replay it into
    /// a new file.
    pub(super) fn exists(&self, tenant: &TenantId) -> bool {
        let path = self.path(tenant);
        // What cannot be looked at may be there.
        let is_there = |path: &Path, has_content: fn(u64) -> bool| match fs::symlink_metadata(path) {
            Ok(metadata) => has_content(metadata.len()),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        let has_content = |suffix| is_there(&side_file(&path, suffix), |length| length > 0);
        is_there(&path, |_| true) || has_content("-wal") || has_content("-journal")
    }

    /// What a tenant that does not exist reads as.
    pub(super) async fn open_template(&self) -> Result<TenantDb, Unavailable> {
        let path = self.template.path.clone();
        let reader = Connection::open(&path, Role::Immutable, self.shared.counters.clone()).await;
        let reader = reader.map_err(|error| Unavailable::not_written(Reason::CannotOpen(Arc::new(error))))?;
        Ok(TenantDb::start_immutable(path, reader, &self.shared))
    }

    /// The tenants whose files have a WAL beside them.
    pub(super) fn left_with_wal(&self) -> Vec<TenantId> {
        self.tenants_of(|name| name.strip_suffix("-wal"))
    }

    /// All tenants.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        self.tenants_of(|name| Some(name))
    }

    /// The tenants of those files whose name `file` finds in the name of an entry.
    fn tenants_of(&self, file: impl Fn(&str) -> Option<&str>) -> Vec<TenantId> {
        let Ok(entries) = fs::read_dir(self.root.tenants()) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        names.filter_map(|name| location::tenant_of(file(&name)?)).collect()
    }

    /// Makes the tenant's file: a whole one under another name, synced, then renamed into place. After a crash there is
    /// either no tenant or all of it. A file that somebody put there meanwhile stays: opening it shows what it is.
    pub(super) async fn create(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        let (path, now) = (self.path(tenant), self.shared.clock.now().millis());
        let _pass = self.shared.gate.pass().await;
        let made = async {
            failpoint!("create.begin", sqlx::Error::Io);
            let content = self.template.named(tenant, now).await?;
            failpoint!("create.named", sqlx::Error::Io);
            blocking(move || publish(&content, &path)).await.map_err(sqlx::Error::Io)
        };
        made.await.map_err(|error: sqlx::Error| {
            tracing::error!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "creating a tenant failed");
            let fault = fault_of(&error).unwrap_or(Fault::Other);
            let full = matches!(&error, sqlx::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull);
            Unavailable::not_written(if full { Reason::DiskFull } else { fault.into() })
        })
    }

    /// Opens the tenant's existing file, checks that it is this tenant's, and migrates it if it is older.
    pub(super) async fn open(&self, tenant: &TenantId) -> Result<Opened, Unavailable> {
        let path = self.path(tenant);
        check_file(&path, self.root.directory())?;
        let identity = file_identity(&path).map_err(cannot_open)?;
        failpoint!("open.begin", |_| Unavailable::not_written(Reason::Io));
        let (mut reader, mut content) = self.connect_to(tenant, &path).await?;
        failpoint!("open.checked", |_| Unavailable::not_written(Reason::Io));
        let migrated = content.version < schema::latest_version();
        if migrated || !content.is_wal {
            reader.close().await;
            let _pass = self.shared.gate.pass().await;
            if migrated {
                self.migrate(tenant, &path, content.version).await?;
            }
            if !content.is_wal {
                // A copy made by `vacuum into`, say. Its reader and its writer would lock each other out.
                failpoint!("open.use_wal", |_| Unavailable::not_written(Reason::Io));
                schema::use_wal(&path)
                    .await
                    .map_err(|error| Unavailable::not_written(Reason::CannotOpen(Arc::new(error))))?;
            }
            (reader, content) = self.connect_to(tenant, &path).await?;
        }
        let Some(members) = content.members else {
            // Without them, the tenant would admit everybody.
            reader.close().await;
            return Err(quarantined(Quarantine::Foreign));
        };
        let about = About { meta: content.meta, members: Arc::new(Members(members)) };
        Ok(Opened { file: OpenFile { path, identity }, reader, about, migrated })
    }

    async fn connect_to(&self, tenant: &TenantId, path: &Path) -> Result<(Connection, Content), Unavailable> {
        let mut reader = self.connect(path).await?;
        match check_content(&mut reader, tenant, schema::latest_version()).await {
            Ok(content) => Ok((reader, content)),
            Err(why) => {
                reader.close().await;
                Err(why)
            }
        }
    }

    /// Looks again at a file that was taken for damaged while it was open. It must be the same one: the WAL beside it would
    /// be replayed into any other.
    ///
    /// # Errors
    /// It is damaged, or that cannot be told now, or not soon enough.
    pub(super) async fn check_damage(
        &self,
        tenant: &TenantId,
        last: Option<FileId>,
    ) -> Result<(), Unavailable> {
        let path = self.path(tenant);
        if last.is_none() || file_identity(&path).map_err(cannot_open)? != last {
            return Err(quarantined(Quarantine::Corrupt));
        }
        let mut reader = self.connect(&path).await?;
        reader.abort_after(self.shared.settings.read_deadline);
        let found: Result<Vec<String>, _> =
            sqlx::query_scalar("pragma integrity_check(1)").fetch_all(reader.raw()).await;
        reader.close().await;
        match found.as_deref() {
            Ok([only]) if only == "ok" => Ok(()),
            _ => Err(quarantined(Quarantine::Corrupt)),
        }
    }

    async fn connect(&self, path: &Path) -> Result<Connection, Unavailable> {
        failpoint!("reader.open", |_| Unavailable::not_written(Reason::Io));
        let opened = Connection::open(path, Role::Reader, self.shared.counters.clone()).await;
        opened.map_err(|error| match fault_of(&error) {
            Some(Fault::Corrupt) => quarantined(Quarantine::Corrupt),
            _ => Unavailable::not_written(Reason::CannotOpen(Arc::new(error))),
        })
    }

    async fn migrate(&self, tenant: &TenantId, path: &Path, from: i64) -> Result<(), Unavailable> {
        tracing::info!(tenant_id = %tenant, from, to = schema::latest_version(), "migrating a tenant");
        let restore_point = self.root.restore_point(tenant, from);
        let target = restore_point.clone();
        let failed = |error: sqlx::Error| {
            tracing::error!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "no restore point: not migrating");
            Unavailable::not_written(Reason::CannotOpen(Arc::new(error)))
        };
        failpoint!("migrate.begin", |_| Unavailable::not_written(Reason::Io));
        blocking(move || remove_if_there(&target)).await.map_err(|error| failed(error.into()))?;
        schema::copy(path, &restore_point).await.map_err(failed)?;
        failpoint!("migrate.copied", |_| Unavailable::not_written(Reason::Io));
        schema::migrate(path).await.map_err(|error| {
            tracing::error!(tenant_id = %tenant, from, error = &error as &dyn std::error::Error, "migrating a tenant failed; its data is as it was");
            Unavailable::not_written(Reason::Migration(Arc::new(error)))
        })?;
        failpoint!("migrate.done", |_| Unavailable::not_written(Reason::Io));
        Ok(())
    }
}

/// A plain, non-empty file with one name on the data root's own file system.
fn check_file(path: &Path, root: &Path) -> Result<(), Unavailable> {
    let metadata = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => quarantined(Quarantine::Missing),
        _ => cannot_open(error),
    })?;
    let root = fs::metadata(root).map_err(cannot_open)?;
    if !metadata.is_file() || metadata.nlink() != 1 || metadata.dev() != root.dev() {
        return Err(quarantined(Quarantine::NotAFile));
    }
    if metadata.len() < SMALLEST_FILE { Err(quarantined(Quarantine::Truncated)) } else { Ok(()) }
}

fn cannot_open(error: io::Error) -> Unavailable {
    Unavailable::not_written(Reason::CannotOpen(Arc::new(error.into())))
}

/// What a file says of itself.
pub(super) struct Content {
    application_id: i64,
    version: i64,
    is_wal: bool,
    owner: String,
    min_reader_version: i64,
    pub(super) meta: Meta,
    /// `None`: there is no table of them, as in the first schema.
    members: Option<HashSet<String>>,
}

/// What the file says of itself, if it is this tenant's and not too new.
pub(super) async fn check_content(
    reader: &mut Connection,
    tenant: &TenantId,
    latest: i64,
) -> Result<Content, Unavailable> {
    let content = read_content(reader).await.map_err(|error| match fault_of(&error) {
        Some(Fault::Corrupt) => quarantined(Quarantine::Corrupt),
        Some(_) => Unavailable::not_written(Reason::CannotOpen(Arc::new(error))),
        None => quarantined(Quarantine::Foreign), // no table `meta`, or no row in it
    })?;
    if content.application_id != schema::APPLICATION_ID || content.version < 1 {
        Err(quarantined(Quarantine::Foreign))
    } else if content.owner != tenant.as_str() {
        Err(quarantined(Quarantine::Swapped))
    } else if content.min_reader_version > latest {
        Err(quarantined(Quarantine::TooNew))
    } else {
        Ok(content)
    }
}

macro_rules! about {
    () => {
        "pragma application_id; pragma user_version; pragma journal_mode; \
         select * from meta where id = 1"
    };
}

/// Hands over to SQLite's thread once, unless there is no table of members.
async fn read_content(reader: &mut Connection) -> Result<Content, sqlx::Error> {
    const ALL: &str = concat!(about!(), "; select user_id from members");
    // Not kept: it is asked once.
    let (rows, has_members) = match sqlx::query(ALL).persistent(false).fetch_all(reader.raw()).await {
        Err(error) if fault_of(&error).is_none() => {
            (sqlx::query(about!()).persistent(false).fetch_all(reader.raw()).await?, false)
        }
        rows => (rows?, true),
    };
    let [application_id, version, journal_mode, meta, members @ ..] = rows.as_slice() else {
        return Err(sqlx::Error::RowNotFound);
    };
    let members = members.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let version = version.try_get(0)?;
    Ok(Content {
        application_id: application_id.try_get(0)?,
        version,
        is_wal: journal_mode.try_get::<&str, _>(0)? == "wal",
        owner: meta.try_get("tenant_id")?,
        min_reader_version: meta.try_get("min_reader_version")?,
        meta: Meta::of_row(meta, version)?,
        members: has_members.then_some(members),
    })
}

/// Makes a file of this content durable and gives it its name, unless another file has it by now.
fn publish(content: &[u8], path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension(&UNFINISHED[1..]);
    remove_if_there(&unfinished)?;
    let file = write_new(&unfinished, content)?;
    failpoint!("create.written", |error| error);
    file.sync_all()?;
    failpoint!("create.synced", |error| error);
    match move_new(&unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return fs::remove_file(unfinished),
        moved => moved?,
    }
    failpoint!("create.renamed", |error| error);
    sync_directory_of(path)?;
    failpoint!("create.durable", |error| error);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_put_there_meanwhile_is_not_replaced_by_a_new_tenant() {
        let directory = tempfile::tempdir().expect("a directory");
        let [unfinished, file] = ["acme.db.new", "acme.db"].map(|name| directory.path().join(name));
        fs::write(&unfinished, "of a crash").expect("written");
        fs::write(&file, "restored").expect("written");

        publish(b"empty tenant", &file).expect("there is a file now");

        assert_eq!(fs::read_to_string(&file).expect("there"), "restored");
        assert!(!unfinished.exists());
    }
}
