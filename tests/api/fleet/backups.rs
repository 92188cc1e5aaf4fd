//! Backups, and restoring from them, while the cell serves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Operator, data_root, names, only_entry};
use crate::support::{Cell, Client};

/// Backups that are made, and restores, while others write. `suites/fleet` makes more.
const BACKUPS: usize = 12;
const RESTORES: usize = 8;

async fn keep_writing(client: Client, stop: Arc<AtomicBool>) -> usize {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        client.create_customer(&format!("客户 {number}")).await;
    }
    0
}

fn set_of(value: &Value) -> &Path {
    Path::new(value["path"].as_str().expect("a path"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_sound_and_lacks_nothing_acknowledged_before_it_began() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let acme = cell.tenant("acme");
    let stop = Arc::<AtomicBool>::default();
    let writer = tokio::spawn(keep_writing(cell.tenant("busy"), stop.clone()));
    let mut acknowledged = BTreeSet::new();
    for number in 0..BACKUPS {
        let name = format!("早 {number}");
        acme.create_customer(&name).await;
        acknowledged.insert(name);
        let before = cell.tenant("busy").get("/customers").await.json()["total"].as_u64().expect("a total");

        let operator = directory.path().to_owned();
        let made = tokio::task::spawn_blocking(move || Operator(&operator).ok(&["backup", "--all"])).await;
        let made = made.expect("a backup");

        let set = set_of(&made);
        assert_eq!(names(&set.join("acme.db")), acknowledged);
        let of_busy = names(&set.join("busy.db")).len() as u64;
        assert!(of_busy >= before, "{of_busy} of {before}");
        for entry in made["manifest"]["tenants"].as_array().expect("tenants") {
            let file = set.join(entry["file"].as_str().expect("a file"));
            assert_eq!(entry["bytes"], fs::metadata(&file).expect("there").len());
            assert_eq!(entry["rows"]["customers"], names(&file).len());
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.expect("a writer") > BACKUPS);
}

#[tokio::test]
async fn a_set_can_be_held_against_its_sums_and_by_itself_is_a_data_root() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["tenants", "suspend", "acme"]);

    let made = operator.ok(&["backup", "--all", "--to", "elsewhere"]);

    let set = set_of(&made);
    assert!(set.starts_with(directory.path().join("elsewhere")), "{made}");
    let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(set).status();
    assert!(sums.expect("sha256sum").success());
    assert_eq!(made["manifest"]["failed"], json!([]));
    let listed = operator.ok(&["backups", "--from", "elsewhere"]);
    assert_eq!(listed["items"][0]["manifest"], made["manifest"]);
    operator.refused(&["backup", "acme", "nobody"], 3);
    assert_eq!(operator.run(&["backup"]).code, 2, "all are meant only if that is said");

    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(elsewhere.path().join("crm_cell/tenants")).expect("made");
    let copied =
        Command::new("cp").arg(set.join("acme.db")).arg(elsewhere.path().join("crm_cell/tenants")).status();
    assert!(copied.expect("cp").success());
    let other = Cell::start(elsewhere.path());
    assert_eq!(
        other.tenant("acme").get("/customers").await.status,
        StatusCode::FORBIDDEN,
        "suspended there too"
    );
    Operator(elsewhere.path()).ok(&["tenants", "resume", "acme"]);
    assert_eq!(other.tenant("acme").get("/customers").await.json()["total"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_over_a_live_tenant_brings_back_exactly_what_the_backup_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let acme = cell.tenant("acme");
    for name in ["华为", "中兴"] {
        acme.create_customer(name).await;
    }
    let operator = Operator(directory.path());
    operator.ok(&["backup", "acme"]);
    let before = acme.get("/customers?sort=name").await.text;
    let stop = Arc::<AtomicBool>::default();
    let writer = tokio::spawn(keep_writing(cell.tenant("busy"), stop.clone()));
    for number in 0..RESTORES {
        acme.create_customer(&format!("晚 {number}")).await;

        let root = directory.path().to_owned();
        let restored = tokio::task::spawn_blocking(move || Operator(&root).ok(&["restore", "acme"])).await;

        let restored = restored.expect("a restore");
        assert_eq!(restored["rows"]["customers"], json!({ "before": 3, "after": 2 }));
        assert_eq!(acme.get("/customers?sort=name").await.text, before, "in the same process, at once");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.expect("a writer") > RESTORES, "others wrote meanwhile");
    let file = directory.path().join("crm_cell/tenants/acme.db");
    assert_eq!(cell.terminate(), Some(0));
    assert_eq!(names(&file), BTreeSet::from(["华为".to_owned(), "中兴".to_owned()]));
}

#[tokio::test]
async fn a_preview_changes_nothing_and_what_a_restore_replaced_can_be_brought_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;
    operator.ok(&["backup", "acme"]);
    acme.create_customer("小米").await;
    let now = acme.get("/customers").await.text;

    let preview = operator.ok(&["restore", "acme", "--preview"]);

    assert_eq!(
        (&preview["preview"], &preview["rows"]["customers"]),
        (&json!(true), &json!({"before": 2, "after": 1}))
    );
    assert_eq!(acme.get("/customers").await.text, now);
    operator.refused(&["restore", "acme", "--undo"], 3);

    operator.ok(&["tenants", "read-only", "acme", "--reason", "moving"]);
    operator.ok(&["restore", "acme"]);
    assert_eq!(acme.get("/customers").await.json()["total"], 1);
    let shown = operator.ok(&["tenants", "show", "acme"]);
    assert_eq!(
        (&shown["state"], &shown["meta"]["reason"]),
        (&json!("read-only"), &json!("moving")),
        "its state stays"
    );

    operator.ok(&["restore", "acme", "--undo"]);
    assert_eq!(acme.get("/customers").await.text, now);
}

#[tokio::test]
async fn nothing_is_restored_from_what_is_damaged_foreign_or_missing() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    cell.tenant("other").create_customer("中兴").await;
    let said = operator.refused(&["restore", "acme"], 3);
    assert!(said.contains("no backup of the tenant acme"), "{said}");
    let made = operator.ok(&["backup", "acme", "other"]);
    let (acme, other) = (set_of(&made).join("acme.db"), set_of(&made).join("other.db"));
    let content = fs::read(&acme).expect("read");

    let mut damaged = content.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    fs::write(&acme, &damaged).expect("written");
    assert!(operator.refused(&["restore", "acme"], 1).contains("manifest"), "one bit is enough");
    fs::write(&acme, &content[..content.len() - 4096]).expect("written");
    let file = acme.to_string_lossy().into_owned();
    operator.refused(&["restore", "acme", "--file", &file], 1);
    let said = operator.refused(&["restore", "acme", "--file", &other.to_string_lossy()], 1);
    assert!(said.contains("another tenant"), "{said}");
    for (arguments, code) in [
        (&["restore", "acme", "--file", "nowhere.db"][..], 3),
        (&["restore", "acme", "--backup", "nowhere"], 3),
        (&["restore", "acme", "--copy"], 3),
        (&["restore", "acme", "--file", "crm_cell/tenants/acme.db"], 1),
    ] {
        operator.refused(arguments, code);
    }
    let said = operator.refused(&["backup", "--all", "--to", "not-mounted/backups"], 1);
    assert!(said.contains("not-mounted: is its disk mounted?"), "{said}");
    assert_eq!(cell.tenant("acme").get("/customers").await.json()["total"], 1);
    let copying = directory.path().join("crm_cell/copying");
    assert_eq!(fs::read_dir(copying).expect("readable").count(), 0, "nothing is left of it");
}

#[tokio::test]
async fn the_rows_that_a_killed_cell_left_beside_a_file_are_never_replayed_over_a_restored_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let slow = |command: &mut Command| {
        command.env("CRM__STORAGE__CHECKPOINT_AFTER", "1h");
        Cell::spawn(command)
    };
    let cell = slow(&mut Cell::command(directory.path()));
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["backup", "acme"]);
    cell.tenant("acme").create_customer("小米").await;
    cell.kill();
    let tenants = directory.path().join("crm_cell/tenants");
    assert!(fs::metadata(tenants.join("acme.db-wal")).expect("a WAL").len() > 0);

    operator.ok(&["restore", "acme"]); // no cell runs

    let cell = slow(&mut Cell::command(directory.path()));
    assert_eq!(cell.tenant("acme").get("/customers").await.json()["total"], 1);
    operator.ok(&["restore", "acme", "--undo"]);
    assert_eq!(
        cell.tenant("acme").get("/customers").await.json()["total"],
        2,
        "nothing acknowledged was lost"
    );
}

