//! Tenants over HTTP: first touch, isolation, many tenants with few places, files that move (contract §4).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Setup, TestApp, eventually, files, tenants_in, token, token_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once_on_a_cold_tenant_create_and_open_it_once() {
    let app = TestApp::start().await;
    let names: Vec<_> = (0..64).map(|number| format!("客户 {number}")).collect();

    let created = names.iter().map(|name| {
        let client = app.tenant("cold");
        async move { client.post("/customers", &json!({ "name": name })).await }
    });
    let answers = futures_util::future::join_all(created).await;

    for answer in answers {
        answer.expect(201);
    }
    assert_eq!(app.figure("tenant_creations").await, 1);
    assert_eq!(app.figure("tenant_opens").await, 1);
    let list = app.tenant("cold").get("/customers?pageSize=100").await.expect(200).json();
    assert_eq!(list["total"], 64);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once_reopen_a_closed_tenant_once() {
    let app = TestApp::start().await;
    app.tenant("cold").create_customer("first").await;
    let directory = app.stop().await;
    let app = Setup::default().over(&directory).start().await;

    let reads = (0..64).map(|_| {
        let client = app.tenant("cold");
        async move { client.get("/customers").await }
    });
    for answer in futures_util::future::join_all(reads).await {
        assert_eq!(answer.expect(200).json()["total"], 1);
    }

    assert_eq!(app.figure("tenant_opens").await, 1);
    assert_eq!(app.figure("tenant_creations").await, 0);
    app.stop().await;
}

