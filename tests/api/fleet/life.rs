//! Made, suspended, deleted, brought back.

use std::fs;

use reqwest::StatusCode;
use serde_json::json;

use super::{Operator, data_root, names};
use crate::support::{Cell, Client, eventually, token_with};

/// Descriptors that the process has of files whose names begin so, as the kernel says.
fn descriptors(cell: &Cell, file: &std::path::Path) -> usize {
    let entries = fs::read_dir(format!("/proc/{}/fd", cell.pid())).expect("a process");
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let file = file.canonicalize().expect("a file").to_string_lossy().into_owned();
    links.filter(|link| link.to_string_lossy().starts_with(&file)).count()
}

async fn create(client: &Client, name: &str) -> StatusCode {
    client.post("/customers", &json!({ "name": name })).await.status
}

#[tokio::test]
async fn a_suspended_tenant_serves_nobody_until_it_is_resumed_and_others_do_not_notice() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let (acme, other) = (cell.tenant("acme"), cell.tenant("other"));
    acme.create_customer("华为").await;
    other.create_customer("中兴").await;
    let file = directory.path().join("crm_cell/tenants/acme.db");
    assert!(descriptors(&cell, &file) > 0, "it is open");

    let done = operator.ok(&["tenants", "suspend", "acme", "--reason", "欠费"]);

    assert_eq!((&done["changed"], &done["openDescriptors"]), (&json!(true), &json!(0)), "{done}");
    assert_eq!(descriptors(&cell, &file), 0);
    let read = acme.get("/customers").await;
    assert_eq!(read.status, StatusCode::FORBIDDEN);
    assert_eq!(read.json()["code"], "TENANT_SUSPENDED");
    assert!(!read.text.contains("欠费"), "why is nobody's business: {}", read.text);
    assert_eq!(create(&acme, "小米").await, StatusCode::FORBIDDEN);
    assert_eq!(create(&other, "小米").await, StatusCode::CREATED);
    let listed = operator.ok(&["tenants", "list", "--state", "suspended"]);
    assert_eq!(listed["items"][0]["tenant"], "acme");
    assert_eq!(listed["items"][0]["meta"]["reason"], "欠费");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(descriptors(&cell, &file), 0, "who asked has not opened it for good");

    cell.kill();
    let cell = Cell::start(directory.path());
    let acme = cell.tenant("acme");
    assert_eq!(acme.get("/customers").await.status, StatusCode::FORBIDDEN, "it stays so");
    let again = operator.ok(&["tenants", "suspend", "acme"]);
    assert_eq!(again["changed"], false, "it is so already");

    operator.ok(&["tenants", "resume", "acme"]);
    assert_eq!(acme.get("/customers").await.json()["total"], 1);
    assert_eq!(create(&acme, "小米").await, StatusCode::CREATED);
}

#[tokio::test]
async fn what_was_acknowledged_before_a_suspension_is_there_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("first").await;
    let writers = (0..4).map(|writer| {
        let acme = cell.tenant("acme");
        tokio::spawn(async move {
            let mut acknowledged = vec![];
            for number in 0.. {
                let name = format!("客户 {writer}-{number}");
                match create(&acme, &name).await {
                    StatusCode::CREATED => acknowledged.push(name),
                    StatusCode::FORBIDDEN => break,
                    status => panic!("{status}"),
                }
            }
            acknowledged
        })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;

    operator.ok(&["tenants", "suspend", "acme"]);

    let file = directory.path().join("crm_cell/tenants/acme.db");
    let names = names(&file); // no WAL is looked at: the file alone holds everything
    let mut acknowledged = 0;
    for writer in writers {
        for name in writer.await.expect("a writer") {
            acknowledged += 1;
            assert!(names.contains(&name), "{name}");
        }
    }
    assert!(acknowledged > 10, "{acknowledged}");
}

#[tokio::test]
async fn a_read_only_tenant_is_read_and_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    let id = acme.create_customer("华为").await;

    operator.ok(&["tenants", "read-only", "acme", "--reason", "moving"]);

    assert_eq!(acme.get("/customers").await.json()["total"], 1);
    assert_eq!(acme.get(&format!("/customers/{id}")).await.status, StatusCode::OK);
    let path = format!("/customers/{id}");
    for answer in [
        acme.post("/customers", &json!({ "name": "小米" })).await,
        acme.patch(&path, &json!({ "name": "小米" })).await,
        acme.delete(&path).await,
        acme.post("/follow-ups", &json!({ "customerId": id, "content": "x" })).await,
    ] {
        assert_eq!(answer.status, StatusCode::LOCKED, "{}", answer.text);
        assert_eq!(answer.json()["code"], "TENANT_UNAVAILABLE");
        assert_eq!(answer.json()["details"], "not-written");
        assert!(answer.headers.contains_key("retry-after"));
    }

    operator.ok(&["tenants", "resume", "acme"]);
    assert_eq!(create(&acme, "小米").await, StatusCode::CREATED);
}

