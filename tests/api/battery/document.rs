//! The document itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::table::{Kind, TABLE};
use super::world::World;

const OPENAPI_3_1: &str = include_str!("../../fixtures/openapi/3.1-schema-2022-10-07.json");

#[tokio::test]
async fn every_operation_of_the_document_is_in_the_table_and_the_other_way_round() {
    let world = World::new().await;
    let mut documented = BTreeSet::new();
    for (path, item) in world.document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let id = operation["operationId"].as_str().expect("an operationId").to_owned();
            assert!(documented.insert((id.clone(), method.to_uppercase(), path.clone())), "{id} twice");
        }
    }
    let table: BTreeSet<_> = TABLE
        .iter()
        .map(|row| (row.operation.to_owned(), row.method.to_owned(), row.documented_path()))
        .collect();
    assert_eq!(table, documented);
}

#[tokio::test]
async fn the_document_is_valid_openapi_3_1() {
    let world = World::new().await;
    let schema: Value = serde_json::from_str(OPENAPI_3_1).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(&world.document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test]
async fn every_schema_is_a_schema_and_every_reference_leads_somewhere() {
    let world = World::new().await;
    let schemas = world.document["components"]["schemas"].as_object().expect("schemas");
    assert!(schemas.len() > 15, "{:?}", schemas.keys());
    for schema in schemas.values() {
        jsonschema::draft202012::meta::validate(schema).expect("a schema");
        world.validator(schema);
    }
    let mut references = Vec::new();
    collect_references(&world.document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let target = world.document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference}");
    }
}

#[tokio::test]
async fn a_new_record_is_linked_to_the_operations_on_it() {
    let world = World::new().await;
    for row in TABLE.iter().filter(|row| row.kind == Kind::Create) {
        let created = &world.document["paths"][row.path]["post"]["responses"]["201"];
        let links = created["links"].as_object().expect("links");
        let of_record: BTreeSet<_> = TABLE
            .iter()
            .filter(|other| other.has_id() && other.path.starts_with(&format!("{}/", row.path)))
            .map(|other| other.operation)
            .collect();
        assert_eq!(links.keys().map(String::as_str).collect::<BTreeSet<_>>(), of_record);
        let example = &created["content"]["application/json"]["example"];
        for link in links.values() {
            let expression = link["parameters"]["id"].as_str().expect("an expression");
            let key = expression.strip_prefix("$response.body#/").expect("a key of the body");
            assert!(example[key].is_string(), "{link}");
        }
    }
}

fn collect_references<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect_references(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn what_needs_a_token_is_documented_so_with_every_error_that_can_come_of_it() {
    let world = World::new().await;
    for row in TABLE {
        let operation = &world.document["paths"][row.documented_path()][row.method.to_lowercase()];
        let security = operation["security"].as_array().expect("security");
        assert_eq!(security.is_empty(), row.is_public(), "{}", row.operation);
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{operation}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{}", row.operation);
        assert_eq!(operation["requestBody"]["required"] == true, row.takes_body(), "{}", row.operation);
        if !row.is_public() {
            for status in ["400", "401", "403", "404", "423", "429", "500", "503"] {
                assert!(operation["responses"][status].is_object(), "{} {status}", row.operation);
            }
        }
    }
}
