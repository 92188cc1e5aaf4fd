//! The users whom the tenant's own file binds to it (contract §5).

use std::collections::HashSet;

use crate::domain::Membership;

/// A copy of the table `members` as it was when the file was opened: every unbound request asks it.
#[derive(Debug, Default)]
pub struct Members(pub(in crate::tenancy) HashSet<String>);

impl Members {
    /// What they say of a user.
    #[must_use]
    pub fn membership(&self, user: &str) -> Membership {
        if self.0.is_empty() {
            Membership::NoMembers
        } else if self.0.contains(user) {
            Membership::Member
        } else {
            Membership::Stranger
        }
    }
}
