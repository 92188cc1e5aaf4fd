//! A tenant's copy as other tools see it: the views `v1_*` show what the API answers (docs/SCHEMA.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crm_cell::domain::Masking;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use crate::fleet::Operator;
use crate::support::{Client, Setup, eventually, token_with};

const PHONE: &str = "+86 139-8765-4321";
const EMAIL: &str = "biaoji.ouyang@marked.example";

/// Rows by their ids.
type Rows = BTreeMap<String, Value>;

/// Each view, with the list that it shows and the key of a row.
const VIEWS: [(&str, &str, &str); 7] = [
    ("v1_customers", "/customers", "customerId"),
    ("v1_contacts", "/contacts", "contactId"),
    ("v1_opportunities", "/opportunities", "opportunityId"),
    ("v1_follow_ups", "/follow-ups", "followUpId"),
    ("v1_journal", "/audit-logs", "logId"),
    ("v1_events", "/events/outbox", "eventId"),
    ("v1_inbox", "/events/inbox", "eventId"),
];

/// Records of every kind, filled and bare, changed and deleted.
async fn fill(client: &Client) {
    let add = async |path: &str, body: Value, id: &str| {
        client.post(path, &body).await.expect(201).json()[id].as_str().expect("an id").to_owned()
    };
    let customer = async |body: Value| add("/customers", body, "customerId").await;
    let full = customer(json!({
        "name": "华为 \"技术\"", "contactPhone": PHONE, "contactEmail": EMAIL, "status": 2, "lifecycle": "lead",
        "level": "A", "source": "s", "industry": "i", "region": "r", "address": "a", "website": "w", "remark": "多\n行",
    }))
    .await;
    let bare = customer(json!({"name": "Globex"})).await;
    let gone = customer(json!({"name": "Gone", "contactPhone": "110"})).await;
    client.patch(&format!("/customers/{bare}"), &json!({"contactEmail": EMAIL})).await.expect(200);
    client.patch(&format!("/customers/{bare}"), &json!({"contactEmail": "no address"})).await.expect(200);
    let contact = json!({
        "customerId": full, "name": "李雷", "phone": "123", "email": EMAIL, "isPrimary": true, "title": "t",
        "department": "d", "role": "r",
    });
    let contact = add("/contacts", contact, "contactId").await;
    for customer in [&bare, &gone] {
        add("/contacts", json!({"customerId": customer, "name": "韩梅梅", "phone": PHONE}), "contactId")
            .await;
    }
    let deal = async |body: Value| add("/opportunities", body, "opportunityId").await;
    for stage in 1..=6 {
        deal(json!({"customerId": full, "title": format!("s{stage}"), "stage": stage, "amountCents": 1999}))
            .await;
    }
    let open = deal(json!({
        "customerId": bare, "title": "m", "amountCents": 1_000_000_000_000_000_i64, "currency": "usd",
        "probabilityPct": 33, "expectedCloseDate": "2027-01-31",
    }))
    .await;
    let lost = deal(json!({"customerId": bare, "title": "l"})).await;
    client
        .patch(&format!("/opportunities/{lost}"), &json!({"status": 3, "lostReason": "价格"}))
        .await
        .expect(200);
    deal(json!({"customerId": gone, "title": "g"})).await;
    let follow_up = async |body: Value| add("/follow-ups", body, "followUpId").await;
    follow_up(json!({
        "customerId": full, "contactId": contact, "content": "电话", "followUpType": "拜访",
        "occurredAt": "1999-12-31T23:59:59.999Z", "nextFollowUpAt": "2100-02-28T00:00:00.001+08:00",
    }))
    .await;
    follow_up(json!({"opportunityId": open, "content": "m"})).await;
    follow_up(json!({"content": "of nobody"})).await;
    follow_up(json!({"customerId": gone, "content": "g"})).await;
    client.delete(&format!("/customers/{gone}")).await.expect(204);
    let signed =
        json!({"contractId": "C-1", "opportunityId": open, "amountCents": 5, "phone": PHONE, "email": EMAIL});
    let ambiguous = json!({"contractId": "C-2", "customerId": full, "amountCents": 5});
    for (event, data) in [("e1", signed), ("e2", ambiguous)] {
        let event = json!({"eventId": event, "eventType": "erp.contract.signed", "data": data});
        client.post("/events", &event).await.expect(202);
    }
}

