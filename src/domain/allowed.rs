//! The values that a field or a parameter can have: said once, for the check, the error message and the API document.

use std::fmt;

/// The values that a field or a parameter can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these integers.
    Integers(&'static [i64]),
    /// The integers from the first to the second.
    Range(i64, i64),
    /// Text of a form that a list cannot give.
    Form {
        /// How the form is told to people.
        said: &'static str,
        /// Its name in JSON Schema (draft 2020-12, §7.3), if it has one.
        format: Option<&'static str>,
    },
}

impl Allowed {
    /// `YYYY-MM-DD`.
    pub const DATE: Self = Self::Form { said: "YYYY-MM-DD", format: Some("date") };
    /// A moment, with or without an offset, or the beginning of a day. No format of JSON Schema covers it.
    pub const MOMENT: Self =
        Self::Form { said: "2026-11-22T08:00:00+08:00, 2026-11-22T08:00:00, 2026-11-22", format: None };
    /// The code of a currency.
    pub const CURRENCY: Self = Self::Form { said: "ISO 4217 (CNY, USD, …)", format: None };
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(&words.join(", ")),
            Self::Integers(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
                f.write_str(&numbers.join(", "))
            }
            Self::Range(least, most) => write!(f, "{least} … {most}"),
            Self::Form { said, .. } => f.write_str(said),
        }
    }
}