#[tokio::test]
async fn a_quarantined_tenant_serves_again_once_it_is_restored() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["backup", "acme"]);
    assert_eq!(cell.terminate(), Some(0));
    let file = directory.path().join("crm_cell/tenants/acme.db");
    fs::write(&file, vec![0x55; 40_000]).expect("damaged");
    let cell = Cell::start(directory.path());
    assert_eq!(cell.tenant("acme").get("/customers").await.status, StatusCode::LOCKED);
    let shown = operator.ok(&["tenants", "show", "acme"]);
    assert_eq!(shown["state"], "quarantined", "{shown}");

    operator.ok(&["restore", "acme"]);

    assert_eq!(cell.tenant("acme").get("/customers").await.json()["total"], 1);
}

#[tokio::test]
async fn as_many_backups_are_kept_as_are_wanted_of_each_tenant() {
    let (directory, root) = data_root();
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "acme", "other"]);
    let all = operator.ok(&["backup", "--all"]);
    let mut last = Value::Null;
    for _ in 0..3 {
        last = operator.ok(&["backup", "acme", "--keep", "1"]);
    }
    assert_eq!(last["removed"].as_array().map(Vec::len), Some(1), "{last}");
    let names = |of: &Value| {
        let items = of["items"].as_array().expect("a list").iter();
        items.map(|item| item["name"].clone()).collect::<Vec<_>>()
    };
    let set = last["path"].as_str().expect("a path");
    operator.ok(&["restore", "acme", "--from", set]);
    let left = names(&operator.ok(&["backups"]));
    assert_eq!(left, [last["name"].clone(), all["name"].clone()], "the only one of `other` stays");
    assert_eq!(names(&operator.ok(&["backups", "other"])), [all["name"].clone()]);
    operator.ok(&["backup", "--all", "--keep", "1"]);
    only_entry(&root.join("backups"));
}

#[tokio::test]
async fn a_tenant_is_made_of_what_another_one_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    let made = operator.ok(&["backup", "acme"]);
    cell.tenant("acme").create_customer("小米").await;
    let file = set_of(&made).join("acme.db").to_string_lossy().into_owned();
    operator.ok(&["tenants", "create", "was", "--of", "acme", "--backup", "latest"]);
    operator.ok(&["tenants", "create", "was-too", "--of", "acme", "--file", &file]);
    for tenant in ["was", "was-too"] {
        let customers = cell.tenant(tenant).get("/customers").await.json();
        assert_eq!((&customers["total"], &customers["data"][0]["name"]), (&json!(1), &json!("华为")));
    }
}
