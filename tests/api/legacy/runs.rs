//! How often, and over what, the import may be run; what it leaves alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::Connection as _;

use super::rows::sound;
use super::{
    ETC, TENANTS, command, contents, execute, import, imported, lines, open, refused, source_in, totals,
};
use crate::support::{Cell, Setup, db_execute, db_select, files, tenants_in};

/// Every file below a directory with its bytes.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in files(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            found.extend(tree(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).expect("readable"));
        }
    }
    found
}

#[tokio::test]
async fn a_second_run_adds_nothing_and_reports_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);
    let first = imported(path, &["crm_cell.db", "--report", "first.csv"]);
    let mut before = Vec::new();
    for (_, tenant) in TENANTS {
        before.push(contents(path, tenant).await);
    }

    let second = imported(path, &["crm_cell.db", "--report", "second.csv"]);

    for ((_, tenant), before) in TENANTS.iter().zip(before) {
        assert_eq!(contents(path, tenant).await, before, "{tenant}");
    }
    assert_eq!(totals(&first, "total")[..4], totals(&second, "total")[..4]);
    assert_eq!((totals(&first, "total")[4], totals(&second, "total")[4]), (5866, 0));
    assert_eq!(lines(&path.join("first.csv")), lines(&path.join("second.csv")));
}

#[tokio::test]
async fn what_was_changed_or_deleted_since_stays_so() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    source_in(directory.path());
    imported(directory.path(), &["crm_cell.db"]);
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let page = client.get("/customers?pageSize=3").await.expect(200).json();
    let ids: Vec<_> =
        (0..3).map(|at| page["data"][at]["customerId"].as_str().expect("an id").to_owned()).collect();
    client.patch(&format!("/customers/{}", ids[0]), &json!({"name": "改过的名字"})).await.expect(200);
    client.delete(&format!("/customers/{}", ids[1])).await.expect(204);
    client.delete(&format!("/customers/{}", ids[2])).await.expect(204);
    app.stop().await;
    // As if it had left the trash for good.
    for table in ["follow_ups", "opportunities", "contacts"] {
        let sql = format!("delete from {table} where customer_id = '{}'", ids[2]);
        db_execute(directory.path(), "acme", &sql).await;
    }
    db_execute(directory.path(), "acme", &format!("delete from customers where id = '{}'", ids[2])).await;
    let before = contents(directory.path(), "acme").await;

    let printed = imported(directory.path(), &["crm_cell.db"]);

    assert_eq!(totals(&printed, "total")[4], 0);
    assert_eq!(contents(directory.path(), "acme").await, before);
}

