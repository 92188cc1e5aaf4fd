//! What operators have decided about a tenant: the row `meta` of its own file, so that it goes wherever the file goes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::Timestamp;

/// Whom a tenant serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Reads and writes.
    #[default]
    Active,
    /// Reads only.
    ReadOnly,
    /// Nobody: its file stays closed.
    Suspended,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::ReadOnly, Self::Suspended];

    /// The word in the file and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::ReadOnly => "read-only",
            Self::Suspended => "suspended",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The row `meta`, besides whose file it is; and the schema that the file is at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Whom it serves.
    pub state: State,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Since when; absent if it never was in another.
    pub since: Option<Timestamp>,
    /// It cannot be deleted.
    pub protected: bool,
    /// When the tenant was made.
    pub created_at: Timestamp,
    /// Of what it was made, if not of nothing: a tenant or a backup, and as of when.
    pub origin: Option<serde_json::Value>,
    /// The schema that the file is at.
    pub schema_version: i64,
}

impl Meta {
    /// Reads the row of `meta`. What an older schema lacks is what it is by default.
    ///
    /// # Errors
    /// The row holds something else.
    pub(super) fn of_row(meta: &SqliteRow, schema_version: i64) -> Result<Self, sqlx::Error> {
        let moment = |millis: i64| Timestamp::from_millis(millis);
        let created_at = moment(meta.try_get("created_at")?);
        if meta.try_get_raw("state").is_err() {
            return Ok(Self { created_at, schema_version, ..Self::default() });
        }
        let word: String = meta.try_get("state")?;
        let state = State::from_word(&word).ok_or_else(|| sqlx::Error::Decode(word.into()))?;
        let origin: Option<String> = meta.try_get("origin")?;
        Ok(Self {
            state,
            reason: meta.try_get("reason")?,
            since: meta.try_get::<Option<i64>, _>("state_since")?.map(moment),
            protected: meta.try_get("protected")?,
            created_at,
            origin: origin.and_then(|origin| serde_json::from_str(&origin).ok()),
            schema_version,
        })
    }
}