/// Four tenants may be open; 64 clients use 64 of them for 20 seconds. Nobody sees an error, no file ever has two
/// writers, nothing acknowledged is missing, and every acknowledged row is seen by the reads that follow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_places_serve_sixty_four_tenants_without_an_error() {
    const TENANTS: usize = 64;
    let app = Setup::default().with("CRM__STORAGE__MAX_OPEN_TENANTS", "4").start().await;
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..TENANTS).map(|_| AtomicU64::new(0)).collect());
    let end = Instant::now() + Duration::from_secs(20);
    let most_open = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let sampler = {
        let (state, most_open, done) = (app.state.clone(), most_open.clone(), done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                most_open.fetch_max(state.tenants.stats().open.load(Ordering::Relaxed), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };

    let clients = (0..64_usize).map(|number| {
        // With the connections of one client: of one for each tenant, they are more than many machines allow a process.
        let client = app.anonymous();
        let of_tenant = |tenant: usize| {
            let tenant = format!("t{tenant}");
            client.clone().with_token(&token(&tenant, "tester")).with_tenant(&tenant)
        };
        let clients: Vec<_> = (0..TENANTS).map(of_tenant).collect();
        let acknowledged = acknowledged.clone();
        tokio::spawn(async move {
            let mut requests = 0_u64;
            // A walk of its own over the tenants for each client.
            for step in 0_usize.. {
                if Instant::now() >= end {
                    break;
                }
                let tenant = (number * 7 + step * (2 * number + 1)) % TENANTS;
                let client = &clients[tenant];
                if step % 3 == 0 {
                    let name = format!("customer {number} {step}");
                    client.post("/customers", &json!({ "name": name })).await.expect(201);
                    acknowledged[tenant].fetch_add(1, Ordering::Relaxed);
                } else {
                    let before = acknowledged[tenant].load(Ordering::Relaxed);
                    let list = client.get("/customers?pageSize=1").await.expect(200).json();
                    assert!(list["total"].as_u64().expect("a total") >= before, "a stale read: {list}");
                }
                requests += 1;
            }
            requests
        })
    });
    let mut requests = 0;
    for client in clients.collect::<Vec<_>>() {
        requests += client.await.expect("no error");
    }
    done.store(true, Ordering::Relaxed);
    sampler.await.expect("no panic");

    assert_eq!(app.figure("tenant_claims_overlapping").await, 0);
    assert_eq!(app.figure("tenant_open_failures").await, 0);
    assert_eq!(app.figure("tenant_creations").await, TENANTS as u64);
    let most_open = most_open.load(Ordering::Relaxed);
    assert!(most_open <= 4, "{most_open} tenants were open at once");
    println!(
        "{requests} requests, {} opens, {} revivals, at most {most_open} open",
        app.figure("tenant_opens").await,
        app.figure("tenant_revivals").await,
    );
    for tenant in 0..TENANTS {
        let list = app
            .tenant(&format!("t{tenant}"))
            .get("/customers?pageSize=1&count=exact")
            .await
            .expect(200)
            .json();
        assert_eq!(list["total"], acknowledged[tenant].load(Ordering::Relaxed), "tenant t{tenant}");
    }
    let directory = app.stop().await;
    let names = files(&tenants_in(directory.path()));
    assert_eq!(names.len(), TENANTS, "side files are left: {names:?}");
}

#[tokio::test]
async fn a_read_of_an_unknown_tenant_is_empty_and_leaves_nothing_on_disk() {
    let app = TestApp::start().await;
    let client = app.tenant("nobody");

    assert_eq!(client.get("/customers").await.expect(200).json()["total"], 0);
    client.get("/customers/01a204f8-527e-759d-b00c-2f62d1ebdc06").await.expect_error(404, "NOT_FOUND");
    client.patch("/customers/x", &json!({"name": "a"})).await.expect_error(404, "NOT_FOUND");
    client.delete("/customers/x").await.expect_error(404, "NOT_FOUND");
    client.post("/customers", &json!({})).await.expect_error(400, "BAD_REQUEST");
    client.post("/customers", &json!({"name": 5})).await.expect_error(400, "VALIDATION_FAILED");
    app.anonymous()
        .with_tenant("nobody")
        .post("/customers", &json!({"name": "a"}))
        .await
        .expect_error(401, "UNAUTHORIZED");

    assert!(files(&app.tenants()).is_empty());
    app.stop().await;
}

#[tokio::test]
async fn with_explicit_provisioning_an_unknown_tenant_does_not_exist() {
    let app = Setup::default().with("CRM_TENANT_PROVISION", "explicit").start().await;
    let client = app.tenant("nobody");

    client.get("/customers").await.expect_error(404, "TENANT_NOT_FOUND");
    client.post("/customers", &json!({"name": "a"})).await.expect_error(404, "TENANT_NOT_FOUND");

    assert!(files(&app.tenants()).is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_flood_of_new_tenants_is_slowed_down_and_existing_ones_are_not() {
    let app = Setup::default()
        .with("CRM__TENANTS__CREATE_BURST", "2")
        .with("CRM__TENANTS__CREATE_PER_MINUTE", "1")
        .start()
        .await;
    app.tenant("a").create_customer("one").await;
    app.tenant("b").create_customer("one").await;

    let refused =
        app.tenant("c").post("/customers", &json!({"name": "one"})).await.expect_error(429, "RATE_LIMIT");

    assert!(refused.header("Retry-After").parse::<u64>().expect("seconds") >= 1);
    app.tenant("a").create_customer("two").await;
    assert_eq!(files(&app.tenants()).iter().filter(|name| name.ends_with(".db")).count(), 2);
    app.stop().await;
}

#[tokio::test]
async fn ids_that_differ_only_in_case_have_files_of_their_own() {
    let app = TestApp::start().await;
    let id = app.tenant("Acme").create_customer("only in Acme").await;

    app.tenant("acme").get(&format!("/customers/{id}")).await.expect_error(404, "NOT_FOUND");
    app.tenant("acme").create_customer("only in acme").await;

    let directory = app.stop().await;
    assert_eq!(files(&tenants_in(directory.path())), ["+acme.db", "acme.db"]);
}

#[tokio::test]
async fn after_two_idle_seconds_the_main_file_alone_holds_every_row() {
    let app = Setup::default().with("CRM__STORAGE__CHECKPOINT_AFTER", "200ms").start().await;
    let client = app.tenant("acme");
    for number in 0..20 {
        client.create_customer(&format!("customer {number}")).await;
    }
    eventually("the checkpoint", async || app.figure("checkpoints").await > 0).await;

    let other = Setup::default();
    let target = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(tenants_in(target.path())).expect("made");
    copy(&app.tenants().join("acme.db"), &tenants_in(target.path()).join("acme.db"));
    let other = other.over(&Arc::new(target)).start().await;

    let list = other.tenant("acme").get("/customers?pageSize=50").await.expect(200).json();
    assert_eq!(list["total"], 20);
    other.stop().await;
    app.stop().await;
}

#[tokio::test]
async fn a_stopped_cells_file_is_served_by_another_cell() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("travels").await;
    app.tenant("beta").create_customer("stays").await;
    let directory = app.stop().await;
    assert_eq!(files(&tenants_in(directory.path())), ["acme.db", "beta.db"]);

    let target = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(tenants_in(target.path())).expect("made");
    copy(&tenants_in(directory.path()).join("acme.db"), &tenants_in(target.path()).join("acme.db"));
    let other = Setup::default().over(&Arc::new(target)).start().await;

    let customer = other.tenant("acme").get(&format!("/customers/{id}")).await.expect(200).json();
    assert_eq!(customer["name"], "travels");
    assert_eq!(other.tenant("beta").get("/customers").await.expect(200).json()["total"], 0);
    other.stop().await;
}

#[tokio::test]
async fn a_file_under_another_tenants_name_is_refused_and_left_alone() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("a").await;
    app.tenant("beta").create_customer("b").await;
    let directory = app.stop().await;
    let tenants = tenants_in(directory.path());
    std::fs::rename(tenants.join("acme.db"), tenants.join("gamma.db")).expect("renamed");
    std::fs::write(tenants.join("empty.db"), b"").expect("written");
    std::fs::write(tenants.join("text.db"), "not a database ".repeat(100)).expect("written");
    let app = Setup::default().over(&directory).start().await;

    for tenant in ["gamma", "empty", "text"] {
        let client = app.tenant(tenant);
        let refused = client.get("/customers").await.expect_error(423, "TENANT_UNAVAILABLE");
        assert!(!refused.header("Retry-After").is_empty());
        let write =
            client.post("/customers", &json!({"name": "x"})).await.expect_error(423, "TENANT_UNAVAILABLE");
        assert_eq!(write.json()["details"], "not-written");
    }
    app.tenant("beta").get("/customers").await.expect(200);

    app.stop().await;
    assert_eq!(std::fs::read(tenants.join("empty.db")).expect("there"), b"");
    assert_eq!(
        std::fs::read(tenants.join("text.db")).expect("there"),
        "not a database ".repeat(100).as_bytes()
    );
}

#[tokio::test]
async fn a_file_removed_under_the_cell_is_never_written_to_nor_made_anew() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("a").await;
    std::fs::remove_file(app.tenants().join("acme.db")).expect("removed");

    let refused =
        client.post("/customers", &json!({"name": "b"})).await.expect_error(423, "TENANT_UNAVAILABLE");

    assert_eq!(refused.json()["details"], "not-written");
    client.get("/customers").await.expect_error(423, "TENANT_UNAVAILABLE");
    assert!(!app.tenants().join("acme.db").exists());
    app.tenant("beta").create_customer("b").await;
    app.stop().await;
}

