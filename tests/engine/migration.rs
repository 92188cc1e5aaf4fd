//! Files that older versions wrote are migrated by opening them, with what is in them.

use std::path::Path;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, Setup, add, file_of, ids, tenant, write_old};

/// What a version-1 file of `acme` holds: a row in every table, every column of a customer filled.
const ROWS_OF_1: &str = "
    insert into meta (id, tenant_id, created_at) values (1, 'acme', 1000);
    insert into customers (id, name, name_key, contact_phone, contact_email, status, lifecycle, level, source, industry,
        region, address, website, remark, owner_id, next_follow_up_at, last_follow_up_at, version, created_at, updated_at)
        values ('c1', '华为', '华为', '13812345678', 'a@b.c', 2, 'lead', 'A', 's', 'i', 'r', 'addr', 'w', 'rem', 'zhang',
            7000, 6000, 3, 1000, 2000);
    insert into customers (id, name, name_key, owner_id, created_at, updated_at, deleted_at)
        values ('c2', 'ACME', 'acme', 'li', 1000, 3000, 3000);
    insert into journal (at, actor, action, resource, record_id, version, request_id, trace_id, changes)
        values (1000, 'zhang', 'customer.create', 'customer', 'c1', 1, 'r1', 't1', '{\"name\":[null,\"华为\"]}');
    insert into outbox (event_id, type, record_id, at, data, state)
        values ('e1', 'crm.customer.created', 'c1', 1000, '{}', 'delivered');
    insert into idempotency (key, fingerprint, response, at) values ('k1', 'f1', '{\"status\":201}', 1000);
";

/// What version 2 added.
const ROWS_OF_2: &str = "
    insert into contacts (id, customer_id, name, phone, is_primary, owner_id, created_at, updated_at)
        values ('k1', 'c1', '李雷', '13899995678', 1, 'zhang', 1000, 2000);
    insert into opportunities (id, customer_id, title, amount_cents, stage, probability_pct, closed_at, owner_id,
        created_at, updated_at) values ('o1', 'c1', '项目', 100, 5, 100, 2000, 'zhang', 1000, 2000);
    insert into follow_ups (id, customer_id, opportunity_id, contact_id, content, occurred_at, owner_id, created_at,
        updated_at) values ('f1', 'c1', 'o1', 'k1', '电话', 6000, 'zhang', 6000, 6000);
    insert into members (user_id, added_at) values ('zhang', 1000);
    update customers set deleted_with = 'c1' where id = 'c2';
";

/// What version 3 added.
const ROWS_OF_3: &str = "
    insert into legacy_rows (source_table, source_key, outcome, digest, reasons, at)
        values ('customers', 'x', 'imported', 'd', '', 1000);
";

async fn user_version(connection: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar("pragma user_version").fetch_one(connection).await.expect("a version")
}

/// All rows of the tables that a file of this version has, as JSON, with the columns that it has.
async fn dump(file: &Path, tables: &[(&str, Vec<String>)]) -> Vec<String> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let mut dump = Vec::new();
    for (table, columns) in tables {
        let columns =
            columns.iter().map(|column| format!("'{column}', \"{column}\"")).collect::<Vec<_>>().join(", ");
        let sql = format!("select json_object({columns}) from {table} order by rowid");
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows");
        assert!(!rows.is_empty(), "{table} is empty");
        dump.extend(rows.into_iter().map(|row| format!("{table} {row}")));
    }
    connection.close().await.expect("closed");
    dump
}

async fn tables_of(file: &Path) -> Vec<(&'static str, Vec<String>)> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let mut tables = Vec::new();
    for table in
        ["meta", "customers", "contacts", "opportunities", "follow_ups", "journal", "outbox", "idempotency"]
    {
        // Which binaries can read a file changes with it.
        let columns = "select name from pragma_table_info(?1) where name <> 'min_reader_version'";
        let columns: Vec<String> =
            sqlx::query_scalar(columns).bind(table).fetch_all(&mut connection).await.expect("columns");
        if !columns.is_empty() {
            tables.push((table, columns));
        }
    }
    connection.close().await.expect("closed");
    tables
}

async fn objects(file: &Path) -> Vec<(String, String, Value)> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let objects: Vec<(String, String)> = sqlx::query_as("select type, name from sqlite_master order by 1, 2")
        .fetch_all(&mut connection)
        .await
        .expect("objects");
    let mut described = Vec::new();
    for (kind, name) in objects {
        let columns: String = sqlx::query_scalar(
            "select json_group_array(json_array(name, type, \"notnull\", dflt_value, pk)) from pragma_table_xinfo(?1)",
        )
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .expect("columns");
        described.push((kind, name, serde_json::from_str(&columns).expect("JSON")));
    }
    connection.close().await.expect("closed");
    described
}

