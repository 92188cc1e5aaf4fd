//! From a tenant id to an open file: creation, identity checks, migration.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::engine::{
    Connection, Fault, OpenFile, Role, Shared, TenantDb, fault_of, file_identity, quarantined,
};
use super::error::{Quarantine, Reason, Unavailable};
use super::files::{move_new, sync_directory_of};
use super::location::{self, SIDE_FILES, side_file};
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
}

/// A tenant's file, open for reading, of the present schema.
pub(super) struct Opened {
    pub(super) file: OpenFile,
    pub(super) reader: Connection,
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
        let Ok(entries) = fs::read_dir(self.root.tenants()) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        names.filter_map(|name| location::tenant_of(name.strip_suffix("-wal")?)).collect()
    }

    /// Makes the tenant's file: a whole one under another name, synced, then renamed into place. After a crash there is
    /// either no tenant or all of it. A file that somebody put there meanwhile stays: opening it shows what it is.
    pub(super) async fn create(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        let path = self.path(tenant);
        let unfinished = path.with_extension(&UNFINISHED[1..]);
        let made = async {
            let bytes = self.template.bytes.clone();
            let target = unfinished.clone();
            failpoint!("create.begin", sqlx::Error::Io);
            blocking(move || write_new(&target, &bytes)).await?;
            failpoint!("create.written", sqlx::Error::Io);
            name_tenant(&unfinished, tenant, self.shared.clock.now().millis()).await?;
            failpoint!("create.named", sqlx::Error::Io);
            let (from, to) = (unfinished.clone(), path);
            blocking(move || publish(&from, &to)).await
        };
        made.await.map_err(|error: sqlx::Error| {
            tracing::error!(%tenant, error = &error as &dyn std::error::Error, "creating a tenant failed");
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
        let mut reader = self.connect(&path).await?;
        let latest = schema::latest_version();
        let (version, is_wal) = match check_content(&mut reader, tenant, latest).await {
            Ok(content) => content,
            Err(why) => {
                reader.close().await;
                return Err(why);
            }
        };
        failpoint!("open.checked", |_| Unavailable::not_written(Reason::Io));
        let migrated = version < latest;
        if migrated || !is_wal {
            reader.close().await;
            if migrated {
                self.migrate(tenant, &path, version).await?;
            }
            if !is_wal {
                // A copy made by `vacuum into`, say. Its reader and its writer would lock each other out.
                failpoint!("open.use_wal", |_| Unavailable::not_written(Reason::Io));
                schema::use_wal(&path)
                    .await
                    .map_err(|error| Unavailable::not_written(Reason::CannotOpen(Arc::new(error))))?;
            }
            reader = self.connect(&path).await?;
        }
        Ok(Opened { file: OpenFile { path, identity }, reader, migrated })
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
        tracing::info!(%tenant, from, to = schema::latest_version(), "migrating a tenant");
        let restore_point = self.root.restore_point(tenant, from);
        let target = restore_point.clone();
        let failed = |error: sqlx::Error| {
            tracing::error!(%tenant, error = &error as &dyn std::error::Error, "no restore point: not migrating");
            Unavailable::not_written(Reason::CannotOpen(Arc::new(error)))
        };
        failpoint!("migrate.begin", |_| Unavailable::not_written(Reason::Io));
        blocking(move || remove_if_there(&target)).await.map_err(failed)?;
        schema::copy(path, &restore_point).await.map_err(failed)?;
        failpoint!("migrate.copied", |_| Unavailable::not_written(Reason::Io));
        schema::migrate(path).await.map_err(|error| {
            tracing::error!(%tenant, from, error = &error as &dyn std::error::Error, "migrating a tenant failed; its data is as it was");
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

/// The file's schema version, and whether its journal is a WAL, if it is this tenant's and not too new.
async fn check_content(
    reader: &mut Connection,
    tenant: &TenantId,
    latest: i64,
) -> Result<(i64, bool), Unavailable> {
    let sql = "select (select application_id from pragma_application_id), (select user_version from pragma_user_version), \
               (select journal_mode from pragma_journal_mode), tenant_id, min_reader_version from meta where id = 1";
    let row: (i64, i64, String, String, i64) = match sqlx::query_as(sql).fetch_one(reader.raw()).await {
        Ok(row) => row,
        Err(error) => {
            return Err(match fault_of(&error) {
                Some(Fault::Corrupt) => quarantined(Quarantine::Corrupt),
                Some(_) => Unavailable::not_written(Reason::CannotOpen(Arc::new(error))),
                None => quarantined(Quarantine::Foreign), // no table `meta`, or no row in it
            });
        }
    };
    let (application_id, version, journal_mode, owner, min_reader_version) = row;
    if application_id != schema::APPLICATION_ID || version < 1 {
        Err(quarantined(Quarantine::Foreign))
    } else if owner != tenant.as_str() {
        Err(quarantined(Quarantine::Swapped))
    } else if min_reader_version > latest {
        Err(quarantined(Quarantine::TooNew))
    } else {
        Ok((version, journal_mode == "wal"))
    }
}

/// Writes the identity into a copy of the template and makes WAL its journal mode for ever.
async fn name_tenant(path: &Path, tenant: &TenantId, now: i64) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        // Nothing can be lost: the file is synced before anybody may see it.
        .synchronous(SqliteSynchronous::Off)
        .pragma("journal_mode", "memory")
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("insert into meta (id, tenant_id, created_at) values (1, ?1, ?2); pragma journal_mode = wal")
        .bind(tenant.as_str())
        .bind(now)
        .execute(&mut connection)
        .await?;
    connection.close().await
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_if_there(path)?;
    for suffix in SIDE_FILES {
        remove_if_there(&side_file(path, suffix))?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Makes the finished file durable and gives it its name, unless another file has it by now.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    failpoint!("create.synced", |error| error);
    match move_new(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return fs::remove_file(from),
        moved => moved?,
    }
    failpoint!("create.renamed", |error| error);
    sync_directory_of(to)?;
    failpoint!("create.durable", |error| error);
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), sqlx::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(sqlx::Error::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_put_there_meanwhile_is_not_replaced_by_a_new_tenant() {
        let directory = tempfile::tempdir().expect("a directory");
        let [unfinished, file] = ["acme.db.new", "acme.db"].map(|name| directory.path().join(name));
        fs::write(&unfinished, "empty tenant").expect("written");
        fs::write(&file, "restored").expect("written");

        publish(&unfinished, &file).expect("there is a file now");

        assert_eq!(fs::read_to_string(&file).expect("there"), "restored");
        assert!(!unfinished.exists());
    }
}
