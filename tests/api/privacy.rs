//! What is personal stays in the tenant's file: over all routes, with values that can be told again anywhere.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::battery::table::TABLE;
use crate::support::{Cell, eventually, token_with};

const PHONE: &str = "13987654321";
const PERSON: &str = "欧阳标记";
const EMAIL: &str = "biaoji.ouyang@marked.example";
/// Free text, in which anything may stand.
const TEXT: &str = "标记的自由文本";
const SERVICE_TOKEN: &str = "marked-service-token-0123456789";
const OPAQUE_TOKEN: &str = "marked0opaque0token0of0the0platform";

/// Forms in which the values could appear.
fn marks(jwt: &str) -> Vec<String> {
    let escaped = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let mut marks = vec![PHONE.to_owned(), "139 8765 4321".to_owned(), EMAIL.to_owned(), "biaoji".to_owned()];
    for text in [PERSON, TEXT] {
        marks.extend([text.to_owned(), escaped(text), percent(text), percent(text).to_lowercase()]);
    }
    marks.extend([SERVICE_TOKEN.to_owned(), OPAQUE_TOKEN.to_owned(), jwt.to_owned()]);
    marks.extend(jwt.split('.').map(str::to_owned).filter(|part| part.len() > 40));
    marks
}

/// The body of a row with the marked values wherever they fit.
fn marked(body: &Value) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().expect("an object");
    for (field, value) in fields.iter_mut() {
        match field.as_str() {
            "contactPhone" | "phone" => *value = json!(PHONE),
            "contactEmail" | "email" => *value = json!(EMAIL),
            "remark" | "address" | "content" | "lostReason" => *value = json!(TEXT),
            _ => {}
        }
    }
    if fields.contains_key("customerId") && fields.contains_key("isPrimary") {
        fields.insert("name".to_owned(), json!(PERSON)); // a contact's: a customer's is a company's, and told (contract §10)
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_phone_person_email_free_text_or_token_is_in_a_log_a_metric_or_an_event() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log.jsonl");
    let mut command = Cell::command(directory.path());
    command
        .env("EVENT_BUS_URL", "file:events.jsonl")
        .env("CRM_SERVICE_TOKENS", format!("sync:{SERVICE_TOKEN}:service@acme"))
        .env("CRM__LOG__FORMAT", "json")
        // Everything there is to be said.
        .env("CRM__LOG__FILTER", "trace")
        .stderr(Stdio::from(File::create(&log).expect("a file")));
    let cell = Cell::spawn_quiet(&mut command, &log).await;
    let claims = json!({"sub": "tester", "tenantId": "acme", "role": "admin", "exp": 4_000_000_000_u64});
    let jwt = token_with(&claims);
    let admin = cell.anonymous().with_token(&jwt).with_tenant("acme");

    // Records with marked values, one of each kind, to which every row's path leads.
    let mut ids: Vec<(String, String)> = Vec::new();
    for (name, path, key, operation) in [
        ("customer", "/customers", "customerId", "create_customer"),
        ("contact", "/contacts", "contactId", "create_contact"),
        ("opportunity", "/opportunities", "opportunityId", "create_opportunity"),
        ("follow_up", "/follow-ups", "followUpId", "create_follow_up"),
    ] {
        let row = TABLE.iter().find(|row| row.operation == operation).expect("a row");
        let body = fill(&marked(&row.body().expect("a body")).to_string(), &ids);
        let answer = admin.post(path, &serde_json::from_str(&body).expect("JSON")).await.expect(201).json();
        ids.push((name.to_owned(), answer[key].as_str().expect("an id").to_owned()));
    }
    let clients = [
        admin.clone(),
        cell.anonymous().with_token(SERVICE_TOKEN).with_tenant("acme"),
        cell.anonymous().with_token(OPAQUE_TOKEN).with_tenant("acme"),
        cell.anonymous().with("Authorization", PHONE).with_tenant("acme"),
    ];
    for (number, row) in TABLE.iter().enumerate() {
        for (who, client) in clients.iter().enumerate() {
            let client = client.clone().with("X-Request-ID", &format!("scan-{number}-{who}"));
            let path = fill(row.path, &ids);
            let body = row.body().map(|body| fill(&marked(&body).to_string(), &ids));
            let is_deletion = row.method == "DELETE";
            if !is_deletion {
                client.send(row.method(), &path, body.clone()).await;
            }
            if row.is_list() {
                client.get(&format!("{path}?keyword={PERSON}%20{PHONE}")).await;
            }
            // What is refused, or leads nowhere.
            let bad =
                json!({"name": [PERSON], "phone": {"is": PHONE}, PERSON: EMAIL, "content": 5}).to_string();
            client.send(row.method(), &format!("{path}?keyword={PHONE}&{EMAIL}={PERSON}"), Some(bad)).await;
            client.send(row.method(), &row.path_to(PHONE), Some(format!("{{\"{PERSON}\":"))).await;
            client.send(Method::GET, &format!("/{PERSON}/{PHONE}"), None).await;
        }
    }
    let path = fill("/opportunities/{opportunity}", &ids);
    admin.patch(&path, &json!({"status": 3, "lostReason": TEXT})).await;
    let path = fill("/customers/{customer}", &ids);
    admin.patch(&path, &json!({"contactPhone": "13900001111", "contactEmail": EMAIL})).await.expect(200);
    admin.delete(&path).await.expect(204);
    let events = directory.path().join("events.jsonl");
    eventually("the events arrive", async || lines(&events) >= 4).await;
    let metrics = admin.get("/metrics").await.expect(200).text
        + &admin.get("/metrics?format=prometheus").await.expect(200).text;
    assert_eq!(cell.terminate(), Some(0));

    let logged = std::fs::read_to_string(&log).expect("a log");
    let told = std::fs::read_to_string(&events).expect("events");
    assert!(logged.lines().count() > 1000 && logged.contains("statement"), "little was logged");
    assert!(told.contains("139****4321") && metrics.contains("http_requests"));
    for mark in marks(&jwt) {
        for (place, text) in [("log", &logged), ("metrics", &metrics), ("events", &told)] {
            let found = text.lines().find(|line| line.contains(&mark));
            assert_eq!(found, None, "{mark} is in the {place}");
        }
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn fill(text: &str, ids: &[(String, String)]) -> String {
    let text = ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id));
    // The world's other records: there are none of them here.
    ["spare_", "deleted_"].iter().fold(text, |text, state| {
        ids.iter().fold(text, |text, (name, id)| text.replace(&format!("{{{state}{name}}}"), id))
    })
}
