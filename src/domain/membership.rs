//! Who belongs to a tenant.

/// What a tenant's list of members says of a user (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The tenant has no members, or there is no such tenant.
    NoMembers,
    /// The user is one of them.
    Member,
    /// The tenant has members, and the user is none of them.
    Stranger,
}
