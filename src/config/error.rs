//! What can be wrong with a configuration. No message ever contains a secret's value.

use std::fmt;

/// Everything that is wrong with a configuration, so that one start tells all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` when nothing is wrong.
    pub(super) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        problems.dedup();
        Err(Self { problems })
    }

    /// The problems: unreadable sources first, then names, then values.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused:")?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// A file, or the working directory, cannot be read.
    #[error("{asked_by}: {path}: {reason}")]
    Unreadable {
        /// The variable that names the file.
        asked_by: String,
        /// What was to be read; for a secret's file not its name.
        path: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A file is not TOML. The offending line is not quoted, for it may hold a secret.
    #[error("{file}, line {line}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// Where in it, counted from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A file has a key that is no setting.
    #[error("{file}: there is no key {key}; the nearest is {nearest}")]
    UnknownKey {
        /// The file.
        file: String,
        /// The key, `section.key`.
        key: String,
        /// The known key most like it.
        nearest: String,
    },
    /// A variable begins with `CRM_` and is no setting.
    #[error("{name}: there is no such variable; the nearest is {nearest}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known variable most like it.
        nearest: String,
    },
    /// Two variables set one key, and nothing says which of them counts.
    #[error("{first} and {second} set the same thing; keep one of them")]
    SetTwice {
        /// The documented variable.
        first: String,
        /// The other one.
        second: String,
    },
    /// A value cannot be used.
    #[error("{place}: {reason}")]
    Invalid {
        /// The variable, or the file and the key.
        place: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}