#[tokio::test]
async fn rows_that_the_source_has_got_since_are_added() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    imported(path, &["crm_cell.db"]);
    let gone = db_select(path, "acme", "select id from customers limit 1").await[0]["id"].clone();
    let gone = gone.as_str().expect("an id").to_owned();
    db_execute(path, "acme", &format!("update customers set deleted_at = 1 where id = '{gone}'")).await;
    let mut connection = open(&source).await;
    for (id, customer) in [("00000000000000c1", "0000000000000001"), ("00000000000000c2", gone.as_str())] {
        let sql = "insert into contacts values (?1, 'acme', ?2, '新联系人', '', '', 1, \
                   '2026-11-23T00:00:00.000Z', '2026-11-23T00:00:00.000Z')";
        sqlx::query(sql).bind(id).bind(customer).execute(&mut connection).await.expect("inserted");
    }
    sqlx::raw_sql(
        "insert into customers values ('0000000000000001', 'acme', '后来的客户', '13812345678', '', 1, \
            '2026-11-23T00:00:00.000Z', '2026-11-23T00:00:00.000Z'); \
         insert into customer_owner values ('0000000000000001', 'acme', 'zhang', '2026-11-23T00:00:00.000Z')",
    )
    .execute(&mut connection)
    .await
    .expect("inserted");
    connection.close().await.expect("closed");

    let printed = imported(path, &["crm_cell.db"]);

    assert_eq!(totals(&printed, "customers"), [605, 603, 2, 0, 1]);
    assert_eq!(totals(&printed, "customer_owner"), [1, 1, 0, 0, 1]);
    // The other contact's customer was deleted here: a record of it would belong to nobody.
    assert_eq!(totals(&printed, "contacts"), [874, 869, 3, 2, 2]);
    let sql = "select c.owner_id, k.is_primary, k.owner_id as keeper from customers c \
               join contacts k on k.customer_id = c.id where c.name = '后来的客户'";
    let expected = json!({"owner_id": "zhang", "is_primary": 1, "keeper": "zhang"});
    assert_eq!(db_select(path, "acme", sql).await, [expected]);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_reports_what_the_import_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);

    let dry = imported(path, &["crm_cell.db", "--dry-run", "--report", "dry.csv"]);

    assert!(dry.contains("nothing was written"), "{dry}");
    assert_eq!(files(path), ["crm_cell.db", "dry.csv"], "not even a data root");
    let wet = imported(path, &["crm_cell.db", "--report", "wet.csv"]);
    assert_eq!(totals(&dry, "total"), totals(&wet, "total"));
    assert_eq!(lines(&path.join("dry.csv")), lines(&path.join("wet.csv")));

    let source = path.join("crm_cell.db");
    execute(&source, "insert into customers values ('1', 'acme', '新的', '', '', 1, '', '')").await;
    // As in a data root that was copied without it.
    std::fs::remove_file(path.join("crm_cell/LOCK")).expect("removed");
    let before = tree(&path.join("crm_cell"));
    let again = imported(path, &["crm_cell.db", "--dry-run"]);
    assert_eq!(totals(&again, "total")[4], 1, "it knows what is there: {again}");
    assert!(tree(&path.join("crm_cell")) == before, "a data root that is there is left as it was");
}

#[tokio::test]
async fn the_source_is_not_changed_even_while_it_is_written_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    let before = std::fs::read(&source).expect("readable");
    imported(path, &["crm_cell.db"]);
    assert!(std::fs::read(&source).expect("readable") == before);
    assert!(!files(path).iter().any(|name| name.starts_with("crm_cell.db-")), "{:?}", files(path));

    // A writer that keeps it open, with rows that are in the WAL only.
    let mut writer = open(&source).await;
    sqlx::raw_sql(
        "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; \
         insert into customers values ('00000000000000aa', 'acme', '只在日志里', '', '', 1, \
            '2026-11-23T00:00:00.000Z', '2026-11-23T00:00:00.000Z')",
    )
    .execute(&mut writer)
    .await
    .expect("written");
    sqlx::raw_sql("begin immediate; update customers set name = 'never committed' where tenant_id = 'acme'")
        .execute(&mut writer)
        .await
        .expect("under way");
    let both =
        || ["crm_cell.db", "crm_cell.db-wal"].map(|name| std::fs::read(path.join(name)).expect("readable"));
    let before = both();

    let printed = imported(path, &["crm_cell.db"]);

    assert_eq!(totals(&printed, "total")[4], 1);
    assert!(both() == before, "neither the file nor its WAL");
    writer.close().await.expect("closed");
    let names = db_select(path, "acme", "select name from customers where id = '00000000000000aa'").await;
    assert_eq!(names, [json!({"name": "只在日志里"})]);
}

