//! `/docs`: the API document as one page for people, without scripts and without anything from elsewhere.
//!
//! maud escapes whatever text the document has; only the style sheet goes in as it is.

mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use salvo::http::StatusCode;
use serde_json::Value;

use self::words::{entries, items, list, markdown, prose, reference, text, value};
use super::error::{Code, ErrorBody};
use super::openapi::DOCUMENT;

const STYLE: &str = include_str!("style.css");
/// In the order in which a path's operations are shown.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The page of our document, for this path: its links are relative to it.
pub(super) fn page_at(path: &str) -> &'static str {
    static DOCS: LazyLock<String> = LazyLock::new(|| page(&DOCUMENT, "openapi.json"));
    static DOCS_WITH_SLASH: LazyLock<String> = LazyLock::new(|| page(&DOCUMENT, "../openapi.json"));
    if path.ends_with('/') { &DOCS_WITH_SLASH } else { &DOCS }
}

/// The page of a document, whose own address, relative to the page's, is `source`.
fn page(document: &Value, source: &str) -> String {
    let info = &document["info"];
    let title = format!("{} {}", text(info, "title"), text(info, "version"));
    let tags = operations_by_tag(document);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                (contents(&tags))
                main #content {
                    header { (introduction(document, source)) }
                    section #authentication { (authentication(document)) }
                    @for (tag, operations) in &tags {
                        section id={ "tag-" (tag) } {
                            h2 { (tag) }
                            @for operation in operations { (operation.show(document)) }
                        }
                    }
                    section #schemas { h2 { "Schemas" } (schemas(document)) }
                    section #errors { h2 { "Errors" } (errors(&tags)) }
                }
            }
        }
    };
    markup.into_string()
}

/// An operation, and where it is.
struct Operation<'a> {
    path: &'a str,
    method: &'static str,
    id: &'a str,
    body: &'a Value,
}

fn operations_by_tag(document: &Value) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut tags = BTreeMap::<_, Vec<_>>::new();
    for (path, item) in entries(&document["paths"]) {
        for method in METHODS {
            let Some(body) = item.get(method) else { continue };
            let operation = Operation { path, method, id: text(body, "operationId"), body };
            tags.entry(body["tags"][0].as_str().unwrap_or("other")).or_default().push(operation);
        }
    }
    tags
}

fn contents(tags: &BTreeMap<&str, Vec<Operation<'_>>>) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#authentication" { "Authentication" } }
                @for (tag, operations) in tags {
                    li {
                        a href={ "#tag-" (tag) } { (tag) }
                        ul { @for operation in operations { li { (operation.link()) } } }
                    }
                }
                li { a href="#schemas" { "Schemas" } }
                li { a href="#errors" { "Errors" } }
            }
        }
    }
}

fn introduction(document: &Value, source: &str) -> Markup {
    let info = &document["info"];
    html! {
        h1 { (text(info, "title")) " " small { (text(info, "version")) } }
        (markdown(text(info, "description")))
        dl {
            dt { "For programs" }
            dd { a href=(source) { "openapi.json" } ", OpenAPI " (text(document, "openapi")) }
            @for server in items(&document["servers"]) {
                dt { "Base of all paths" }
                dd { code { (text(server, "url")) } " " (prose(text(server, "description"))) }
            }
            dt { "License" }
            dd { (text(&info["license"], "name")) }
        }
    }
}

fn authentication(document: &Value) -> Markup {
    html! {
        h2 { "Authentication" }
        p { "Operations marked " span.public { "public" } " need no token. All others need:" }
        dl {
            @for (name, scheme) in entries(&document["components"]["securitySchemes"]) {
                dt { (name) }
                dd {
                    @if text(scheme, "scheme") == "bearer" { code { "Authorization: Bearer …" } " " }
                    (prose(text(scheme, "description")))
                }
            }
        }
    }
}