/// What the API answers, as the views promise it: e-mail addresses masked, true as 1, ids that are not there as null.
async fn answered(client: &Client, path: &str, id: &str) -> Rows {
    let page = client.get(&format!("{path}?pageSize=500")).await.expect(200).json();
    assert_eq!(page["hasMore"], false);
    let email = |value: &mut Value| {
        if let Some(text) = value.as_str() {
            *value = Masking { email: true }.email(text).into();
        }
    };
    let rows = page["data"].as_array().expect("rows").iter().map(|row| {
        let mut row = row.clone();
        for (key, value) in row.as_object_mut().expect("an object") {
            match (key.as_str(), &value) {
                ("contactEmail" | "email", _) => email(value),
                ("isPrimary", _) => *value = i64::from(*value == true).into(),
                ("logId", Value::String(number)) => *value = number.parse::<i64>().expect("a number").into(),
                ("customerId" | "opportunityId" | "contactId" | "traceId", Value::String(id))
                    if id.is_empty() =>
                {
                    *value = Value::Null;
                }
                ("changes", _) => {
                    let changes = value.as_object_mut().expect("an object").iter_mut();
                    let emails =
                        changes.filter(|(field, _)| ["contactEmail", "email"].contains(&field.as_str()));
                    emails.flat_map(|(_, change)| change.as_array_mut().expect("two values")).for_each(email);
                }
                _ => {}
            }
        }
        (row[id].to_string(), row)
    });
    rows.collect()
}

/// The rows of a view, with the names that the API has for its columns.
fn shown(file: &Connection, view: &str, id: &str) -> Rows {
    let mut statement = file.prepare(&format!("select * from {view}")).expect("a view");
    let camel = |column: &str| {
        let mut parts = column.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
    };
    let names: Vec<_> = statement.column_names().into_iter().map(camel).collect();
    let mut rows = statement.query([]).expect("run");
    let mut shown = Rows::new();
    while let Some(row) = rows.next().expect("a row") {
        let mut object = Map::new();
        for (position, name) in names.iter().enumerate() {
            let value = match row.get_ref(position).expect("a column") {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => number.into(),
                text @ ValueRef::Text(_) => text.as_str().expect("UTF-8").into(),
                other => panic!("{view}.{name} is {other:?}"),
            };
            let is_json = ["changes", "candidateIds", "data"].contains(&name.as_str());
            let value = match value.as_str().filter(|_| is_json) {
                Some(json) => serde_json::from_str(json).expect("JSON"),
                None => value,
            };
            object.insert(name.clone(), value);
        }
        let object = Value::Object(object);
        shown.insert(object[id].to_string(), object);
    }
    shown
}

fn count(file: &Connection, table: &str) -> i64 {
    file.query_one(&format!("select count(*) from {table}"), [], |row| row.get(0)).expect("counted")
}

/// Opens a file as a tool does that must not change it.
fn read_only(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database")
}

#[tokio::test]
async fn the_views_of_a_copy_show_what_the_api_answers_and_no_deleted_record() {
    let app = Setup::default().with("CRM__BACKUP__COPY_EVERY", "200ms").start().await;
    let claims = json!({"sub": "tester", "tenantId": "acme", "role": "admin", "exp": 4_000_000_000_u64});
    let client =
        app.anonymous().with_token(&token_with(&claims)).with_tenant("acme").with("X-Trace-Id", "t-1");
    fill(&client.clone().with("X-Trace-Id", "")).await;
    client.create_customer("traced").await;
    let mut lists = Vec::new();
    for (view, path, id) in VIEWS {
        lists.push((view, id, answered(&client, path, id).await));
    }
    let copy = app.directory().path().join("crm_cell/copies/acme.db");
    let changes = lists.iter().find(|(view, ..)| *view == "v1_journal").expect("a list").2.len();
    eventually("the last change is in the copy", async || {
        copy.exists() && usize::try_from(count(&read_only(&copy), "v1_journal")).ok() == Some(changes)
    })
    .await;

    let file = read_only(&copy);

    for (view, id, expected) in lists {
        let mut shown = shown(&file, view, id);
        for row in shown.values_mut().filter(|_| view == "v1_events") {
            // The list does not show what an event says; the bus is told it.
            let data = row.as_object_mut().expect("a row").remove("data").expect("what it says");
            assert_eq!(data["customerId"].is_string(), row["resourceId"].is_string(), "{data}");
        }
        assert!(shown.len() > 1, "{view} is empty");
        assert_eq!(shown, expected, "{view}");
    }
    for (table, lives) in [("customers", 3), ("contacts", 2), ("opportunities", 8), ("follow_ups", 3)] {
        let shown = count(&file, &format!("v1_{table}"));
        assert!(count(&file, table) > shown, "nothing of {table} was deleted");
        assert_eq!(shown, lives, "{table}");
    }
    let states: Vec<_> =
        shown(&file, "v1_inbox", "eventId").values().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["applied", "needs_review"]);
    app.stop().await;
}

