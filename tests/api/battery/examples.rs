//! The examples of the document are real answers, recorded here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::table::{Kind, Row, TABLE};
use super::world::World;
use crate::support::Answer;

const FILE: &str = "src/http/openapi/examples.json";

/// Pages, metrics and the document itself are no examples of anything.
fn has_example(row: &Row) -> bool {
    !row.is_public() || row.path.starts_with("/health")
}

#[tokio::test]
async fn the_examples_are_what_the_cell_answers() {
    let world = World::new().await;
    let mut names = Names::default();
    let mut examples = Map::new();
    for row in TABLE.iter().filter(|row| has_example(row)) {
        examples.insert(row.operation.to_owned(), Value::Object(record(&world, row, &mut names).await));
    }
    let recorded = serde_json::to_string_pretty(&examples).expect("JSON") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("RECORD_EXAMPLES").is_some() {
        std::fs::write(&file, &recorded).expect("written");
    }
    let stored = std::fs::read_to_string(&file).expect("the file");
    assert!(stored == recorded, "{FILE} is out of date: RECORD_EXAMPLES=1 cargo test --test api examples");
}

#[tokio::test]
async fn every_operation_has_an_example_of_its_request_its_answer_and_its_errors() {
    let world = World::new().await;
    for row in TABLE.iter().filter(|row| has_example(row)) {
        let operation = &world.document["paths"][row.documented_path()][row.method.to_lowercase()];
        let example =
            |pointer: &str| operation.pointer(&format!("{pointer}/content/application~1json/example"));
        assert_eq!(example("/requestBody").is_some(), row.body().is_some(), "{}", row.operation);
        let success = match row.kind {
            Kind::Create => Some("201"),
            Kind::Import | Kind::Receive | Kind::Replay => Some("202"),
            Kind::Delete | Kind::Export => None,
            _ => Some("200"),
        };
        let errors: &[_] = if row.is_public() { &[] } else { &["400", "401", "403"] };
        for status in success.iter().chain(errors) {
            let body = example(&format!("/responses/{status}"))
                .unwrap_or_else(|| panic!("{} {status}", row.operation));
            let schema = &operation["responses"][status]["content"]["application/json"]["schema"];
            assert!(world.validator(schema).is_valid(body), "{} {status}", row.operation);
        }
    }
}

async fn record(world: &World, row: &Row, names: &mut Names) -> Map<String, Value> {
    let mut example = Map::new();
    let mut keep = |answer: &Answer| {
        if answer.header("Content-Type").starts_with("application/json") {
            example.insert(answer.status.as_str().to_owned(), names.replace(answer.json()));
        }
    };
    let client = world.caller("acme", "admin").with("X-Request-ID", "3f1c-7");
    if row.is_public() {
        keep(&world.good(&client, row).await);
        return example;
    }
    let stranger = world.caller("other", "admin").with("X-Request-ID", "3f1c-7");
    keep(&world.good(&world.app.anonymous().with("X-Request-ID", "3f1c-7"), row).await);
    keep(&world.good(&stranger.with_tenant("acme"), row).await);
    keep(&world.send(&client, row, &format!("{}?scope=mine", world.path(row)), None).await);
    if row.has_id() {
        keep(&world.to(&client, row, &row.path_to("unknown")).await);
    }
    if row.needs_body() {
        let body = r#"{"nickname":"x"}"#.to_owned();
        keep(&world.send(&client, row, &world.path(row), Some(body)).await);
    }
    keep(&world.good(&client, row).await);
    if let Some(body) = row.body() {
        let body: Value = serde_json::from_str(&world.fill(&body.to_string())).expect("JSON");
        example.insert("request".to_owned(), names.replace(body));
    }
    example
}

/// Ids and cursors differ from run to run; the examples have the same ones each time.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn replace(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) if uuid::Uuid::parse_str(&text).is_ok() => {
                let next = self.0.len() + 1;
                let name = || format!("019aaa00-0000-7000-8000-{next:012}");
                Value::String(self.0.entry(text).or_insert_with(name).clone())
            }
            Value::Array(items) => items.into_iter().map(|item| self.replace(item)).collect(),
            Value::Object(object) => {
                let object = object.into_iter().map(|(key, value)| {
                    let value = if key == "nextCursor" && !value.is_null() {
                        Value::String("eyJsIjo3fQ".to_owned())
                    } else {
                        self.replace(value)
                    };
                    (key, value)
                });
                Value::Object(object.collect())
            }
            value => value,
        }
    }
}
