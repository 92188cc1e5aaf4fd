//! The name of a tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A tenant's id: `^[A-Za-z0-9_][A-Za-z0-9._:@~-]{0,63}$`, without `..` and without a trailing dot (contract §4).
///
/// Case-sensitive. Cheap to clone. Parsing is the only way to make one, so that whatever holds a `TenantId` may turn
/// it into a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// The text is not a tenant id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant id has 1 to 64 of A-Z a-z 0-9 . _ : @ ~ -, starts with a letter, digit or _, has no '..' and no dot at the end"
)]
pub struct InvalidTenantId;

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@~-".contains(&b);
        let fits = text.len() <= Self::MAX_LEN && text.bytes().all(allowed);
        if starts_well && fits && !text.contains("..") && !text.ends_with('.') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenantId)
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_contract_allows() {
        for id in ["default", "Acme", "_x", "9", "a.b", "a:b@c~d-e_f", &"x".repeat(64)] {
            assert_eq!(id.parse::<TenantId>().expect(id).as_str(), id);
        }
    }

    #[test]
    fn refuses_everything_else() {
        let too_long = "x".repeat(65);
        for id in [
            "", ".", "..", "a..b", "a.", ".a", "-a", "../etc", "a/b", "a\\b", "a b", "租户", "a\0", "a%2f",
            &too_long,
        ] {
            assert_eq!(id.parse::<TenantId>(), Err(InvalidTenantId), "{id:?}");
        }
    }
}