#[tokio::test]
async fn a_caller_of_one_tenant_reaches_no_other() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("secret").await;
    let cursor_source = app.tenant("acme");
    cursor_source.create_customer("second").await;
    let cursor = cursor_source.get("/customers?pageSize=1").await.json()["nextCursor"]
        .as_str()
        .expect("one")
        .to_owned();
    let beta = app.tenant("beta");

    beta.clone().with_tenant("acme").get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    beta.get(&format!("/customers/{id}")).await.expect_error(404, "NOT_FOUND");
    beta.get(&format!("/customers?customerId={id}")).await.expect(200);
    assert_eq!(beta.get(&format!("/customers?customerId={id}")).await.json()["total"], 0);
    beta.get(&format!("/customers?pageSize=1&cursor={cursor}")).await.expect_error(400, "INVALID_CURSOR");
    let acme = app.tenant("acme").post_as("same-id", "/customers", &json!({"name": "x"})).await.expect(201);
    let other = beta.post_as("same-id", "/customers", &json!({"name": "x"})).await.expect(201);
    assert_eq!(other.header("Idempotent-Replayed"), "");
    assert_ne!(acme.json()["customerId"], other.json()["customerId"]);
    app.stop().await;
}

#[tokio::test]
async fn no_role_crosses_tenants() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("secret").await;
    for role in ["admin", "manager", "service", "member", "readonly"] {
        let token =
            token_with(&json!({"sub": "u", "tenantId": "beta", "role": role, "exp": 4_000_000_000_u64}));
        let client = app.anonymous().with_token(&token).with_tenant("acme");
        client.get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    }
    app.stop().await;
}

/// As an operator would: with a tool of the system. Copying inside this process would drop SQLite's locks.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().expect("cp runs").success());
}