#[tokio::test]
async fn the_events_of_a_read_only_tenant_are_delivered_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = directory.path().join("events.jsonl");
    let cell = Cell::start(directory.path()); // without a bus: they are kept
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    assert_eq!(cell.terminate(), Some(0));
    let file = directory.path().join("crm_cell/tenants/acme.db");
    let connection = rusqlite::Connection::open(&file).expect("opened");
    connection.execute("update outbox set state = 'pending'", []).expect("to be delivered");
    drop(connection);
    operator.ok(&["tenants", "read-only", "acme"]);
    let target = format!("file:{}", bus.display());

    let cell = Cell::spawn(Cell::command(directory.path()).env("EVENT_BUS_URL", target));

    eventually("it is delivered", async || fs::read_to_string(&bus).is_ok_and(|text| !text.is_empty())).await;
    eventually("that is kept", async || operator.ok(&["tenants", "show", "acme"])["undelivered"] == 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await; // the next try would be after a second
    assert_eq!(fs::read_to_string(&bus).expect("events").lines().count(), 1);
    assert_eq!(cell.terminate(), Some(0));
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_for_everybody_until_it_is_brought_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;
    operator.ok(&["tenants", "copy", "acme"]);
    let root = directory.path().join("crm_cell");

    operator.ok(&["tenants", "protect", "acme"]);
    let said = operator.refused(&["tenants", "delete", "acme"], 4);
    assert!(said.contains("unprotect"), "{said}");
    operator.ok(&["tenants", "unprotect", "acme"]);
    operator.ok(&["tenants", "delete", "acme", "--reason", "合同终止"]);

    assert_eq!(fs::read_dir(root.join("tenants")).expect("readable").count(), 0);
    assert_eq!(
        fs::read_dir(root.join("copies")).expect("readable").count(),
        0,
        "nobody restores it by mistake"
    );
    assert_eq!(acme.get("/customers").await.status, StatusCode::NOT_FOUND);
    let refused = acme.post("/customers", &json!({ "name": "小米" })).await;
    assert_eq!(refused.json()["code"], "TENANT_NOT_FOUND", "nobody makes it anew: {}", refused.text);
    operator.refused(&["tenants", "create", "acme"], 4);
    operator.refused(&["tenants", "show", "acme"], 4);
    let trash = operator.ok(&["tenants", "trash"]);
    assert_eq!(
        (&trash["items"][0]["tenant"], &trash["items"][0]["reason"]),
        (&json!("acme"), &json!("合同终止"))
    );

    cell.kill();
    let cell = Cell::start(directory.path());
    let acme = cell.tenant("acme");
    assert_eq!(create(&acme, "小米").await, StatusCode::NOT_FOUND, "a restart forgets nothing");

    operator.ok(&["tenants", "undelete", "acme"]);
    assert_eq!(acme.get("/customers").await.json()["data"][0]["name"], "华为");
    assert_eq!(create(&acme, "小米").await, StatusCode::CREATED);
    operator.refused(&["tenants", "undelete", "acme"], 4);
}

