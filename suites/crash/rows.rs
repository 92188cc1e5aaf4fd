//! What a tenant's files hold, read with the SQLite that the cell is built with.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::workload::Kind;

/// A record, as far as the writers care.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The request id that made it.
    pub(crate) text: String,
    /// A customer's remark: the request id that changed it last.
    pub(crate) remark: Option<String>,
    pub(crate) version: i64,
    pub(crate) is_deleted: bool,
    pub(crate) customer: Option<String>,
}

/// All rows of a tenant that a write leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Request ids with a stored answer.
    pub(crate) answers: HashSet<String>,
    /// By request id: action and record.
    pub(crate) journal: HashMap<String, Vec<(String, String)>>,
    /// Events by record and type.
    pub(crate) events: HashMap<(String, String), usize>,
    /// By id.
    pub(crate) records: HashMap<String, Record>,
    /// Ids by the request id that made them.
    pub(crate) made_by: HashMap<String, Vec<String>>,
}

impl Rows {
    /// Opens a file, with the WAL beside it, as the next start of the cell would.
    ///
    /// # Errors
    /// The file is damaged, or is not a whole tenant.
    pub(crate) async fn read(path: &Path, tenant: &str) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(false)
            // What is read here is thrown away.
            .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
            .disable_statement_logging();
        let mut db = options.connect().await.context("cannot be opened")?;
        let read = Self::read_all(&mut db, tenant).await;
        db.close().await?;
        read
    }

    async fn read_all(db: &mut SqliteConnection, tenant: &str) -> anyhow::Result<Self> {
        let check: Vec<String> = sqlx::query_scalar("pragma integrity_check").fetch_all(&mut *db).await?;
        ensure!(check == ["ok"], "integrity_check: {}", check.join("; "));
        let dangling = sqlx::query("pragma foreign_key_check").fetch_all(&mut *db).await?;
        ensure!(dangling.is_empty(), "foreign_key_check: {} rows", dangling.len());
        let owner: Option<String> =
            sqlx::query_scalar("select tenant_id from meta").fetch_optional(&mut *db).await?;
        ensure!(owner.as_deref() == Some(tenant), "it is the file of {owner:?}");

        let mut rows = Self::default();
        let keys: Vec<String> = sqlx::query_scalar("select key from idempotency").fetch_all(&mut *db).await?;
        for key in keys {
            // Method, path, request id and user.
            let Some(request_id) = key.split(' ').nth(2) else { bail!("a strange key: {key}") };
            rows.answers.insert(request_id.to_owned());
        }
        let journal = "select coalesce(request_id, ''), action, record_id from journal order by seq";
        for (request_id, action, record) in sqlx::query_as(journal).fetch_all(&mut *db).await? {
            rows.journal.entry(request_id).or_default().push((action, record));
        }
        let events = "select record_id, type from outbox";
        for event in sqlx::query_as(events).fetch_all(&mut *db).await? {
            *rows.events.entry(event).or_default() += 1;
        }
        for kind in Kind::ALL {
            rows.read_records(db, kind).await?;
        }
        Ok(rows)
    }

    async fn read_records(&mut self, db: &mut SqliteConnection, kind: Kind) -> anyhow::Result<()> {
        let (_, table, text) = kind.words();
        let (remark, customer) =
            if kind == Kind::Customer { ("remark", "null") } else { ("null", "customer_id") };
        let sql =
            format!("select id, {text}, {remark}, version, deleted_at is not null, {customer} from {table}");
        type Columns = (String, String, Option<String>, i64, bool, Option<String>);
        let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *db).await?;
        for (id, text, remark, version, is_deleted, customer) in rows {
            self.made_by.entry(text.clone()).or_default().push(id.clone());
            self.records.insert(id, Record { kind, text, remark, version, is_deleted, customer });
        }
        Ok(())
    }
}

/// Copies a stopped cell's file of a tenant, with its WAL, into `to`: to open the file itself would recover it before the
/// cell can. The index of the WAL is left out, as after a power loss: it is made anew.
pub(crate) fn copy(tenants: &Path, tenant: &str, to: &Path) -> anyhow::Result<()> {
    for suffix in [".db", ".db-wal"] {
        let name = format!("{tenant}{suffix}");
        match fs::read(tenants.join(&name)) {
            Ok(bytes) => fs::write(to.join(&name), bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let _stale = fs::remove_file(to.join(&name));
            }
            Err(error) => return Err(error).with_context(|| format!("reading {name}")),
        }
    }
    Ok(())
}
