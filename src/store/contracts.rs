//! Contracts signed in the ERP, as the last of their events has them; and tasks completed in the OA.

use sqlx::Row as _;

use crate::domain::{ContractSigned, ContractStanding, Timestamp};
use crate::tenancy::{Read, StoreError, Write};

/// What is kept of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The deal that it belongs to, if that is known.
    pub opportunity_id: Option<String>,
    /// It is what closed that deal: the deal's amount and date follow it.
    pub has_won: bool,
    /// Which event is the last one about it.
    pub standing: ContractStanding,
}

/// The contract of this key, if one was heard of.
///
/// # Errors
/// See [`StoreError`].
pub async fn get(db: &mut Read, key: &str) -> Result<Option<Contract>, StoreError> {
    let sql = "select opportunity_id, has_won, signed_at, said_at, event_id from contracts where key = ?1";
    let Some(row) = sqlx::query(sql).bind(key).fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    Ok(Some(Contract {
        opportunity_id: row.try_get(0)?,
        has_won: row.try_get(1)?,
        standing: ContractStanding {
            signed_at: Timestamp::from_millis(row.try_get(2)?),
            said_at: Timestamp::from_millis(row.try_get(3)?),
            event_id: row.try_get(4)?,
        },
    }))
}

/// Keeps what an event says of a contract: whose it is, and which deal it belongs to, if that is known.
///
/// # Errors
/// See [`StoreError`].
pub async fn put(
    tx: &mut Write,
    contract: &ContractSigned,
    customer_id: &str,
    opportunity: Option<(&str, bool)>,
) -> Result<(), StoreError> {
    let ContractStanding { signed_at, said_at, event_id } = &contract.standing;
    sqlx::query(
        "insert or replace into contracts (key, contract_no, customer_id, opportunity_id, has_won, amount_cents, \
         currency, signed_at, order_id, said_at, event_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .bind(&contract.key)
    .bind(&contract.contract_no)
    .bind(customer_id)
    .bind(opportunity.map(|(id, _)| id))
    .bind(opportunity.is_some_and(|(_, has_won)| has_won))
    .bind(contract.amount_cents)
    .bind(contract.currency.map(crate::domain::Currency::code))
    .bind(signed_at.millis())
    .bind(&contract.order_id)
    .bind(said_at.millis())
    .bind(event_id)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// The follow-up that a task of the OA became, if it did.
///
/// # Errors
/// See [`StoreError`].
pub async fn follow_up_of_task(db: &mut Read, task_id: &str) -> Result<Option<String>, StoreError> {
    let sql = "select follow_up_id from oa_tasks where task_id = ?1";
    Ok(sqlx::query_scalar(sql).bind(task_id).fetch_optional(&mut *db).await?)
}

/// Keeps which follow-up a task of the OA became.
///
/// # Errors
/// See [`StoreError`].
pub async fn put_task(tx: &mut Write, task_id: &str, follow_up_id: &str) -> Result<(), StoreError> {
    let sql = "insert into oa_tasks (task_id, follow_up_id) values (?1, ?2)";
    sqlx::query(sql).bind(task_id).bind(follow_up_id).execute(&mut *tx).await?;
    Ok(())
}