#[tokio::test]
async fn what_was_purged_is_gone_for_good_and_says_where_it_still_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;
    let backup = operator.ok(&["backup", "acme"]);
    operator.ok(&["tenants", "delete", "acme"]);
    assert_eq!(operator.run(&["tenants", "purge", "acme"]).code, 2, "it asks for --yes");

    let purged = operator.ok(&["tenants", "purge", "acme", "--yes"]);

    let removed = purged["removed"].as_array().expect("a list");
    assert!(
        removed.iter().any(|file| file.as_str().is_some_and(|file| file.ends_with("/acme.db"))),
        "{purged}"
    );
    let name = backup["name"].as_str().expect("a name");
    assert_eq!(purged["remaining"], json!([format!("backups/{name}/acme.db")]));
    assert_eq!(fs::read_dir(directory.path().join("crm_cell/trash")).expect("readable").count(), 0);
    operator.refused(&["tenants", "undelete", "acme"], 3);
    assert_eq!(acme.get("/customers").await.json()["total"], 0, "a tenant of this name is a new one");
    assert_eq!(create(&acme, "小米").await, StatusCode::CREATED);
}

#[tokio::test]
async fn a_branch_begins_with_what_its_tenant_has_and_shares_nothing_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = directory.path().join("events.jsonl");
    let target = format!("file:{}", bus.display());
    let cell = Cell::spawn(Cell::command(directory.path()).env("EVENT_BUS_URL", target));
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;
    operator.ok(&["tenants", "members", "add", "acme", "zhang"]);

    let made = operator.ok(&["tenants", "create", "acme-test", "--of", "acme"]);

    assert_eq!(made["meta"]["origin"]["tenant"], "acme", "{made}");
    let branch = cell.tenant("acme-test");
    assert_eq!(branch.get("/customers").await.json()["data"][0]["name"], "华为");
    assert_eq!(create(&branch, "小米").await, StatusCode::CREATED);
    assert_eq!(acme.get("/customers").await.json()["total"], 1, "nothing is shared");
    let members = operator.ok(&["tenants", "members", "list", "acme-test"]);
    assert_eq!(members["members"], json!([]));
    operator.refused(&["tenants", "create", "acme-test", "--of", "acme"], 4);
    operator.refused(&["tenants", "create", "x", "--of", "nobody"], 3);
    eventually("the branch's own event is delivered", async || {
        fs::read_to_string(&bus).is_ok_and(|events| events.contains("小米"))
    })
    .await;
    assert_eq!(cell.terminate(), Some(0));
    let events = fs::read_to_string(&bus).expect("events");
    let of_branch: Vec<_> = events.lines().filter(|line| line.contains("acme-test")).collect();
    assert!(
        of_branch.len() == 1 && of_branch[0].contains("小米"),
        "what is acme's is not told twice: {of_branch:?}"
    );
}

#[tokio::test]
async fn operators_make_tenants_that_requests_may_not_make_many_at_a_time_and_again() {
    let (directory, _root) = data_root();
    let operator = Operator(directory.path());
    let ids: String = (0..50).map(|number| format!("t{number:02}\n")).collect();
    fs::write(directory.path().join("ids"), &ids).expect("written");
    operator.ok(&["tenants", "create", "--ids", "ids"]); // before there is a cell
    let cell = Cell::spawn(Cell::command(directory.path()).env("CRM_TENANT_PROVISION", "explicit"));

    let again = operator.ok(&["tenants", "create", "--ids", "ids", "one-more"]);

    let changed: Vec<_> =
        again.as_array().expect("a list").iter().filter(|made| made["changed"] == true).collect();
    assert!(changed.len() == 1 && changed[0]["tenant"] == "one-more", "{changed:?}");
    assert_eq!(create(&cell.tenant("t07"), "华为").await, StatusCode::CREATED);
    assert_eq!(create(&cell.tenant("t99"), "华为").await, StatusCode::NOT_FOUND);
    let partly = operator.run(&["tenants", "suspend", "t01", "t99"]);
    assert_eq!(partly.code, 5, "{partly:?}");
    assert!(partly.said.contains("t99: there is no tenant t99"), "{partly:?}");
    assert_eq!(create(&cell.tenant("t01"), "华为").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_stranger_does_not_learn_that_a_tenant_is_suspended() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "members", "add", "acme", "zhang", "--create"]);
    operator.ok(&["tenants", "suspend", "acme"]);
    for (user, code) in [("zhang", "TENANT_SUSPENDED"), ("li", "TENANT_MISMATCH")] {
        let token = token_with(&json!({ "sub": user, "exp": 4_000_000_000_u64 }));
        let answer = cell.anonymous().with_token(&token).with_tenant("acme").get("/customers").await;
        assert_eq!(answer.json()["code"], code, "{user}: {}", answer.text);
    }
}
