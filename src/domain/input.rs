//! Fields as a client sent them, and the rules that turn them into values; every broken rule is collected.

use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Allowed;
use super::masking::Unmasked;
use super::rules::{FieldError, Invalid, Problem};

/// A field of a body: the three states of a JSON merge patch (RFC 7396), and "of another type".
///
/// Never fails to parse, so that one wrong field does not hide the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input<T> {
    /// Not in the body.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// A value of the right type.
    Given(T),
    /// A value of another type.
    Wrong,
}

/// The JSON types that fields have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// A truth value.
    Boolean,
}

/// A JSON type that a field can have.
pub trait InputType: Sized {
    /// Which type that is.
    const JSON_TYPE: JsonType;

    /// The value, if the JSON is of this type.
    fn from_json(value: Value) -> Option<Self>;
}

impl InputType for String {
    const JSON_TYPE: JsonType = JsonType::Text;

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl InputType for i64 {
    const JSON_TYPE: JsonType = JsonType::Integer;

    /// `100` and `100.0` are integers; `1.5`, strings and booleans are not (contract §6).
    fn from_json(value: Value) -> Option<Self> {
        /// Above this a `f64` no longer tells neighbouring integers apart.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if let Some(integer) = value.as_i64() {
            return Some(integer);
        }
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within ±2^53")]
        Some(number as Self)
    }
}

impl<'de, T: InputType> Deserialize<'de> for Input<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Null,
            value => T::from_json(value).map_or(Self::Wrong, Self::Given),
        })
    }
}

impl InputType for bool {
    const JSON_TYPE: JsonType = JsonType::Boolean;

    fn from_json(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

/// What a PATCH does to one field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Leaves it.
    #[default]
    Keep,
    /// Empties it.
    Clear,
    /// Replaces it.
    Set(T),
}

impl<T> Patch<T> {
    /// The field's new value, for a field that may be empty.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// The field's new value, for a field with a value that means empty.
    pub fn apply_or(self, field: &mut T, empty: T) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = empty,
            Self::Set(value) => *field = value,
        }
    }
}

/// Collects what is wrong with the fields of one body.
#[derive(Debug)]
pub struct Checker {
    errors: Vec<FieldError>,
    kind: Kind,
    rules: Vec<FieldRule>,
}

/// The rule of one field, as [`Checker::describe`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldRule {
    /// The field's name in JSON.
    pub field: &'static str,
    /// Its type in JSON.
    pub json_type: JsonType,
    /// What limits its values.
    pub limit: Limit,
    /// A new record cannot be without it.
    pub is_required: bool,
    /// `null` and `""` empty it, or set it to its default.
    pub is_clearable: bool,
}

/// What limits the values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many characters.
    Length(usize),
    /// What is allowed.
    Allowed(Allowed),
}

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// POST: what is required must be there; `null` and `""` mean missing.
    New,
    /// PATCH: what is not there stays; `null` and `""` clear it.
    Patch,
    /// PATCH of the origin's clients (`CRM_PATCH_NULL=keep`): `null` leaves it too.
    PatchNullKeeps,
    /// Nothing: the rules are wanted.
    Description,
}

impl Checker {
    /// A checker for a POST.
    #[must_use]
    pub fn for_new() -> Self {
        Self::of(Kind::New)
    }

    /// A checker for a PATCH.
    #[must_use]
    pub fn for_patch(null_keeps: bool) -> Self {
        Self::of(if null_keeps { Kind::PatchNullKeeps } else { Kind::Patch })
    }

    /// The rules that `check` applies to fields that are all absent, in its order: the same code that checks requests
    /// describes what they may hold.
    pub fn describe<T>(check: impl FnOnce(&mut Self) -> T) -> Vec<FieldRule> {
        let mut checker = Self::of(Kind::Description);
        check(&mut checker);
        checker.rules
    }

    fn of(kind: Kind) -> Self {
        Self { errors: Vec::new(), kind, rules: Vec::new() }
    }

    fn note(&mut self, field: &'static str, json_type: JsonType, limit: Limit) {
        if self.kind == Kind::Description {
            self.rules.push(FieldRule { field, json_type, limit, is_required: false, is_clearable: true });
        }
    }

