//! Which rows a caller may see and change (contract §5).

use std::sync::Arc;

/// Which rows of a tenant a caller may see and change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Customers and opportunities that this user owns, and the contacts and follow-ups that hang on them or that the
    /// user owns.
    Own(Arc<str>),
}

impl Scope {
    /// The user whose rows these are; `None` for all rows.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Own(user) => Some(user),
        }
    }
}
