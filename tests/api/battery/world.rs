//! A tenant with a record for every row of the table, and a client that holds every answer against the API document.

use std::collections::BTreeMap;
use std::net::TcpListener;

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

use super::table::Row;
use crate::support::{Answer, Client, Setup, TestApp, clock_at, token_with};

/// A running service whose tenant `acme` has live, spare and deleted records of every resource.
pub struct World {
    pub app: TestApp,
    pub document: Value,
    ids: BTreeMap<String, String>,
    /// A bus that never answers: events stay as they are.
    _bus: TcpListener,
}

impl World {
    pub async fn new() -> Self {
        Self::of(Setup::default()).await
    }

    pub async fn of(setup: Setup) -> Self {
        let bus = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", bus.local_addr().expect("an address"));
        let setup = setup.with("EVENT_BUS_URL", &url).with("CRM__EVENTS__BUS_TIMEOUT", "60s");
        let app = setup.at(clock_at("2026-11-22T08:00:00Z")).start().await;
        let document = app.anonymous().get("/openapi.json").await.expect(200).json();
        let mut world = Self { app, document, ids: BTreeMap::new(), _bus: bus };
        world.seed().await;
        world
    }

    async fn seed(&mut self) {
        // What is seeded can be told by its trace; the client's own requests are numbered as they come.
        let client = self.caller("acme", "admin").with("X-Trace-Id", "seed");
        let mut create = async |name: &str, path: &str, key: &str, body: Value| {
            let body: Value = serde_json::from_str(&self.fill(&body.to_string())).expect("JSON");
            let answer = client.post(path, &body).await.expect(201).json();
            self.ids.insert(name.to_owned(), answer[key].as_str().expect("an id").to_owned());
        };
        for state in ["", "spare_", "deleted_"] {
            let customer = json!({"name": format!("客户{state}"), "contactPhone": "13800135678"});
            create(&format!("{state}customer"), "/customers", "customerId", customer).await;
            let contact = json!({"customerId": "{customer}", "name": "李雷", "phone": "13800135678"});
            create(&format!("{state}contact"), "/contacts", "contactId", contact).await;
            let deal = json!({"customerId": "{customer}", "title": "采购"});
            create(&format!("{state}opportunity"), "/opportunities", "opportunityId", deal).await;
            let follow_up = json!({"customerId": "{customer}", "content": "电话"});
            create(&format!("{state}follow_up"), "/follow-ups", "followUpId", follow_up).await;
        }
        for (path, name) in [
            ("/customers", "customer"),
            ("/contacts", "contact"),
            ("/opportunities", "opportunity"),
            ("/follow-ups", "follow_up"),
        ] {
            client.delete(&format!("{path}/{}", self.ids[&format!("deleted_{name}")])).await.expect(204);
        }
        for (id, task) in [("oa-76", "76"), ("oa-77", "77")] {
            let task = json!({"taskId": task, "title": "合同盖章", "customerId": "nobody"});
            let event = json!({"eventId": id, "eventType": "oa.task.completed", "data": task});
            let received = client.post("/events", &event).await.expect(202).json();
            assert_eq!(received["state"], "needs_review");
            self.ids.insert("received".to_owned(), id.to_owned());
        }
        let sent = client.get("/events/outbox?sort=occurredAt").await.expect(200).json();
        let sent = sent["data"][0]["eventId"].as_str().expect("an id").to_owned();
        self.ids.insert("sent".to_owned(), sent);
    }

    /// A client of this role, bound to `tenant` by its token.
    pub fn caller(&self, tenant: &str, role: &str) -> Client {
        self.claims(&json!({"sub": "tester", "tenantId": tenant, "role": role, "exp": 4_000_000_000_u64}))
            .with_tenant(tenant)
    }

    /// A client with these claims.
    pub fn claims(&self, claims: &Value) -> Client {
        self.app.anonymous().with_token(&token_with(claims))
    }

    /// The text with the ids of the world in place of their names in braces.
    pub fn fill(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
    }

    /// The path of the row's request.
    pub fn path(&self, row: &Row) -> String {
        self.fill(row.path)
    }

    /// The row's request as it should be.
    pub async fn good(&self, client: &Client, row: &Row) -> Answer {
        self.to(client, row, &self.path(row)).await
    }

    /// The row's request to another path.
    pub async fn to(&self, client: &Client, row: &Row, path: &str) -> Answer {
        let body = row.body().map(|body| self.fill(&body.to_string()));
        let client =
            if row.needs_body() { client.clone().with("X-Request-ID", "battery") } else { client.clone() };
        self.send(&client, row, path, body).await
    }

    /// A request whose answer must be one that the document describes for the row's operation.
    pub async fn send(&self, client: &Client, row: &Row, path: &str, body: Option<String>) -> Answer {
        let answer = client.send(row.method(), path, body).await;
        self.check(row, &answer);
        answer
    }

    /// Holds an answer against the document.
    pub fn check(&self, row: &Row, answer: &Answer) {
        let what = format!("{} answered {} {}", row.operation, answer.status, answer.text);
        let method = row.method.to_lowercase();
        let operation = &self.document["paths"][row.documented_path()][method];
        let documented = &operation["responses"][answer.status.as_str()];
        assert!(documented.is_object(), "undocumented status: {what}");
        for header in documented["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
            let is_sometimes = ["Idempotent-Replayed", "Content-Disposition"].contains(&header.as_str())
                || (header == "ETag" && row.method == "DELETE");
            assert!(is_sometimes || !answer.header(header).is_empty(), "no {header}: {what}");
        }
        for (header, value) in [
            ("Vary", "Authorization, X-Tenant-Id"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "private, no-store"),
        ] {
            assert!(row.is_public() || answer.header(header) == value, "{header}: {what}");
        }
        if answer.header("Content-Type") == "text/csv; charset=utf-8" {
            assert!(documented["content"]["text/csv"].is_object(), "{what}");
            return;
        }
        match documented.pointer("/content/application~1json/schema") {
            Some(schema) => {
                assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8", "{what}");
                let body = answer.json();
                if let Err(error) = self.validator(schema).validate(&body) {
                    panic!("{error} at {}: {what}", error.instance_path());
                }
                self.has_no_undocumented_keys(schema, &body, &what);
            }
            None if documented["content"].is_object() => {}
            None => assert_eq!(answer.text, "", "{what}"),
        }
    }

    /// A validator of a schema of the document, formats included.
    pub fn validator(&self, schema: &Value) -> Validator {
        let schema = json!({"allOf": [schema], "components": self.document["components"]});
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("a schema")
    }

    fn has_no_undocumented_keys(&self, schema: &Value, body: &Value, what: &str) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).expect("a schema"),
            None => schema,
        };
        match body {
            Value::Object(object) if schema["properties"].is_object() => {
                for (key, value) in object {
                    let property = &schema["properties"][key];
                    assert!(property.is_object(), "undocumented key {key}: {what}");
                    self.has_no_undocumented_keys(property, value, what);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.has_no_undocumented_keys(&schema["items"], item, what);
                }
            }
            _ => {}
        }
    }
}

/// Methods that some path has.
pub const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
