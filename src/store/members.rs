//! The members of a tenant: the users whom its own file binds to it (contract §5).

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::domain::Timestamp;
use crate::tenancy::{Change, Read, StoreError, Write};

/// A user bound to the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The user's name, as the sources of identities give it.
    pub user_id: String,
    /// Since when.
    pub added_at: Timestamp,
}

/// All members, by name.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(db: &mut Read) -> Result<Vec<Member>, StoreError> {
    let sql = "select user_id, added_at from members order by user_id";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut *db).await?;
    let member = |(user_id, added_at)| Member { user_id, added_at: Timestamp::from_millis(added_at) };
    Ok(rows.into_iter().map(member).collect())
}

/// Makes users members; those who are stay as they are.
///
/// # Errors
/// See [`StoreError`].
pub async fn add(tx: &mut Write, users: &[Arc<str>]) -> Result<(), StoreError> {
    let sql = "insert into members (user_id, added_at) values (?1, ?2) on conflict do nothing";
    for user in users {
        let now = tx.now().millis();
        let done = sqlx::query(sql).bind(&**user).bind(now).execute(&mut *tx).await?;
        if done.rows_affected() > 0 {
            tx.record(change("member.add", user, [None, Some(user)]));
        }
    }
    Ok(())
}

/// Takes users off the members; those who are none do not matter.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Write, users: &[Arc<str>]) -> Result<(), StoreError> {
    for user in users {
        let sql = "delete from members where user_id = ?1";
        let done = sqlx::query(sql).bind(&**user).execute(&mut *tx).await?;
        if done.rows_affected() > 0 {
            tx.record(change("member.remove", user, [Some(user), None]));
        }
    }
    Ok(())
}

/// A change of the field `userId`, from the first to the second.
fn change(action: &'static str, user: &str, user_id: [Option<&str>; 2]) -> Change {
    let changes = json!({ "userId": user_id });
    Change { action, resource: "member", record_id: user.to_owned(), version: 1, changes, event: None }
}
