//! The Python cell's database: opened read-only, read as it is. SQLite's columns hold values of any type, and what such
//! a cell let in is not to be trusted: every cell is read as whatever it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _,
};

use crate::domain::fold_name;

/// The tables that become records, parents before their children. Their rows, like most, name their tenant.
pub(super) const RECORDS: [&str; 6] =
    ["customers", "customer_owner", "contacts", "opportunities", "follow_ups", "audit_log"];
/// The table of the requests that the cell had answered. Its rows name no tenant.
pub(super) const ANSWERS: &str = "idempotent";

/// An open database of the Python cell, at one snapshot.
pub(super) struct Source {
    connection: SqliteConnection,
    path: PathBuf,
    tables: Vec<Table>,
}

/// A table of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// Columns of the primary key, in its order, without the tenant.
    key: Vec<String>,
    has_rowid: bool,
    pub(super) has_tenants: bool,
    /// Rows at the snapshot.
    pub(super) rows: u64,
}

/// A row of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourceRow {
    /// What tells it from the other rows of its table.
    pub(super) key: String,
    /// The tenant it belongs to; `None` if that cannot be told.
    pub(super) tenant: Option<String>,
    /// Its columns.
    pub(super) cells: Map<String, Value>,
}

impl SourceRow {
    /// A hash of its columns.
    pub(super) fn digest(&self) -> String {
        let cells = Value::Object(self.cells.clone()).to_string();
        hex::encode(&Sha256::digest(cells)[..16])
    }

    /// About how many bytes its columns hold.
    pub(super) fn size(&self) -> usize {
        self.cells.values().map(|cell| cell.as_str().map_or(64, str::len)).sum()
    }

    /// A column as text; empty if it is null, bytes, or not there.
    pub(super) fn text(&self, column: &str) -> String {
        match self.cells.get(column) {
            None | Some(Value::Null | Value::Object(_)) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// A column as an integer, if it holds one.
    pub(super) fn integer(&self, column: &str) -> Option<i64> {
        self.cells.get(column)?.as_i64()
    }
}

impl Source {
    /// Opens the file for reading only and begins a snapshot of it. Nothing in or beside it is changed, but for the shared
    /// memory that SQLite needs to read a WAL.
    ///
    /// # Errors
    /// It is not there, not readable, or not a database of the Python cell.
    pub(super) async fn open(path: &Path) -> anyhow::Result<Self> {
        if !has_sqlite_header(path)? {
            bail!("{} is not a SQLite database", path.display());
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(Duration::from_secs(30))
            .disable_statement_logging();
        let unreadable = || {
            format!(
                "cannot read {}: if the Python cell runs or was killed, start it once more and stop it cleanly",
                path.display()
            )
        };
        let mut connection = options.connect().await.with_context(unreadable)?;
        sqlx::query("begin").execute(&mut connection).await?;
        let tables = tables(&mut connection).await.with_context(unreadable)?;
        Ok(Self { connection, path: path.to_owned(), tables })
    }

    /// Whether this is a database of the Python cell: it has its tables, and no file of a tenant has those columns.
    pub(super) fn is_the_python_cells(&self) -> bool {
        ["customers", "contacts", "opportunities", "follow_ups"]
            .iter()
            .all(|name| self.tables.iter().any(|table| table.name == **name && table.has_tenants))
    }

    /// Refuses another database.
    ///
    /// # Errors
    /// Says what the file is not.
    pub(super) fn check(self) -> anyhow::Result<Self> {
        if !self.is_the_python_cells() {
            bail!(
                "{} is not a database of the Python cell: it lacks the tables customers, contacts, opportunities and \
                 follow_ups with a column tenant_id",
                self.path.display()
            );
        }
        Ok(self)
    }

    /// All tables, those that become records first, parents before their children.
    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The tenants that rows name.
    pub(super) async fn tenants(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let mut tenants = BTreeSet::new();
        for table in self.tables.iter().filter(|table| table.has_tenants) {
            let sql = format!(
                "select distinct cast(tenant_id as blob) from {} where typeof(tenant_id) = 'text'",
                quoted(&table.name)
            );
            let named: Vec<Vec<u8>> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await?;
            tenants.extend(named.into_iter().filter_map(|name| String::from_utf8(name).ok()));
        }
        Ok(tenants)
    }

    /// The rows of a tenant in a table that names tenants, in the order in which they were written.
    pub(super) fn rows_of<'a>(
        &'a mut self,
        table: &'a Table,
        tenant: &'a str,
    ) -> BoxStream<'a, anyhow::Result<SourceRow>> {
        let rowid = table.rowid();
        let name = quoted(&table.name);
        let sql = format!("select {rowid}, tenant_id, * from {name} where tenant_id = ?1 order by {rowid}");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant).fetch(&mut self.connection);
        rows.map(|row| table.read(&row?)).boxed()
    }