#[tokio::test]
async fn a_file_of_every_older_version_is_migrated_by_opening_it_with_its_data_intact() {
    let latest = sqlx::migrate!().iter().map(|migration| migration.version).max().expect("a migration");
    let fresh = Cell::open().await;
    fresh.db("acme").await;
    let fresh = fresh.stop().await;
    for (version, rows) in
        [(1, &[ROWS_OF_1][..]), (2, &[ROWS_OF_1, ROWS_OF_2]), (3, &[ROWS_OF_1, ROWS_OF_2, ROWS_OF_3])]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file_of(directory.path(), "acme");
        write_old(&file, version, rows).await;
        let tables = tables_of(&file).await;
        let before = dump(&file, &tables).await;

        let cell = Setup::default().open_at(directory).await;
        let db = cell.tenants.find(&tenant("acme")).await.expect("opened").expect("known");
        let names = db.read(async |read| ids(read, "select name from customers order by seq").await);
        assert_eq!(names.await.expect("read"), ["华为", "ACME"], "version {version}");
        assert_eq!(cell.stat(|s| &s.migrations), 1, "version {version}");
        drop(db);
        let directory = cell.stop().await;

        assert_eq!(dump(&file, &tables).await, before, "version {version}");
        assert_eq!(objects(&file).await, objects(&file_of(fresh.path(), "acme")).await, "version {version}");
        let backup = directory.path().join(format!("backups/acme.db.before-migration-from-{version}"));
        assert_eq!(dump(&backup, &tables).await, before, "the restore point of version {version}");
        let mut kept = SqliteConnectOptions::new().filename(&backup).connect().await.expect("opened");
        assert_eq!(user_version(&mut kept).await, version);
        kept.close().await.expect("closed");

        // Once, and from then on it is a file like any other.
        let cell = Setup::default().open_at(directory).await;
        let db = cell.db("acme").await;
        add(&db, "later").await.expect("written");
        let version_now = db
            .read(async |read| ids(read, "select cast(user_version as text) from pragma_user_version").await);
        assert_eq!(version_now.await.expect("read"), [latest.to_string()]);
        assert_eq!(cell.stat(|s| &s.migrations), 0);
    }
}

/// Of version 6, too: as a cell leaves it that dies before it has filled in what is searched.
#[tokio::test]
async fn what_is_in_an_older_file_is_found_by_keywords_once_it_is_migrated() {
    for version in 2..=6 {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file_of(directory.path(), "acme");
        write_old(&file, version, &[ROWS_OF_1, ROWS_OF_2]).await;
        let cell = Setup::default().open_at(directory).await;
        cell.db("acme").await;
        let _directory = cell.stop().await;
        let mut file = SqliteConnectOptions::new().filename(&file).connect().await.expect("opened");
        for (table, needle, expected) in [
            ("customers", " 华 ", "c1"),
            ("customers", "\ta\t@\tb\t", "c1"),
            ("customers", "#13812345678#", "c1"),
            ("customers", " a c m e ", "c2"), // from the trash it can come back
            ("contacts", " 李 雷 ", "k1"),
            ("contacts", "5678#", "k1"),
            ("opportunities", " 项 ", "o1"),
        ] {
            let sql = format!(
                "select id from {table}_search join {table} on seq = {table}_search.rowid \
                 where {table}_search match '\"{needle}\"'"
            );
            let found: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut file).await.expect("read");
            assert_eq!(found, [expected], "version {version}: {needle:?} in {table}");
        }
        for table in ["customers", "contacts", "opportunities"] {
            // With rank 1, FTS5 compares the index with the table's text.
            let check =
                format!("insert into {table}_search ({table}_search, rank) values ('integrity-check', 1)");
            sqlx::query(sqlx::AssertSqlSafe(check)).execute(&mut file).await.expect("they agree");
        }
        file.close().await.expect("closed");
    }
}

#[tokio::test]
async fn events_that_were_written_when_nobody_delivered_any_are_not_sent_all_at_once_after_a_migration() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file_of(directory.path(), "acme");
    let pending = "update outbox set state = 'pending'";
    write_old(&file, 3, &[ROWS_OF_1, ROWS_OF_2, ROWS_OF_3, pending]).await;
    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;
    let states = db.read(async |read| ids(read, "select state from outbox").await).await;
    assert_eq!(states.expect("read"), ["unpublished"]);
}
