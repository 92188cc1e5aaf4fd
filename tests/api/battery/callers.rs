//! Who calls, and in which tenant.

use serde_json::json;

use super::table::{Kind, TABLE};
use super::world::World;
use crate::support::{Setup, files};

#[tokio::test]
async fn every_operation_answers_a_good_request_as_documented() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE {
        let answer = world.good(&client, row).await;
        let expected = match row.kind {
            Kind::Create => 201,
            Kind::Import | Kind::Receive | Kind::Replay => 202,
            Kind::Delete => 204,
            _ => 200,
        };
        answer.expect(expected);
    }
}

#[tokio::test]
async fn nothing_but_the_public_paths_answers_without_a_good_token() {
    let world = World::new().await;
    let anonymous = world.app.anonymous().with_tenant("acme");
    let expired = world.claims(&json!({"sub": "tester", "tenantId": "acme", "exp": 1_000_000_000}));
    let nameless = world.claims(&json!({"tenantId": "acme", "exp": 4_000_000_000_u64}));
    let garbage = anonymous.clone().with_token("garbage");
    for row in TABLE {
        for client in [&anonymous, &expired, &nameless, &garbage] {
            let answer = world.good(client, row).await;
            if row.is_public() {
                answer.expect(200);
            } else {
                let answer = answer.expect_error(401, "UNAUTHORIZED");
                assert_eq!(answer.header("WWW-Authenticate"), "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn no_operation_lets_a_caller_into_another_tenant_and_none_is_created_by_trying() {
    let world = World::new().await;
    let before = files(&world.app.tenants());
    let stranger = world.caller("other", "admin");
    let unnamed = world.claims(&json!({"sub": "tester", "tenantId": "other", "exp": 4_000_000_000_u64}));
    for row in TABLE.iter().filter(|row| !row.is_public()) {
        let in_acme = world.good(&stranger.clone().with_tenant("acme"), row).await;
        in_acme.expect_error(403, "TENANT_MISMATCH");
        // In their own tenant, which there is not, the records of `acme` are unknown.
        if row.has_id() {
            world.good(&stranger, row).await.expect_error(404, "NOT_FOUND");
            let (status, code) = if row.is_for_reviewers() { (403, "FORBIDDEN") } else { (404, "NOT_FOUND") };
            world.good(&unnamed, row).await.expect_error(status, code);
        }
        if row.kind == Kind::List {
            let page = world.good(&stranger, row).await.expect(200).json();
            assert_eq!((&page["data"], &page["total"]), (&json!([]), &json!(0)), "{}", row.operation);
        }
    }
    assert_eq!(files(&world.app.tenants()), before);
}

#[tokio::test]
async fn a_tenant_that_exists_answers_for_its_own_records_only() {
    let world = World::new().await;
    let other = world.caller("other", "admin");
    other.create_customer("客户").await;
    for row in TABLE.iter().filter(|row| row.has_id()) {
        world.good(&other, row).await.expect_error(404, "NOT_FOUND");
    }
    for row in TABLE.iter().filter(|row| row.is_list()) {
        let client = world.caller("acme", "admin");
        let page = world.to(&client, row, &format!("{}?pageSize=1", row.path)).await.expect(200).json();
        let cursor = page["nextCursor"].as_str().expect("more than one row");
        let stolen = world.to(&other, row, &format!("{}?pageSize=1&cursor={cursor}", row.path)).await;
        stolen.expect_error(400, "INVALID_CURSOR");
    }
}

#[tokio::test]
async fn an_unbound_caller_is_admitted_on_the_header_alone_unless_binding_is_strict() {
    let claims = json!({"sub": "tester", "role": "admin", "exp": 4_000_000_000_u64});
    for (binding, status) in [("header", 200), ("strict", 403)] {
        let world = World::of(Setup::default().with("CRM_TENANT_BINDING", binding)).await;
        let unbound = world.claims(&claims).with_tenant("acme");
        for row in TABLE.iter().filter(|row| !row.is_public()) {
            let answer = world.good(&unbound, row).await;
            match status {
                403 => drop(answer.expect_error(403, "TENANT_MISMATCH")),
                _ => assert!(answer.status.is_success(), "{} {}", row.operation, answer.text),
            }
        }
    }
}

#[tokio::test]
async fn a_read_only_caller_writes_nothing_and_only_some_roles_see_the_audit_log_and_events() {
    let world = World::new().await;
    for row in TABLE.iter().filter(|row| !row.is_public()) {
        for (role, is_manager) in
            [("readonly", false), ("member", false), ("service", false), ("manager", true)]
        {
            let answer = world.good(&world.caller("acme", role), row).await;
            let writes_readonly = role == "readonly" && !row.reads();
            let is_refused = (row.kind == Kind::ManagersList && !is_manager)
                || (row.is_for_reviewers() && role != "service");
            if writes_readonly || is_refused {
                answer.expect_error(403, "FORBIDDEN");
            } else if row.reads() {
                answer.expect(200);
            }
        }
    }
}

#[tokio::test]
async fn a_caller_confined_to_their_own_records_meets_no_others() {
    let world = World::new().await;
    let confined = world.claims(&json!({
        "sub": "somebody else", "tenantId": "acme", "role": "admin", "dataScope": "self", "exp": 4_000_000_000_u64,
    }));
    let by_header = world.claims(&json!({
        "sub": "somebody else", "tenantId": "acme", "role": "admin", "exp": 4_000_000_000_u64,
    }));
    let by_header = by_header.with("X-Data-Scope", "self");
    let nobody = world.caller("nobody", "admin");
    for row in TABLE.iter().filter(|row| !row.is_public() && !matches!(row.kind, Kind::Create | Kind::Import))
    {
        for client in [&confined, &by_header] {
            let answer = world.good(client, row).await;
            match row.kind {
                Kind::List | Kind::ManagersList | Kind::ReviewersList => {
                    let page = answer.expect(200).json();
                    assert_eq!(page["data"], json!([]), "{}", row.operation);
                }
                Kind::Get
                | Kind::Overview
                | Kind::Update
                | Kind::Delete
                | Kind::Action
                | Kind::Review
                | Kind::Replay => {
                    answer.expect_error(404, "NOT_FOUND");
                }
                Kind::Report | Kind::Export | Kind::ExportPage => {
                    let of_nothing = world.good(&nobody, row).await.expect(200);
                    assert_eq!(answer.expect(200).text, of_nothing.text, "{}", row.operation);
                }
                Kind::Receive => {
                    answer.expect_error(403, "FORBIDDEN");
                }
                Kind::Create | Kind::Import | Kind::Public => {}
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_whose_file_is_damaged_answers_423_everywhere_and_the_others_do_not_notice() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    let other = world.caller("other", "admin");
    other.create_customer("客户").await;
    let tenants = world.app.tenants();
    let file = files(&tenants).into_iter().find(|name| name.starts_with("acme")).expect("a file");
    let World { app, document, .. } = world;
    let directory = app.stop().await;
    std::fs::write(tenants.join(file), "not a database").expect("written");
    drop((client, other, document));

    let app = Setup::default().over(&directory).start().await;
    for row in TABLE.iter().filter(|row| !row.is_public()) {
        let admin = |tenant: &str| {
            let claims =
                json!({"sub": "tester", "tenantId": tenant, "role": "admin", "exp": 4_000_000_000_u64});
            app.anonymous().with_token(&crate::support::token_with(&claims)).with("X-Request-ID", "r")
        };
        let body = row.body().map(|body| body.to_string());
        let path = row.path_to("0");
        let answer = admin("acme").send(row.method(), &path, body.clone()).await;
        let answer = answer.expect_error(423, "TENANT_UNAVAILABLE");
        assert!(!answer.header("Retry-After").is_empty(), "{}", row.operation);
        let answer = admin("other").send(row.method(), &path, body).await;
        assert_ne!(answer.status, 423, "{}", row.operation);
    }
}

#[tokio::test]
async fn where_only_operators_create_tenants_an_unknown_one_is_404_everywhere() {
    let setup = Setup::default();
    let directory = World::of(setup.clone()).await.app.stop().await;
    let app = setup.over(&directory).with("CRM_TENANT_PROVISION", "explicit").start().await;
    for row in TABLE.iter().filter(|row| !row.is_public()) {
        let claims =
            json!({"sub": "tester", "tenantId": "nobody", "role": "admin", "exp": 4_000_000_000_u64});
        let client =
            app.anonymous().with_token(&crate::support::token_with(&claims)).with("X-Request-ID", "r");
        let body = row.body().map(|body| body.to_string());
        let answer = client.send(row.method(), &row.path_to("0"), body).await;
        answer.expect_error(404, "TENANT_NOT_FOUND");
    }
}