impl Operation<'_> {
    /// To what is in the fold, so that browsers open it.
    fn link(&self) -> Markup {
        html! { a href={ "#operation-" (self.id) } { (self.name()) } }
    }

    fn name(&self) -> Markup {
        html! {
            span class={ "method " (self.method) } { (self.method.to_uppercase()) } " "
            code.path { (self.path) }
        }
    }

    fn is_public(&self) -> bool {
        items(&self.body["security"]).is_empty()
    }

    fn answers(&self, status: StatusCode, code: &str) -> bool {
        codes(&self.body["responses"][status.as_str()]).contains(&code)
    }

    fn show(&self, document: &Value) -> Markup {
        html! {
            details {
                summary {
                    h3 { (self.name()) }
                    " " span { (prose(text(self.body, "summary"))) }
                    @if self.is_public() { " " span.public { "public" } }
                }
                div.fold id={ "operation-" (self.id) } {
                    p.note { "Operation " code { (self.id) } }
                    (markdown(text(self.body, "description")))
                    (parameters(items(&self.body["parameters"])))
                    @if let Some(request) = self.body.get("requestBody") { (request_body(document, request)) }
                    h4 { "Responses" }
                    @for (status, answer) in entries(&self.body["responses"]) {
                        (response(document, status, answer))
                    }
                }
            }
        }
    }
}