#[tokio::test]
async fn an_import_that_was_killed_is_finished_by_the_next() {
    let whole = tempfile::tempdir().expect("a directory");
    source_in(whole.path());
    imported(whole.path(), &["crm_cell.db"]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);

    let mut cut_short = 0;
    for patience in 1..40_u64 {
        let mut child = command(path, &["crm_cell.db"]).spawn().expect("runs");
        std::thread::sleep(Duration::from_millis(patience * 15));
        let ended = child.try_wait().expect("waited").is_some();
        child.kill().expect("killed");
        child.wait().expect("reaped");
        if ended {
            break;
        }
        cut_short += u64::from(tenants_in(path).is_dir() && !files(&tenants_in(path)).is_empty());
    }
    let printed = imported(path, &["crm_cell.db"]);

    assert!(cut_short > 0, "no run was killed while it wrote");
    assert_eq!(totals(&printed, "total")[..4], [5866, 4204, 8, 1654]);
    for (_, tenant) in TENANTS {
        assert_eq!(contents(path, tenant).await, contents(whole.path(), tenant).await, "{tenant}");
        sound(path, tenant).await;
    }
}

#[tokio::test]
async fn a_tenant_whose_name_is_no_id_can_be_given_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);
    let both = refused(path, &["crm_cell.db", "--map", "../../etc=acme"]);
    assert!(both.contains("would both become acme"), "{both}");
    let unknown = refused(path, &["crm_cell.db", "--map", "nobody=etc"]);
    assert!(unknown.contains("the file has no such tenant") && unknown.contains("../../etc"), "{unknown}");
    for wrong in ["../../etc", "../../etc=../etc"] {
        assert_eq!(import(path, &["crm_cell.db", "--map", wrong]).status.code(), Some(2), "{wrong}");
    }

    imported(path, &["crm_cell.db", "--map", "../../etc=etc"]);
    // The next run remembers, and does not import the tenant a second time under another id.
    let again = imported(path, &["crm_cell.db"]);
    assert_eq!(totals(&again, "total")[4], 0);
    let moved = refused(path, &["crm_cell.db", "--map", "../../etc=elsewhere"]);
    assert!(moved.contains("was imported as etc before"), "{moved}");

    assert_eq!(
        files(&tenants_in(path)),
        ["+t.hua_xin.db", "acme.db", "default.db", "etc.db", "tenant-001.db"]
    );
    let names = db_select(path, "etc", "select name from customers").await;
    assert_eq!(names, [json!({"name": "逃逸租户客户"})]);
    assert_ne!(ETC, "etc");
}

#[tokio::test]
async fn a_tenant_that_is_in_use_already_is_added_to() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("tenant-001");
    let ours = client.create_customer("ACME TRADING LTD.").await;
    client.patch(&format!("/customers/{ours}"), &json!({"level": "A"})).await.expect(200);
    app.stop().await;
    source_in(directory.path());

    imported(directory.path(), &["crm_cell.db"]);

    let sql = "select name from customers where name like 'acme trading%' order by seq";
    let names = db_select(directory.path(), "tenant-001", sql).await;
    assert_eq!(names, [json!({"name": "ACME TRADING LTD."}), json!({"name": "Acme Trading Ltd. (2)"})]);
    let log = db_select(directory.path(), "tenant-001", "select actor from journal order by seq").await;
    assert_eq!(log.len(), 2 + 423);
    assert_eq!(log[1]["actor"], "tester", "what was there keeps its numbers");
    assert!(log[2..].iter().all(|entry| entry["actor"] == "system"));
    // The last ten of them had greater numbers than that already.
    let sql = "select count(*) as rows from legacy_rows where reasons = 'log-id-taken:logId'";
    assert_eq!(db_select(directory.path(), "tenant-001", sql).await, [json!({"rows": 413})]);
    sound_but_for_events(directory.path()).await;
}

async fn sound_but_for_events(directory: &Path) {
    db_execute(directory, "tenant-001", "delete from outbox").await;
    sound(directory, "tenant-001").await;
}

#[test]
fn while_a_cell_runs_it_says_to_stop_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let cell = Cell::start(path);
    source_in(path);
    for arguments in [&["crm_cell.db"][..], &["crm_cell.db", "--dry-run"]] {
        let said = refused(path, arguments);
        assert!(said.contains("is in use by process") && said.contains("stop that process"), "{said}");
    }
    assert_eq!(cell.terminate(), Some(0));
    imported(path, &["crm_cell.db"]);
}

