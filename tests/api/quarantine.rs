//! Files that must not be served: what clients, the log and the metrics say of them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Cell, Setup, TestApp, eventually, files, tenants_in, token_with};

/// Puts a copy of a file in another's place, with a tool of the system: copying inside this process would drop SQLite's
/// locks.
fn put(from: &Path, to: &Path) {
    let copy = to.with_extension("copy");
    assert!(Command::new("cp").arg(from).arg(&copy).status().expect("cp runs").success());
    fs::rename(copy, to).expect("replaced");
}

#[tokio::test]
async fn a_file_that_replaces_an_open_one_is_served_after_a_restart_and_nothing_is_replayed_over_it() {
    let theirs = TestApp::start().await;
    theirs.tenant("acme").create_customer("theirs").await;
    let theirs = theirs.stop().await;
    let setup = || Setup::default().with("CRM__STORAGE__CHECKPOINT_AFTER", "10m");
    let app = setup().start().await;
    let client = app.tenant("acme");
    client.create_customer("only in the WAL").await;

    put(&tenants_in(theirs.path()).join("acme.db"), &app.tenants().join("acme.db"));

    let refused =
        client.post("/customers", &json!({"name": "B"})).await.expect_error(423, "TENANT_UNAVAILABLE");
    assert_eq!(refused.json()["details"], "not-written");
    client.get("/customers").await.expect_error(423, "TENANT_UNAVAILABLE");
    assert_eq!(app.figure("tenants_quarantined").await, 1);
    let directory = app.stop().await;
    let app = setup().over(&directory).start().await;
    let list = app.tenant("acme").get("/customers").await.expect(200).json();
    assert_eq!((&list["total"], &list["data"][0]["name"]), (&json!(1), &json!("theirs")));
    assert_eq!(app.figure("tenants_quarantined").await, 0);
    let trash = files(&directory.path().join("crm_cell/trash"));
    let has_wal = |name: &String| name.starts_with("acme.db.replaced-") && name.ends_with("-wal");
    assert!(trash.iter().any(has_wal), "{trash:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_was_put_right_is_quarantined_no_longer() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("A").await;
    let directory = app.stop().await;
    let file = tenants_in(directory.path()).join("acme.db");
    let bytes = fs::read(&file).expect("the file");
    fs::write(&file, "not a database".repeat(100)).expect("written");
    let app = Setup::default().over(&directory).start().await;
    assert_eq!(app.figure("tenants_quarantined").await, 0, "nobody has looked yet");

    app.tenant("acme").get("/customers").await.expect_error(423, "TENANT_UNAVAILABLE");
    app.tenant("other").create_customer("A").await;
    assert_eq!(app.figure("tenants_quarantined").await, 1);

    fs::write(&file, bytes).expect("written");
    let client = app.tenant("acme");
    eventually("the back-off is over", async || client.get("/customers").await.status == 200).await;
    assert_eq!(app.figure("tenants_quarantined").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn the_log_names_the_tenant_of_a_request_and_of_whatever_goes_wrong_with_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = Cell::command(directory.path());
    command.env("CRM__LOG__FILTER", "info").stderr(File::create(&log).expect("a file"));
    let cell = Cell::spawn(&mut command);
    let client = cell.tenant("acme");
    client.get("/customers").await.expect(200);
    client.clone().with_tenant("elsewhere").get("/customers").await.expect(403);
    cell.anonymous().get("/health").await.expect(200);
    client.create_customer("A").await;
    fs::remove_file(tenants_in(directory.path()).join("acme.db")).expect("removed");
    client.post("/customers", &json!({"name": "B"})).await.expect(423);
    client.get("/customers").await.expect(423);
    fs::write(tenants_in(directory.path()).join("bad.db"), "x".repeat(1000)).expect("written");
    cell.tenant("bad").get("/customers").await.expect(423);
    let unbound = token_with(&json!({"sub": "li", "exp": 4_000_000_000_u64}));
    let unbound = cell.anonymous().with_token(&unbound);
    unbound.with_tenant("bad").get("/customers").await.expect(423);
    cell.terminate();

    let log = fs::read_to_string(&log).expect("the log");
    let access = log.lines().filter(|line| line.contains(" crm_cell::access: "));
    let access: Vec<_> = access.map(|line| (field(line, "status"), field(line, "tenant_id"))).collect();
    let expected = [
        ("200", "acme"),
        ("403", ""), // only the tenant that a caller is admitted to
        ("200", ""),
        ("201", "acme"),
        ("423", "acme"),
        ("423", "acme"),
        ("423", "bad"),
        ("423", ""), // its members would have to be asked
    ];
    assert_eq!(access, expected, "{log}");
    let of_a_tenant = |line: &&str| !line.contains(" crm_cell::app: ");
    let is_trouble = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ");
    let troubles: Vec<_> = log.lines().filter(is_trouble).filter(of_a_tenant).collect();
    for (said, tenant) in [
        ("tenant quarantined", "acme"),
        ("tenant unavailable", "acme"),
        ("opening a tenant failed", "bad"),
        ("tenant unavailable", "bad"),
    ] {
        assert!(
            troubles.iter().any(|line| line.contains(said) && field(line, "tenant_id") == tenant),
            "{log}"
        );
    }
    assert!(troubles.iter().all(|line| !field(line, "tenant_id").is_empty()), "{log}");
}

/// The value of a field of a log line, or of the span that the line is in.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let after = line.split([' ', '{']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    after.unwrap_or_default().split('}').next().unwrap_or_default().trim_matches('"')
}
