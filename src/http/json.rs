//! Bodies as JSON values, read more strictly than serde does.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a body may hold, in values, of which an object counts as [`OBJECT`]: many small values take a hundred times the memory
/// that their text takes.
const MOST: usize = 100_000;
/// What an object counts: the map in it is that much larger than a value.
const OBJECT: usize = 16;

/// A JSON value without duplicate keys, and without control characters other than tab and newline in its strings
/// (contract §2). Lone surrogates and invalid UTF-8 are refused by the parser itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StrictJson(pub(super) Value);

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no JSON, or not strict.
    NotStrict,
    /// It has too many values.
    TooMuch,
}

impl StrictJson {
    /// Parses a whole body.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let mut left = Some(MOST);
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let parsed = Strict(&mut left).deserialize(&mut deserializer);
        let parsed = parsed.and_then(|value| deserializer.end().map(|()| Self(value)));
        parsed.map_err(|_| if left.is_some() { Refused::NotStrict } else { Refused::TooMuch })
    }
}

/// Reads a value, with what may come yet; `None` once that was too much.
struct Strict<'a>(&'a mut Option<usize>);

impl Strict<'_> {
    fn count<E: de::Error>(&mut self, weight: usize) -> Result<(), E> {
        *self.0 = self.0.and_then(|left| left.checked_sub(weight));
        if self.0.is_some() { Ok(()) } else { Err(E::custom("too many values")) }
    }
}

fn clean<E: de::Error>(text: &str) -> Result<(), E> {
    if text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err(E::custom("a control character"));
    }
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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
        while let Some(value) = items.next_element_seed(Strict(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.count(OBJECT)?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            clean(&key)?;
            if object.insert(key, entries.next_value_seed(Strict(self.0))?).is_some() {
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
    fn what_would_grow_in_memory_is_refused_and_the_largest_import_is_not() {
        for small in ["1", "{}", "[]", "\"\"", "{\"a\":{}}"] {
            let many = format!("[{}]", vec![small; 60_000].join(","));
            let expected = if small.starts_with('{') { Err(Refused::TooMuch) } else { Ok(()) };
            assert_eq!(StrictJson::parse(many.as_bytes()).map(drop), expected, "{small}");
        }
        let row =
            format!("{{{}}}", (0..30).map(|field| format!("\"{field}\":1")).collect::<Vec<_>>().join(","));
        let import = format!("{{\"items\":[{}]}}", vec![row; 2000].join(","));
        StrictJson::parse(import.as_bytes()).expect("2,000 rows of 30 fields");
    }

    #[test]
    fn keys_come_out_sorted_so_that_equal_bodies_have_equal_fingerprints() {
        let a = StrictJson::parse(br#"{"b": 1, "a": {"d": 1, "c": 2}}"#).expect("valid").0.to_string();
        let b = StrictJson::parse(br#"{"a":{"c":2,"d":1},"b":1}"#).expect("valid").0.to_string();
        assert_eq!(a, b);
    }
}
