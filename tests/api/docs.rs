//! `/docs`: the API document as a page.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::TestApp;

/// Elements without an end tag.
const VOID: [&str; 2] = ["meta", "link"];

async fn page_and_document() -> (String, Value) {
    let app = TestApp::start().await;
    let page = app.anonymous().get("/docs").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    (page.text, app.anonymous().get("/openapi.json").await.expect(200).json())
}

#[tokio::test]
async fn the_page_tells_of_every_operation_schema_and_code_of_an_error() {
    let (page, document) = page_and_document().await;
    let mut expected = Vec::new();
    for (path, item) in object(&document["paths"]) {
        for (method, operation) in object(item) {
            let id = operation["operationId"].as_str().expect("an operationId");
            expected.push(format!("<div class=\"fold\" id=\"operation-{id}\">"));
            expected
                .push(format!("{}</span> <code class=\"path\">{path}</code></h3>", method.to_uppercase()));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            expected.extend(parameters.map(|parameter| code(&parameter["name"])));
        }
    }
    for (name, schema) in object(&document["components"]["schemas"]) {
        expected.push(format!("<div class=\"fold\" id=\"schema-{name}\">"));
        expected.extend(object(&schema["properties"]).map(|(field, _)| format!("<code>{field}</code>")));
    }
    let codes = &document["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
    for known in codes.as_array().expect("codes") {
        let known = known.as_str().expect("a code");
        expected.push(format!("<tr id=\"error-{known}\"><td><code>{known}</code></td>"));
    }
    assert!(expected.len() > 400, "{}", expected.len());
    for part in expected {
        assert!(page.contains(&part), "{part}");
    }
}

#[tokio::test]
async fn the_page_shows_the_recorded_examples_and_the_limits_of_fields() {
    let (page, document) = page_and_document().await;
    let created = &document["paths"]["/customers"]["post"];
    for content in [&created["requestBody"]["content"], &created["responses"]["201"]["content"]] {
        let example = format!("{:#}", content["application/json"]["example"]).replace('"', "&quot;");
        assert!(page.contains(&format!("<pre><code>{example}</code></pre>")), "{example}");
    }
    for told in [
        "<code>name</code> <small class=\"required\">required</small></td><td>string, at most 200 characters, not blank",
        "string or null: <code>lead</code>, <code>prospect</code>",
        "integer or null, 0 to 1000000000000000",
        "<code>NOT_FOUND</code></td><td>404</td>",
        "<code>METHOD_NOT_ALLOWED</code></td><td>405</td>",
    ] {
        assert!(page.contains(told), "{told}");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_no_script() {
    let (page, _) = page_and_document().await;
    for outside in ["<script", "<link", "<img", "<iframe", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let ids: BTreeSet<_> = attributes(&page, "id").collect();
    assert_eq!(ids.len(), attributes(&page, "id").count(), "an id is there twice");
    let mut elsewhere = BTreeSet::new();
    for target in attributes(&page, "href") {
        match target.strip_prefix('#') {
            Some(id) => assert!(ids.contains(id), "nothing is at #{id}"),
            None => drop(elsewhere.insert(target)),
        }
    }
    assert_eq!(elsewhere, BTreeSet::from(["openapi.json"]), "behind a gateway the cell's root is not /");
}

#[tokio::test]
async fn the_page_leads_to_the_document_from_an_address_with_a_slash_too() {
    let app = TestApp::start().await;
    let page = app.anonymous().get("/docs/").await.expect(200);
    let elsewhere: BTreeSet<_> =
        attributes(&page.text, "href").filter(|href| !href.starts_with('#')).collect();
    assert_eq!(elsewhere, BTreeSet::from(["../openapi.json"]));
}

#[tokio::test]
async fn every_element_of_the_page_is_closed_in_order() {
    let (page, _) = page_and_document().await;
    let page = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let tag = tag.split_once('>').expect("the tag's end").0;
        let name = tag.split(' ').next().expect("a name");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
            None if VOID.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[tokio::test]
async fn the_documents_may_be_cached_by_anybody() {
    let app = TestApp::start().await;
    for path in ["/docs", "/openapi.json"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert_eq!(answer.header("cache-control"), "public, max-age=300", "{path}");
        assert_eq!(answer.header("vary"), "Authorization, X-Tenant-Id", "{path}");
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn code(name: &Value) -> String {
    format!("<code>{}</code>", name.as_str().expect("a name"))
}

/// The values of all attributes of this name.
fn attributes<'a>(page: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let found: Vec<_> = page.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    found.into_iter()
}
