//! Fields of a source row on their way into a record: the domain says what is wrong with them, the rules here what is done
//! about it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::rule::{Reason, Rule};
use super::source::SourceRow;
use crate::domain::{Invalid, Problem};

/// Stands where a record needs a text and the row has none.
const PLACEHOLDERS: [(&str, &str); 3] =
    [("name", "(无名称)"), ("title", "(无标题)"), ("content", "(无内容)")];
/// The longest type of a follow-up.
const TYPE_MAX: usize = 32;

/// The fields of a record to be, as a client would send them, and what was repaired so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    fields: Map<String, Value>,
    pub(super) reasons: Vec<Reason>,
}

impl Draft {
    /// Takes a text column over, without the white space around it and the characters that no text may hold.
    pub(super) fn text(&mut self, field: &'static str, row: &SourceRow, column: &str) {
        let given = row.text(column);
        let cleaned = clean(&given);
        if cleaned != given && !cleaned.is_empty() {
            self.note(Rule::TextCleaned, field);
        }
        self.set(field, cleaned);
    }

    /// Takes a column over that holds a number; where it holds nothing, `rule` says what the default is.
    pub(super) fn number(&mut self, field: &'static str, row: &SourceRow, column: &str, rule: Rule) {
        let value = row.cells.get(column).cloned().unwrap_or_default();
        if value.is_null() {
            self.note(rule, field);
        }
        self.set(field, value);
    }

    pub(super) fn set(&mut self, field: &'static str, value: impl Into<Value>) {
        self.fields.insert(field.to_owned(), value.into());
    }

    pub(super) fn note(&mut self, rule: Rule, field: impl Into<String>) {
        self.reasons.push(Reason::field(rule, field));
    }

    /// Lets the domain check the fields, and repairs what it refuses, until it accepts them.
    ///
    /// # Errors
    /// The row breaks a rule for which there is no repair.
    pub(super) fn settle<F: DeserializeOwned, T>(
        mut self,
        check: impl Fn(F) -> Result<T, Invalid>,
    ) -> Result<(T, Vec<Reason>), Reason> {
        // Each round puts at least one field right for good.
        for _ in 0..=self.fields.len() {
            let fields = serde_json::from_value(Value::Object(self.fields.clone()))
                .map_err(|_| Reason::row(Rule::Unfit))?;
            let invalid = match check(fields) {
                Ok(record) => return Ok((record, self.reasons)),
                Err(invalid) => invalid,
            };
            for error in invalid.errors {
                let given = self.fields.get(&error.field).cloned().unwrap_or_default();
                let (rule, value) = repaired(&error.field, error.problem, &given)
                    .ok_or_else(|| Reason::field(Rule::Unfit, &error.field))?;
                self.fields.insert(error.field.clone(), value);
                self.note(rule, error.field);
            }
        }
        Err(Reason::row(Rule::Unfit))
    }
}

/// What is written instead of a value that breaks a rule, and the rule of the import that says so.
fn repaired(field: &str, problem: Problem, given: &Value) -> Option<(Rule, Value)> {
    let placeholder = PLACEHOLDERS.iter().find(|(known, _)| *known == field).map(|(_, text)| *text);
    match (field, problem) {
        (_, Problem::Required) => Some((Rule::Placeholder, placeholder?.into())),
        (_, Problem::TooLong(max)) if placeholder.is_some() => {
            let cut: String = given.as_str()?.chars().take(max).collect();
            Some((Rule::TextCut, cut.trim_end().into()))
        }
        // Half a number or address is a wrong one.
        (_, Problem::TooLong(_)) => Some((Rule::TextDropped, Value::Null)),
        (_, Problem::Masked) => Some((Rule::PhoneMasked, Value::Null)),
        ("amountCents", _) => Some((Rule::AmountUnusable, json!(0))),
        ("status", _) => Some((Rule::StatusUnknown, Value::Null)),
        ("currency", _) => Some((Rule::CurrencyUnknown, "XXX".into())),
        ("followUpType", _) => Some((Rule::TypeUnusable, as_type(given.as_str()?).into())),
        _ => None,
    }
}

/// The text without white space around it and without control characters other than tab and newline.
pub(super) fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n')).collect();
    kept.trim().to_owned()
}

/// The nearest thing to a free text that is a type: `上门 拜访` becomes `上门_拜访`; empty if nothing is left.
fn as_type(text: &str) -> String {
    let words =
        text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").chars().take(TYPE_MAX).collect()
}