    fn amend(&mut self, field: &'static str, amend: impl FnOnce(&mut FieldRule)) {
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.field == field) {
            amend(rule);
        }
    }

    /// Notes that `field` breaks a rule.
    pub fn problem(&mut self, field: &'static str, problem: Problem) {
        self.errors.push(FieldError { field: field.to_owned(), problem });
    }

    /// The value, if no rule was broken.
    ///
    /// # Errors
    /// All broken rules.
    pub fn finish<T>(self, value: T) -> Result<T, Invalid> {
        if self.errors.is_empty() { Ok(value) } else { Err(Invalid { errors: self.errors }) }
    }

    /// A string: trimmed, at most `max` characters.
    pub fn text(&mut self, field: &'static str, input: Input<String>, max: usize) -> Patch<String> {
        self.note(field, JsonType::Text, Limit::Length(max));
        match input {
            Input::Absent => Patch::Keep,
            Input::Null => self.null(),
            Input::Wrong => {
                self.problem(field, Problem::NotText);
                Patch::Keep
            }
            Input::Given(text) => {
                let trimmed = text.trim();
                if trimmed.is_empty() {
                    Patch::Clear
                } else if trimmed.chars().count() > max {
                    self.problem(field, Problem::TooLong(max));
                    Patch::Keep
                } else if trimmed.len() == text.len() {
                    Patch::Set(text)
                } else {
                    Patch::Set(trimmed.to_owned())
                }
            }
        }
    }

    /// A string that a record cannot be without: a POST must bring it, a PATCH may only replace it.
    pub fn required_text(&mut self, field: &'static str, input: Input<String>, max: usize) -> Option<String> {
        let text = match self.text(field, input, max) {
            Patch::Keep if self.kind == Kind::New && !self.has_problem(field) => Patch::Clear,
            text => text,
        };
        self.amend(field, |rule| (rule.is_required, rule.is_clearable) = (true, false));
        match text {
            Patch::Set(text) => Some(text),
            Patch::Keep => None,
            Patch::Clear => {
                self.problem(field, Problem::Required);
                None
            }
        }
    }

    /// A field with a value at all times: a POST may leave it to its default, a PATCH may not clear it.
    pub fn no_clearing<T>(&mut self, field: &'static str, patch: Patch<T>) -> Option<T> {
        self.amend(field, |rule| rule.is_clearable = false);
        match patch {
            Patch::Set(value) => Some(value),
            Patch::Clear if self.kind != Kind::New => {
                self.problem(field, Problem::Required);
                None
            }
            Patch::Keep | Patch::Clear => None,
        }
    }

    /// A field that clients see masked: writing its mask back leaves it.
    pub fn unmask(
        &mut self,
        field: &'static str,
        patch: Patch<String>,
        judge: impl FnOnce(&str) -> Unmasked,
    ) -> Patch<String> {
        let Patch::Set(given) = patch else { return patch };
        match judge(&given) {
            Unmasked::New => Patch::Set(given),
            Unmasked::Unchanged => Patch::Keep,
            Unmasked::Refused => {
                self.problem(field, Problem::Masked);
                Patch::Keep
            }
        }
    }

    /// An integer within a range.
    pub fn range(
        &mut self,
        field: &'static str,
        input: Input<i64>,
        range: RangeInclusive<i64>,
    ) -> Patch<i64> {
        let allowed = Allowed::Range(*range.start(), *range.end());
        self.choice(field, input, allowed, |number| range.contains(&number).then_some(number))
    }

    fn has_problem(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field)
    }

    fn null<T>(&self) -> Patch<T> {
        if self.kind == Kind::PatchNullKeeps { Patch::Keep } else { Patch::Clear }
    }

    /// A string that stands for something else, like a date or a word of a fixed set; trimmed, `""` and `null` clear it.
    pub fn read_text<C>(
        &mut self,
        field: &'static str,
        input: Input<String>,
        allowed: Allowed,
        read: impl FnOnce(&str) -> Option<C>,
    ) -> Patch<C> {
        match input {
            Input::Given(text) if text.trim().is_empty() => Patch::Clear,
            input => self.choice(field, input, allowed, |text| read(text.trim())),
        }
    }

    /// One of a set of integers or truth values.
    pub fn choice<T: InputType, C>(
        &mut self,
        field: &'static str,
        input: Input<T>,
        allowed: Allowed,
        choose: impl FnOnce(T) -> Option<C>,
    ) -> Patch<C> {
        self.note(field, T::JSON_TYPE, Limit::Allowed(allowed));
        let chosen = match input {
            Input::Absent => return Patch::Keep,
            Input::Null => return self.null(),
            Input::Given(value) => choose(value),
            Input::Wrong => None,
        };
        match chosen {
            Some(value) => Patch::Set(value),
            None => {
                self.problem(field, Problem::NotOneOf(allowed));
                Patch::Keep
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_integers_whatever_their_notation() {
        for (json, integer) in
            [(json!(100), Some(100)), (json!(100.0), Some(100)), (json!(-1e3), Some(-1000))]
        {
            assert_eq!(i64::from_json(json), integer);
        }
        for json in [json!(1.5), json!("100"), json!(true), json!(1e300), json!(u64::MAX), json!([1])] {
            assert_eq!(i64::from_json(json.clone()), None, "{json}");
        }
    }

    #[test]
    fn every_broken_rule_is_reported() {
        let mut checker = Checker::for_new();
        checker.required_text("a", Input::Null, 5);
        checker.text("b", Input::Given("六个汉字长了".into()), 5);
        checker.text("c", Input::Wrong, 5);
        let fields: Vec<_> = checker.finish(()).expect_err("three problems").errors;
        let problems: Vec<_> = fields.iter().map(|error| error.problem).collect();
        assert_eq!(problems, [Problem::Required, Problem::TooLong(5), Problem::NotText]);
    }

    #[test]
    fn a_wrong_type_is_not_also_reported_as_missing() {
        let mut checker = Checker::for_new();
        checker.required_text("a", Input::Wrong, 5);
        assert_eq!(checker.finish(()).expect_err("one problem").errors.len(), 1);
    }

    #[test]
    fn null_clears_or_keeps_as_configured() {
        assert_eq!(Checker::for_patch(false).text("a", Input::Null, 5), Patch::Clear);
        assert_eq!(Checker::for_patch(true).text("a", Input::Null, 5), Patch::Keep);
        assert_eq!(Checker::for_patch(true).text("a", Input::Given(" ".into()), 5), Patch::Clear);
    }
}