fn parameters(parameters: &[Value]) -> Markup {
    let mut parameters: Vec<_> = parameters.iter().collect();
    parameters.sort_by_key(|parameter| (parameter["required"] != true, text(parameter, "in") != "path"));
    html! {
        @if !parameters.is_empty() {
            h4 { "Parameters" }
            table {
                thead { tr { th { "Name" } th { "Place" } th { "Value" } th { "Meaning" } } }
                tbody {
                    @for parameter in parameters {
                        tr {
                            td { (named(text(parameter, "name"), parameter["required"] == true)) }
                            td.place { (text(parameter, "in")) }
                            td { (value(&parameter["schema"])) }
                            td {
                                (prose(text(parameter, "description"))) " "
                                (prose(text(&parameter["schema"], "description")))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn request_body(document: &Value, request: &Value) -> Markup {
    let contents: Vec<_> = entries(&request["content"]).collect();
    let schema = contents.first().map(|(_, content)| resolve(document, &content["schema"]));
    html! {
        h4 { "Request body " (necessity(request["required"] == true)) }
        (markdown(text(request, "description")))
        @for (media_type, content) in &contents {
            p { code { (media_type) } ": " (value(&content["schema"])) }
        }
        @if let Some(schema) = schema { (fields(schema)) }
        @for example in contents.iter().filter_map(|(_, content)| content.get("example")) {
            details { summary { "Example" } (json(example)) }
        }
    }
}

fn response(document: &Value, status: &str, response: &Value) -> Markup {
    let codes = codes(response);
    html! {
        details.response {
            summary {
                span class={ "status s" (status.get(..1).unwrap_or_default()) } { (status) } " "
                @if codes.is_empty() { (prose(text(response, "description"))) } @else { (list(&codes)) }
            }
            div.fold {
                @if response.get("content").is_none() { p { "No body." } }
                @for (media_type, content) in entries(&response["content"]) {
                    p { code { (media_type) } ": " (value(&content["schema"])) }
                    @if let Some(example) = content.get("example") { (json(example)) }
                }
                dl {
                    @for (name, header) in entries(&response["headers"]) {
                        @let header = resolve(document, header);
                        dt { code { (name) } }
                        dd { (value(&header["schema"])) ". " (prose(text(header, "description"))) }
                    }
                    @for (name, link) in entries(&response["links"]) {
                        dt { "Leads to " a href={ "#operation-" (name) } { code { (name) } } }
                        dd {
                            @for (parameter, source) in entries(&link["parameters"]) {
                                "with " code { (parameter) " = " (source.as_str().unwrap_or_default()) } " "
                            }
                        }
                    }
                }
            }
        }
    }
}

fn schemas(document: &Value) -> Markup {
    html! {
        @for (name, schema) in entries(&document["components"]["schemas"]) {
            details {
                summary { h3 { code { (name) } } }
                div.fold id={ "schema-" (name) } {
                    (markdown(text(schema, "description")))
                    (fields(schema))
                }
            }
        }
    }
}

/// Every code of an error, with the operations that answer it.
fn errors(tags: &BTreeMap<&str, Vec<Operation<'_>>>) -> Markup {
    html! {
        table {
            thead { tr { th { "Code" } th { "Status" } th { "Operations" } } }
            tbody {
                @for (status, code) in Code::ALL.iter().map(|code| code.parts()) {
                    @let operations: Vec<_> =
                        tags.values().flatten().filter(|operation| operation.answers(status, code)).collect();
                    tr id={ "error-" (code) } {
                        td { code { (code) } }
                        td { (status.as_str()) }
                        td {
                            @if operations.is_empty() {
                                "where there is no operation"
                            } @else {
                                details {
                                    summary { (operations.len()) }
                                    ul { @for operation in operations { li { (operation.link()) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The codes that an answer may have; none unless it is an error.
fn codes(response: &Value) -> Vec<&str> {
    let is_error = |(_, content): (_, &Value)| reference(&content["schema"]) == Some(ErrorBody::NAME);
    if entries(&response["content"]).any(is_error) {
        text(response, "description").split(", ").collect()
    } else {
        Vec::new()
    }
}

/// The fields of an object, the required ones first; of those that requests do not set, the names.
fn fields(schema: &Value) -> Markup {
    let is_required = |name: &str| items(&schema["required"]).iter().any(|required| required == name);
    let (read, mut fields): (Vec<_>, Vec<_>) =
        entries(&schema["properties"]).partition(|(_, field)| field["readOnly"] == true);
    fields.sort_by_key(|(name, _)| !is_required(name));
    let read: Vec<_> = read.into_iter().map(|(name, _)| name).collect();
    html! {
        @if !fields.is_empty() {
            table {
                thead { tr { th { "Field" } th { "Value" } th { "Meaning" } } }
                tbody {
                    @for (name, field) in fields {
                        tr {
                            td { (named(name, is_required(name))) }
                            td { (value(field)) }
                            td { (prose(text(field, "description"))) }
                        }
                    }
                }
            }
        }
        @if !read.is_empty() { p.note { "Read only, ignored in a request: " (list(&read)) "." } }
        @if schema["additionalProperties"] == false { p.note { "No other field is taken." } }
    }
}

fn named(name: &str, is_required: bool) -> Markup {
    html! { code { (name) } " " (necessity(is_required)) }
}

fn necessity(is_required: bool) -> Markup {
    html! { @if is_required { small.required { "required" } } @else { small { "optional" } } }
}

fn json(value: &Value) -> Markup {
    html! { pre { code { (format!("{value:#}")) } } }
}

/// What a value stands for, if it is a reference.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    const HOSTILE: &str = "<script>alert('&\"`<b>`')</script>";

    /// The value with `HOSTILE` in the place of each text, and as a key beside the others.
    fn with_hostile_texts(value: &Value) -> Value {
        match value {
            Value::String(_) => json!(HOSTILE),
            Value::Array(items) => items.iter().map(with_hostile_texts).collect(),
            Value::Object(object) => {
                let mut object: Map<_, _> =
                    object.iter().map(|(key, value)| (key.clone(), with_hostile_texts(value))).collect();
                if let Some(value) = object.values().next().cloned() {
                    object.insert(HOSTILE.to_owned(), value);
                }
                Value::Object(object)
            }
            other => other.clone(),
        }
    }

    #[test]
    fn every_text_of_the_document_is_escaped_wherever_it_is() {
        let page = page(&with_hostile_texts(&DOCUMENT), HOSTILE);
        assert!(page.matches("&lt;script&gt;").count() > 1000);
        for raw in ["<script", "</script", "<b>", "alert('&\""] {
            assert!(!page.contains(raw), "{raw}");
        }
    }

    #[test]
    fn a_document_with_nothing_in_it_is_a_page() {
        assert!(page(&json!({}), "openapi.json").ends_with("</html>"));
    }
}