/// The copy of a filled tenant, and the names of its views.
async fn filled_file() -> (tempfile::TempDir, Connection, Vec<String>) {
    let app = Setup::default().start().await;
    let claims = json!({"sub": "tester", "tenantId": "acme", "role": "admin", "exp": 4_000_000_000_u64});
    fill(&app.anonymous().with_token(&token_with(&claims)).with_tenant("acme")).await;
    let stopped = app.stop().await;
    let directory = tempfile::tempdir().expect("a directory");
    let copied = directory.path().join("acme.db");
    Operator(stopped.path()).ok(&["tenants", "copy", "acme"]);
    let content = fs::read(stopped.path().join("crm_cell/copies/acme.db")).expect("a copy");
    fs::write(&copied, content).expect("copied");
    let file = Connection::open(copied).expect("a database");
    let sql = "select name from sqlite_master where type = 'view' and name glob 'v[0-9]*'";
    let views: Result<Vec<String>, _> =
        file.prepare(sql).expect("prepared").query_map([], |row| row.get(0)).expect("run").collect();
    let views = views.expect("names");
    assert!(views.len() >= VIEWS.len(), "{views:?}");
    (directory, file, views)
}

/// All values of a table or view that are texts.
fn texts(file: &Connection, table: &str) -> Vec<String> {
    let mut statement = file.prepare(&format!("select * from {table}")).expect("prepared");
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect("run");
    let mut texts = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let values = (0..columns).map(|column| row.get_ref(column).expect("a column"));
        texts.extend(values.filter_map(|value| value.as_str().ok().map(str::to_owned)));
    }
    texts
}

#[tokio::test]
async fn no_view_shows_a_phone_or_an_email_address_that_the_tables_hold() {
    let (_directory, file, views) = filled_file().await;
    let holds = |table: &str, mark: &str| texts(&file, table).iter().any(|text| text.contains(mark));
    for mark in [PHONE, EMAIL] {
        for table in ["customers", "contacts", "inbox"] {
            assert!(holds(table, mark), "{table} has no {mark}");
        }
    }
    assert!(holds("journal", EMAIL), "this cell does not mask e-mail addresses");
    for view in views {
        for mark in [PHONE, "13987654321", "139-8765", EMAIL, "biaoji"] {
            let shows = texts(&file, &view).into_iter().find(|text| text.contains(mark));
            assert_eq!(shows, None, "{mark} is in {view}");
        }
    }
}

#[tokio::test]
async fn no_view_can_be_written() {
    let (_directory, file, views) = filled_file().await;
    for view in views {
        let column: String = file
            .query_one("select name from pragma_table_info(?1) limit 1", [&view], |row| row.get(0))
            .expect("a column");
        for sql in [
            format!("insert into {view} ({column}) values ('x')"),
            format!("update {view} set {column} = 'x'"),
            format!("delete from {view}"),
        ] {
            let refused = file.execute(&sql, []).expect_err(&sql).to_string();
            assert!(refused.contains("because it is a view"), "{sql}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_is_served_has_no_views_though_it_was_restored_from_a_file_that_has_them() {
    let (_directory, file, views) = filled_file().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = file.path().expect("a path").to_owned();
    drop(file);
    let incoming = directory.path().join("crm_cell/incoming");
    fs::create_dir_all(&incoming).expect("made");
    fs::write(incoming.join("acme.db"), fs::read(&path).expect("read")).expect("written");
    let operator = Operator(directory.path());
    let served = || {
        let file = read_only(&directory.path().join("crm_cell/tenants/acme.db"));
        count(&file, "(select 1 from sqlite_schema where type = 'view' and name glob 'v[0-9]*')")
    };
    assert_eq!(operator.ok(&["tenants", "list"])["items"][0]["tenant"], "acme");
    assert_eq!(served(), 0, "from incoming/");
    operator.ok(&["restore", "acme", "--file", &path]);
    assert_eq!(served(), 0, "restored");
    operator.ok(&["tenants", "create", "branch", "--of", "acme"]);
    let branch = read_only(&directory.path().join("crm_cell/tenants/branch.db"));
    assert_eq!(
        count(&branch, "(select 1 from sqlite_schema where type = 'view' and name glob 'v[0-9]*')"),
        0
    );
    let backup = operator.ok(&["backup", "branch"]);
    let backup = read_only(&std::path::Path::new(backup["path"].as_str().expect("a path")).join("branch.db"));
    assert!(count(&backup, "v1_customers") > 0 && !views.is_empty());
}
