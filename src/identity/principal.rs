//! Who a caller is, once that is settled.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::domain::TenantId;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name: owner and author of what the caller writes.
    pub user: Arc<str>,
    /// What the caller may do.
    pub role: Role,
    /// Who vouches for the caller.
    pub source: SourceKind,
    /// The tenants the caller is bound to.
    pub tenants: Binding,
    /// `dataScope=self`: the caller sees and changes only what the user owns.
    pub own_rows_only: bool,
}

/// What a caller may do (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Everything within the tenant.
    Admin,
    /// What a member does, and audit logs, file imports, bulk transfer and purge.
    Manager,
    /// Reads and writes records; also the platform's `client`, and whoever has no known role.
    #[default]
    Member,
    /// Reads.
    Readonly,
    /// A machine: reads, writes and delivers events.
    Service,
}

impl Role {
    /// The role's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Member => "member",
            Self::Readonly => "readonly",
            Self::Service => "service",
        }
    }

    /// The role of a caller with all of these names: the highest of the known ones, `member` if none is known.
    pub(super) fn highest<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = names.into_iter().filter_map(|name| name.parse::<Self>().ok());
        known.max_by_key(|role| role.rank()).unwrap_or_default()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Admin => 4,
            Self::Manager => 3,
            Self::Service => 2,
            Self::Member => 1,
            Self::Readonly => 0,
        }
    }
}

/// The name is not a role's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is admin, manager, member, readonly or service")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    /// Letter case does not count: `READONLY` taken for an unknown name would be raised to `member`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.to_ascii_lowercase().as_str() {
            "admin" => Ok(Self::Admin),
            "manager" => Ok(Self::Manager),
            "member" | "client" => Ok(Self::Member),
            "readonly" => Ok(Self::Readonly),
            "service" => Ok(Self::Service),
            _ => Err(UnknownRole),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who vouches for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A token of `CRM_SERVICE_TOKENS`.
    ServiceToken,
    /// A JWT whose signature a configured key proves.
    Jwt,
    /// The platform's `/api/auth/me`.
    Platform,
    /// Nobody: no source is configured and any token is taken, for development.
    Nobody,
}

impl SourceKind {
    /// The source's name, for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceToken => "service-token",
            Self::Jwt => "jwt",
            Self::Platform => "platform",
            Self::Nobody => "nobody",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tenants an identity names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// None: `CRM_TENANT_BINDING` decides.
    Unbound,
    /// These and no others.
    To(BTreeSet<TenantId>),
}

impl Binding {
    /// Whether no tenant is named.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        *self == Self::Unbound
    }
}

const MAX_USER_CHARS: usize = 128;

/// A user's name from a source that vouches for it: 1 to 128 characters, not blank, no control characters.
#[must_use]
pub fn user_name(text: &str) -> Option<Arc<str>> {
    let fits = text.chars().count() <= MAX_USER_CHARS;
    let legible = !text.trim().is_empty() && !text.contains(char::is_control);
    (fits && legible).then(|| text.into())
}

/// A user's name from `X-User-Id`: as [`user_name`], and without white space.
pub(super) fn visible_user_name(text: &str) -> Option<Arc<str>> {
    user_name(text).filter(|name| !name.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_known_role_wins_and_no_known_role_is_a_member() {
        let table: [(&[&str], Role); 8] = [
            (&[], Role::Member),
            (&["client"], Role::Member),
            (&["root", "superuser"], Role::Member),
            (&["readonly", "root"], Role::Readonly),
            (&["READONLY"], Role::Readonly),
            (&["readonly", "member"], Role::Member),
            (&["member", "service"], Role::Service),
            (&["service", "Manager", "readonly"], Role::Manager),
        ];
        for (names, role) in table {
            assert_eq!(Role::highest(names.iter().copied()), role, "{names:?}");
        }
    }

    #[test]
    fn a_role_is_read_back_by_its_name() {
        for role in [Role::Admin, Role::Manager, Role::Member, Role::Readonly, Role::Service] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!(" admin".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn user_names_are_short_legible_text() {
        let longest = "名".repeat(128);
        for name in ["u", "user@corp", "张 伟", &longest] {
            assert_eq!(user_name(name).as_deref(), Some(name));
        }
        for name in ["", " ", "a\nb", "a\0", "a\u{85}b", &format!("{longest}x")] {
            assert_eq!(user_name(name), None, "{name:?}");
        }
        assert_eq!(visible_user_name("张 伟"), None);
        assert_eq!(visible_user_name("张伟").as_deref(), Some("张伟"));
    }
}
