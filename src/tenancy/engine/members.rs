//! The users whom the tenant's own file binds to it (contract §5).

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::Read;
use crate::domain::Membership;
use crate::tenancy::StoreError;

/// A copy of the table `members`: every unbound request asks it.
#[derive(Debug, Default)]
pub(super) struct Members(RwLock<HashSet<String>>);

impl Members {
    /// What they say of a user.
    pub(super) fn membership(&self, user: &str) -> Membership {
        let members = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if members.is_empty() {
            Membership::NoMembers
        } else if members.contains(user) {
            Membership::Member
        } else {
            Membership::Stranger
        }
    }

    pub(super) fn replace(&self, members: HashSet<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = members;
    }
}

/// Reads the table.
pub(super) async fn read(read: &mut Read) -> Result<HashSet<String>, StoreError> {
    let users: Vec<String> = sqlx::query_scalar("select user_id from members").fetch_all(&mut *read).await?;
    Ok(users.into_iter().collect())
}
