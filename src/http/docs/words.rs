//! Values, texts and schemas of the document in words.

use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::http::openapi::{CLEAN, NOT_BLANK};

/// What a value can be: type, values, limits.
pub(super) fn value(schema: &Value) -> Markup {
    if let Some(name) = reference(schema) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    let mut options: Vec<_> = items(&schema["oneOf"]).iter().collect();
    options.sort_by_key(|option| option["type"] == "null");
    html! {
        @if options.is_empty() { (types(&schema["type"])) }
        @for (index, option) in options.into_iter().enumerate() {
            @if index > 0 { " or " }
            (value(option))
        }
        @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
        @for part in ["items", "additionalProperties"] {
            @if schema[part].is_object() { " of " (value(&schema[part])) }
        }
        @for (index, (name, field)) in entries(&schema["properties"]).enumerate() {
            @if index == 0 { " with " } @else { ", " }
            code { (name) } " (" (value(field)) ")"
        }
        @for (index, word) in items(&schema["enum"]).iter().enumerate() {
            @if index == 0 { ": " } @else { ", " }
            code { (word_of(word)) }
        }
        @if let Some(range) = range(schema, "minimum", "maximum") { ", " (range) }
        @if let Some(range) = range(schema, "minLength", "maxLength") { ", " (range) " characters" }
        @match schema["pattern"].as_str() {
            Some(CLEAN) => ", no control characters",
            Some(NOT_BLANK) => ", not blank, no control characters",
            Some(pattern) => { ", " code { (pattern) } }
            None => {}
        }
    }
}

fn types(types: &Value) -> String {
    match types {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

/// A text as it is, unless nothing would be seen of it.
fn word_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => value.to_string(),
    }
}

fn range(schema: &Value, least: &str, most: &str) -> Option<String> {
    match (schema[least].as_number(), schema[most].as_number()) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

pub(super) fn list(words: &[&str]) -> Markup {
    html! {
        @for (index, word) in words.iter().enumerate() {
            @if index > 0 { ", " }
            code { (word) }
        }
    }
}

/// The Markdown that our descriptions use: paragraphs, lists, code.
pub(super) fn markdown(text: &str) -> Markup {
    html! {
        @for block in text.split("\n\n") {
            @if block.starts_with("- ") {
                ul { @for item in block.split("\n- ") { li { (prose(item.trim_start_matches("- "))) } } }
            } @else if !block.trim().is_empty() {
                p { (prose(block)) }
            }
        }
    }
}

/// A text whose code stands between backticks.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The name of the schema that this refers to.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn descriptions_keep_their_paragraphs_lists_and_code() {
        let text = "One\ntwo.\n\n- a `b`\n- c\n\nThree.\n";
        let html = "<p>One\ntwo.</p><ul><li>a <code>b</code></li><li>c</li></ul><p>Three.\n</p>";
        assert_eq!(markdown(text).into_string(), html);
    }

    #[test]
    fn values_are_told_with_their_types_and_limits() {
        for (schema, told) in [
            (json!({}), "anything"),
            (json!({"$ref": "#/components/schemas/A"}), "<a href=\"#schema-A\">A</a>"),
            (json!({"type": ["integer", "null"], "minimum": -1}), "integer or null, at least -1"),
            (json!({"type": "string", "minLength": 1, "maxLength": 9}), "string, 1 to 9 characters"),
            (json!({"type": "string", "pattern": CLEAN}), "string, no control characters"),
            (json!({"type": "string", "pattern": "^a$"}), "string, <code>^a$</code>"),
            (
                json!({"enum": ["", null, 1]}),
                "anything: <code>&quot;&quot;</code>, <code>null</code>, <code>1</code>",
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"type": "string", "format": "date"}]}),
                "string (date) or null",
            ),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}),
                "array of object with <code>a</code> (string)",
            ),
        ] {
            assert_eq!(value(&schema).into_string(), told);
        }
    }
}
