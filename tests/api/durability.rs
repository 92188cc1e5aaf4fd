//! What is acknowledged stays, and what it costs: the binary killed while clients write, and the engine's own figures.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::sync::Mutex;

use crate::support::{Cell, Setup, TestApp, eventually, files, tenants_in};

/// What a client was told about one request.
#[derive(Debug, Clone)]
struct Sent {
    request_id: String,
    tenant: usize,
    name: String,
    /// The id of the customer, if an answer arrived.
    acknowledged: Option<String>,
}

/// Eight clients write to four tenants while the process is killed, five times over. Every acknowledged row is there
/// once; repeating every request, answered or not, ends with each of them there once, under the acknowledged id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    const ROUNDS: usize = 5;
    let directory = tempfile::tempdir().expect("a directory");
    let sent = Arc::new(Mutex::new(Vec::<Sent>::new()));
    for round in 0..ROUNDS {
        let cell = Cell::start(directory.path());
        let writers: Vec<_> = (0..8).map(|writer| spawn_writer(&cell, round, writer, sent.clone())).collect();
        tokio::time::sleep(Duration::from_millis(300 + 170 * round as u64)).await;
        cell.kill();
        for writer in writers {
            writer.await.expect("no panic");
        }
    }
    let sent = sent.lock().await.clone();
    let acknowledged = sent.iter().filter(|request| request.acknowledged.is_some()).count();
    println!("{} requests sent, {acknowledged} acknowledged, {ROUNDS} kills", sent.len());
    assert!(acknowledged > 50, "too few writes to prove anything");
    assert!(sent.len() > acknowledged, "no write was under way at any kill");

    let cell = Cell::start(directory.path());
    for request in &sent {
        let client = cell.tenant(&format!("t{}", request.tenant));
        if let Some(id) = &request.acknowledged {
            let found = client.get(&format!("/customers/{id}")).await.expect(200).json();
            assert_eq!(found["name"], request.name);
        }
        let repeated = client
            .post_as(&request.request_id, "/customers", &json!({"name": request.name}))
            .await
            .expect(201);
        if let Some(id) = &request.acknowledged {
            assert_eq!(repeated.header("Idempotent-Replayed"), "true");
            assert_eq!(repeated.json()["customerId"], *id);
        }
    }
    let mut expected = HashMap::<usize, u64>::new();
    for request in &sent {
        *expected.entry(request.tenant).or_default() += 1;
    }
    for (tenant, count) in expected {
        let list = cell
            .tenant(&format!("t{tenant}"))
            .get("/customers?pageSize=1&count=exact")
            .await
            .expect(200)
            .json();
        assert_eq!(list["total"], count, "tenant t{tenant}");
    }
    assert_eq!(cell.terminate(), Some(0));
    let names = files(&tenants_in(directory.path()));
    assert_eq!(names.len(), 4, "side files are left: {names:?}");
}

fn spawn_writer(
    cell: &Cell,
    round: usize,
    writer: usize,
    sent: Arc<Mutex<Vec<Sent>>>,
) -> tokio::task::JoinHandle<()> {
    let tenant = writer % 4;
    let client = cell.tenant(&format!("t{tenant}"));
    tokio::spawn(async move {
        for number in 0.. {
            let name = format!("{round}-{writer}-{number}");
            let request_id = format!("request-{name}");
            let post = client.clone().with("X-Request-ID", &request_id);
            let answer =
                post.try_send(Method::POST, "/customers", Some(json!({ "name": name }).to_string())).await;
            let acknowledged = match &answer {
                Ok(answer) => {
                    Some(answer.clone().expect(201).json()["customerId"].as_str().expect("an id").to_owned())
                }
                Err(_killed) => None,
            };
            sent.lock().await.push(Sent { request_id, tenant, name, acknowledged });
            if answer.is_err() {
                return;
            }
        }
    })
}

/// After a crash nobody needs to ask for a tenant before its file may be copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_cell_brings_rows_that_a_crash_left_in_the_wal_into_the_main_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    cell.tenant("acme").create_customer("only in the WAL").await;
    cell.kill();
    assert_eq!(files(&tenants_in(directory.path())), ["acme.db", "acme.db-shm", "acme.db-wal"]);

    let app = Setup::default()
        .over(&Arc::new(directory))
        .with("CRM__STORAGE__CHECKPOINT_AFTER", "50ms")
        .start()
        .await;
    let wal = app.tenants().join("acme.db-wal");
    let is_empty = || std::fs::metadata(&wal).map_or(true, |wal| wal.len() == 0);
    eventually("the checkpoint", async || is_empty()).await;

    assert_eq!(app.figure("write_units").await, 0);
    let list = app.tenant("acme").get("/customers").await.expect(200).json();
    assert_eq!(list["total"], 1);
    app.stop().await;
}

/// Stopped before it has come to all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_right_after_a_crash_leaves_only_main_files() {
    const TENANTS: usize = 60;
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    for tenant in 0..TENANTS {
        cell.tenant(&format!("t{tenant}")).create_customer("only in the WAL").await;
    }
    cell.kill();
    let side_files = |directory: &Path| {
        files(&tenants_in(directory)).into_iter().filter(|name| !name.ends_with(".db")).collect::<Vec<_>>()
    };
    assert!(side_files(directory.path()).len() > TENANTS, "nothing is left to recover");

    let code = Cell::start(directory.path()).terminate();

    assert_eq!(code, Some(0));
    assert_eq!(side_files(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn sigterm_under_load_finishes_what_was_begun_and_leaves_only_main_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..8).map(|writer| spawn_writer(&cell, 0, writer, sent.clone())).collect();
    eventually("a row in each tenant", async || {
        let sent = sent.lock().await;
        let has_row =
            |tenant| sent.iter().any(|request| request.tenant == tenant && request.acknowledged.is_some());
        (0..4).all(has_row)
    })
    .await;

    let code = tokio::task::spawn_blocking(move || cell.terminate()).await.expect("no panic");

    assert_eq!(code, Some(0));
    for writer in writers {
        writer.await.expect("no panic");
    }
    let names = files(&tenants_in(directory.path()));
    assert_eq!(names, ["t0.db", "t1.db", "t2.db", "t3.db"]);
    let cell = Cell::start(directory.path());
    for request in sent.lock().await.iter() {
        if let Some(id) = &request.acknowledged {
            cell.tenant(&format!("t{}", request.tenant)).get(&format!("/customers/{id}")).await.expect(200);
        }
    }
}

/// With 64 clients on one tenant, a group shares its commit: far less than one sync a POST.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_share_their_commits() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("first").await;
    let (statements, commits) = (app.figure("statements").await, app.figure("write_commits").await);

    const CLIENTS: usize = 64;
    const EACH: usize = 20;
    let clients = (0..CLIENTS).map(|client| {
        let tenant = app.tenant("acme");
        tokio::spawn(async move {
            for number in 0..EACH {
                tenant.create_customer(&format!("{client}-{number}")).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }

    let posts = (CLIENTS * EACH) as f64;
    let statements = (app.figure("statements").await - statements) as f64 / posts;
    let commits = (app.figure("write_commits").await - commits) as f64 / posts;
    println!(
        "64 clients, one tenant: {statements:.2} statements and {commits:.3} commits (WAL syncs) a POST"
    );
    assert!(commits < 0.5, "{commits} commits a POST");
    assert!(statements < 2.0, "{statements} statements a POST");
    app.stop().await;
}
