//! `crm-cell import-legacy`: what a cell of the Python implementation left, as it is over HTTP afterwards.
//!
//! `tests/fixtures/origin-crm_cell.db` was written by such a cell: four tenants of ordinary data, and in `tenant-001`
//! and a tenant called `../../etc` what it let in.

mod hostile;
mod refusal;
mod rehearsal;
mod rows;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, Client, db_select, run_to_end};

/// What `../../etc` is called here: no id of a tenant, so it gets one.
const ETC: &str = "legacy-etc-74ccf3c5";
const TENANTS: [(&str, &str); 5] = [
    ("../../etc", ETC),
    ("T.hua_xin", "T.hua_xin"),
    ("acme", "acme"),
    ("default", "default"),
    ("tenant-001", "tenant-001"),
];

/// A copy of the fixture where a cell with the default configuration would find it.
fn source_in(directory: &Path) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/origin-crm_cell.db");
    let path = directory.join("crm_cell.db");
    std::fs::write(&path, std::fs::read(fixture).expect("the fixture")).expect("copied");
    path
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Cell::command(directory);
    command.arg("import-legacy").args(arguments).stderr(Stdio::piped());
    command
}

/// Runs `crm-cell import-legacy` with these arguments.
fn import(directory: &Path, arguments: &[&str]) -> Output {
    run_to_end(&mut command(directory, arguments))
}

/// What a run that succeeds prints.
#[track_caller]
fn imported(directory: &Path, arguments: &[&str]) -> String {
    let output = import(directory, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a run that fails says.
#[track_caller]
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = import(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// The totals of a table as they are printed: source, imported, repaired, kept, new.
#[track_caller]
fn totals(printed: &str, table: &str) -> [u64; 5] {
    let line = printed.lines().find(|line| line.split(' ').next() == Some(table));
    let numbers = line.unwrap_or_else(|| panic!("no {table} in {printed}")).split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.map(|number| number.parse().expect("a number")).collect();
    numbers.try_into().expect("five numbers")
}

/// Every row of the tables that an import writes.
async fn contents(directory: &Path, tenant: &str) -> BTreeMap<&'static str, Vec<Value>> {
    let mut contents = BTreeMap::new();
    for (table, sql) in [
        ("customers", "select * from customers order by seq"),
        ("contacts", "select * from contacts order by seq"),
        ("opportunities", "select * from opportunities order by seq"),
        ("follow_ups", "select * from follow_ups order by seq"),
        ("journal", "select * from journal order by seq"),
        ("outbox", "select * from outbox order by seq"),
        (
            "legacy_rows",
            "select source_table, source_key, outcome, reasons, row from legacy_rows order by 1, 2",
        ),
    ] {
        contents.insert(table, db_select(directory, tenant, sql).await);
    }
    contents
}

/// A connection to a database of the Python cell.
async fn open(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("opened")
}

async fn execute(path: &Path, sql: &'static str) {
    let mut connection = open(path).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("executed");
    connection.close().await.expect("closed");
}

/// All records of a list.
async fn all(client: &Client, path: &str) -> Vec<Value> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut records = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}{separator}pageSize=500{cursor}")).await.expect(200).json();
        records.extend(page["data"].as_array().expect("a list").clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return records,
        }
    }
}

/// Lines of a report, as fields.
fn lines(path: &Path) -> Vec<[String; 6]> {
    let text = std::fs::read_to_string(path).expect("a report");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("table,key,tenant,importedAs,action,reasons"));
    lines.map(|line| fields(line).try_into().expect("six fields")).collect()
}

/// The fields of a line of CSV, quoted or not; no field has a newline.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.last_mut().expect("a field");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => last.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => last.push(c),
        }
    }
    fields
}
