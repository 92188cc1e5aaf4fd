//! Bodies as JSON values, read more strictly than serde does.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON value without duplicate keys, and without control characters other than tab and newline in its strings
/// (contract §2). Lone surrogates and invalid UTF-8 are refused by the parser itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StrictJson(pub(super) Value);

impl StrictJson {
    /// Parses a whole body.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl<'de> Deserialize<'de> for StrictJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

fn clean<E: de::Error>(text: &str) -> Result<(), E> {
    if text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err(E::custom("a control character"));
    }
    Ok(())
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        clean(text)?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(StrictJson(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, StrictJson(value))) = entries.next_entry::<String, _>()? {
            clean(&key)?;
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a duplicate key"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_reads_as_serde_reads_it() {
        let text = r#"{"a": [1, -2.5, true, null, "文\t字\n"], "b": {"c": 18446744073709551615}}"#;
        let strict = StrictJson::parse(text.as_bytes()).expect("valid");
        assert_eq!(strict.0, serde_json::from_str::<Value>(text).expect("valid"));
    }

    #[test]
    fn ambiguous_or_dirty_json_is_refused() {
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1, "b": 1}}"#,
            r#""\u0000""#,
            r#""\r""#,
            r#""\u001b[31m""#,
            r#""\u0085""#,
            r#"{"a\u0007": 1}"#,
            r#""\ud800""#,
            "\"\u{7f}\"",
            "{} {}",
            "",
            "{",
            "1e999",
        ] {
            assert!(StrictJson::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(StrictJson::parse(b"\"\xff\"").is_err());
        assert!(StrictJson::parse("[".repeat(30_000).as_bytes()).is_err());
    }

    #[test]
    fn keys_come_out_sorted_so_that_equal_bodies_have_equal_fingerprints() {
        let a = StrictJson::parse(br#"{"b": 1, "a": {"d": 1, "c": 2}}"#).expect("valid").0.to_string();
        let b = StrictJson::parse(br#"{"a":{"c":2,"d":1},"b":1}"#).expect("valid").0.to_string();
        assert_eq!(a, b);
    }
}