#[tokio::test]
async fn what_is_no_database_of_the_python_cell_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("notes.txt"), "not a database").expect("written");
    std::fs::write(path.join("empty.db"), "").expect("written");
    execute(&source_in(path), "drop table follow_ups").await;
    for (file, why) in [
        ("missing.db", "cannot read"),
        ("notes.txt", "is not a SQLite database"),
        ("empty.db", "is not a SQLite database"),
        ("crm_cell.db", "is not a database of the Python cell"),
    ] {
        let said = refused(path, &[file]);
        assert!(said.contains(why), "{said}");
    }
    assert!(!path.join("crm_cell").exists(), "nothing was made for it");
    source_in(path);
    let before = std::fs::read(path.join("crm_cell.db")).expect("readable");
    let said = refused(path, &["crm_cell.db", "--report", "./crm_cell.db"]);
    assert!(said.contains("would overwrite"), "{said}");
    assert!(std::fs::read(path.join("crm_cell.db")).expect("readable") == before);
    imported(path, &["crm_cell.db"]);
    let tenant = path.join("crm_cell/tenants/acme.db");
    let said = refused(path, &[tenant.to_str().expect("text")]);
    assert!(said.contains("is not a database of the Python cell"), "{said}");
}

#[tokio::test]
async fn another_row_under_a_key_that_was_imported_is_kept_beside_it_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    imported(path, &["crm_cell.db"]);
    execute(&source, "update customers set name = '后来改的' where tenant_id = 'default'").await;
    // Another cell's database counts its audit log from 1 as well.
    execute(&source, "update audit_log set user_id = 'somebody' where log_id = 1").await;
    let before = contents(path, "default").await["customers"].clone();

    let printed = imported(path, &["crm_cell.db", "--report", "again.csv"]);

    let changed = totals(&printed, "customers")[3];
    assert!(changed > 0, "{printed}");
    assert_eq!(totals(&printed, "total")[4], changed + 1);
    assert_eq!(contents(path, "default").await["customers"], before, "no record is changed");
    let differing =
        lines(&path.join("again.csv")).into_iter().filter(|line| line[5] == "row-differs").count();
    assert_eq!(u64::try_from(differing).expect("few"), changed + 1);
    let kept = db_select(
        path,
        "default",
        "select count(*) as n from legacy_rows where reasons = 'row-differs' and row like '%后来改的%'",
    );
    assert_eq!(kept.await, [json!({ "n": changed })]);
    assert_eq!(totals(&imported(path, &["crm_cell.db"]), "total")[4], 0, "once");
}

#[tokio::test]
async fn a_copy_of_the_source_sends_no_tenant_elsewhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    imported(path, &["crm_cell.db", "--map", "../../etc=etc"]);
    let bytes = std::fs::read(&source).expect("readable");
    std::fs::write(path.join("copy.db"), bytes).expect("written");
    execute(&path.join("copy.db"), "update customers set name = '改' where tenant_id = '../../etc'").await;

    imported(path, &["copy.db"]);

    let tenants = files(&path.join("crm_cell/tenants"));
    assert!(tenants.iter().all(|file| !file.starts_with("legacy-")), "{tenants:?}");
    execute(&path.join("copy.db"), "update customers set tenant_id = 'etc' where tenant_id = 'default'")
        .await;
    let said = refused(path, &["copy.db"]);
    assert!(said.contains("would both become etc"), "{said}");
}

#[tokio::test]
async fn a_report_overwrites_neither_the_source_nor_a_tenant() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);
    imported(path, &["crm_cell.db"]);
    let before = tree(path);
    for report in [
        "crm_cell.db",
        "crm_cell.db-wal",
        "./crm_cell.db-journal",
        "crm_cell/legacy.json",
        "crm_cell/tenants/acme.db",
    ] {
        let said = refused(path, &["crm_cell.db", "--report", report]);
        assert!(said.contains("would overwrite"), "{report}: {said}");
    }
    assert!(tree(path) == before);
}