    /// The rows of a table that names no tenants, those of one tenant together: the tenant of the record that a row is
    /// about, or of the audited request that it belongs to.
    pub(super) fn rows_without_tenant<'a>(
        &'a mut self,
        table: &'a Table,
    ) -> BoxStream<'a, anyhow::Result<SourceRow>> {
        let rowid = table.rowid();
        let tenant = if table.name == ANSWERS { self.tenant_of_an_answer() } else { "null".to_owned() };
        let sql = format!(
            "select {rowid}, {tenant} as its_tenant, t.* from {} t order by its_tenant, {rowid}",
            quoted(&table.name)
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection);
        rows.map(|row| table.read(&row?)).boxed()
    }

    /// The owners that customers of a tenant were given.
    pub(super) async fn owners(&mut self, tenant: &str) -> anyhow::Result<HashMap<String, String>> {
        if !self.has("customer_owner") {
            return Ok(HashMap::new());
        }
        let sql = "select cast(customer_id as blob), cast(owner_id as blob) from customer_owner where tenant_id = ?1";
        let owners: Vec<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as(sql).bind(tenant).fetch_all(&mut self.connection).await?;
        Ok(owners.into_iter().map(|(customer, owner)| (text(&customer), text(&owner))).collect())
    }

    /// The folded names of a tenant's customers.
    pub(super) async fn name_keys(&mut self, tenant: &str) -> anyhow::Result<BTreeSet<String>> {
        let sql = "select cast(ifnull(name, '') as blob) from customers where tenant_id = ?1";
        let names = sqlx::query_scalar::<_, Vec<u8>>(sql).bind(tenant).fetch(&mut self.connection);
        Ok(names.map_ok(|name| fold_name(text(&name).trim())).try_collect().await?)
    }

    pub(super) async fn close(self) {
        // Ends the snapshot; there is nothing to lose.
        if let Err(error) = self.connection.close().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "closing the source failed");
        }
    }

    fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|known| known.name == table)
    }

    fn tenant_of_an_answer(&self) -> String {
        let by_key = [
            ("customers", "customer_id = t.resource_id"),
            ("contacts", "contact_id = t.resource_id"),
            ("opportunities", "opportunity_id = t.resource_id"),
            ("follow_ups", "follow_up_id = t.resource_id"),
            ("contracts", "contract_id = t.resource_id"),
            ("payment_records", "payment_id = t.resource_id"),
            ("audit_log", "trace_id = t.request_id and resource_id = t.resource_id"),
        ];
        let known = by_key.iter().filter(|(table, _)| self.has(table));
        let ways = known.map(|(table, join)| format!("(select tenant_id from {table} where {join} limit 1)"));
        // `coalesce` takes at least two.
        format!("coalesce({}, null)", ways.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// What orders its rows; tables without a rowid are in the order of their key.
    fn rowid(&self) -> &'static str {
        if self.has_rowid { "rowid" } else { "null" }
    }

    /// Reads a row whose first two columns are the rowid and the tenant.
    fn read(&self, row: &SqliteRow) -> anyhow::Result<SourceRow> {
        let mut cells = Map::new();
        for column in &row.columns()[2..] {
            cells.insert(column.name().to_owned(), value(row, column.ordinal())?);
        }
        let key = match self.key.iter().map(|name| &cells[name]).collect::<Vec<_>>().as_slice() {
            [Value::String(text)] => text.clone(),
            [Value::Number(number)] => number.to_string(),
            // A primary key may hold nulls in SQLite.
            parts if parts.is_empty() || parts.contains(&&Value::Null) => format!("rowid:{}", value(row, 0)?),
            parts => serde_json::to_string(parts)?,
        };
        let tenant = match value(row, 1)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        Ok(SourceRow { key, tenant, cells })
    }
}

/// Whether the file begins as SQLite's files do. Reads it without SQLite, which only a process that does not have it open
/// may do: closing it drops SQLite's locks.
pub(super) fn has_sqlite_header(path: &Path) -> anyhow::Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut header = Vec::new();
    file.take(16).read_to_end(&mut header).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(header == b"SQLite format 3\0")
}

async fn tables(connection: &mut SqliteConnection) -> anyhow::Result<Vec<Table>> {
    let listed: Vec<(String, bool)> = sqlx::query_as(
        "select name, wr from pragma_table_list \
         where schema = 'main' and type = 'table' and name not like 'sqlite\\_%' escape '\\'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut tables = BTreeMap::new();
    for (name, is_without_rowid) in listed {
        let columns: Vec<(String, i64)> = sqlx::query_as("select name, pk from pragma_table_info(?1)")
            .bind(&name)
            .fetch_all(&mut *connection)
            .await?;
        // Within a tenant, the tenant tells nothing apart.
        let mut key: Vec<_> =
            columns.iter().filter(|(name, place)| *place > 0 && name != "tenant_id").collect();
        key.sort_by_key(|(_, place)| *place);
        let sql = format!("select count(*) from {}", quoted(&name));
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
        let table = Table {
            key: key.into_iter().map(|(name, _)| name.clone()).collect(),
            has_rowid: !is_without_rowid,
            has_tenants: columns.iter().any(|(name, _)| name == "tenant_id"),
            rows: rows.try_into().unwrap_or(0),
            name: name.clone(),
        };
        let place = RECORDS.iter().position(|known| *known == name).unwrap_or(RECORDS.len());
        tables.insert((place, name), table);
    }
    Ok(tables.into_values().collect())
}

/// What a column holds. Text that is not UTF-8, and other bytes, come out as `{"hex": …}`.
fn value(row: &SqliteRow, column: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let bytes = || {
        let bytes: &[u8] = row.try_get_unchecked(column)?;
        Ok(serde_json::json!({ "hex": hex::encode(bytes) }))
    };
    match raw.type_info().name() {
        "INTEGER" => row.try_get_unchecked::<i64, _>(column).map(Value::from),
        "REAL" => row.try_get_unchecked::<f64, _>(column).map(Value::from),
        "TEXT" => row.try_get_unchecked::<&str, _>(column).map(Value::from).or_else(|_| bytes()),
        _ => bytes(),
    }
}

/// Bytes that should be text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
