//! Many new records in one unit. Each of them keeps the rules of a record that is created alone; one that breaks them is left
//! out, and the others are added by one statement.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::customers;
use super::opportunities;
use crate::domain::{Customer, NewCustomer, NewOpportunity, Opportunity, Resource, Violation};
use crate::tenancy::{Addition as _, StoreError, Write};

/// Adds customers. Of those with the same name, the first.
///
/// # Errors
/// For all of them, see [`StoreError`]; for each, what [`NewCustomer`]'s own insertion refuses it for.
pub async fn customers(
    tx: &mut Write,
    new: Vec<NewCustomer>,
) -> Result<Vec<Result<Customer, StoreError>>, StoreError> {
    let keys: Vec<_> = new.iter().map(NewCustomer::name_key).collect();
    let mut taken = named(tx, &keys).await?;
    let mut outcomes = Vec::with_capacity(new.len());
    for (new, key) in new.into_iter().zip(keys) {
        outcomes.push(match taken.get(&key) {
            Some(existing) => {
                let existing = existing.clone();
                Err(StoreError::Violation(Violation::CustomerNameTaken { existing }))
            }
            None => new.prepare(tx).inspect(|customer| {
                taken.insert(key, Some(customer.id.clone()));
            }),
        });
    }
    customers::insert_rows(tx, outcomes.iter().flatten()).await?;
    Ok(outcomes)
}

/// Which of the names are taken, and by which customer, if the caller may see it.
async fn named(tx: &mut Write, keys: &[String]) -> Result<HashMap<String, Option<String>>, StoreError> {
    let taken: Vec<(String, String, String)> = sqlx::query_as(
        "select name_key, id, owner_id from customers \
         where name_key in (select value from json_each(?1)) and deleted_at is null",
    )
    .bind(Value::from(keys).to_string())
    .fetch_all(&mut *tx)
    .await?;
    let scope = tx.scope().owner();
    let visible = |owner: &str| scope.is_none_or(|user| user == owner);
    Ok(taken.into_iter().map(|(key, id, owner)| (key, visible(&owner).then_some(id))).collect())
}

/// Adds opportunities.
///
/// # Errors
/// For all of them, see [`StoreError`]; for each, what [`opportunities::insert`] refuses it for.
pub async fn opportunities(
    tx: &mut Write,
    new: Vec<NewOpportunity>,
) -> Result<Vec<Result<Opportunity, StoreError>>, StoreError> {
    let known = known_customers(tx, &new).await?;
    let mut outcomes = Vec::with_capacity(new.len());
    for new in new {
        outcomes.push(if known.contains(new.customer_id()) {
            opportunities::prepare(tx, new)
        } else {
            Err(StoreError::Violation(Violation::NoSuch(Resource::Customer)))
        });
    }
    opportunities::insert_rows(tx, outcomes.iter().flatten()).await?;
    Ok(outcomes)
}

/// Which of the customers there are, for this caller.
async fn known_customers(tx: &mut Write, new: &[NewOpportunity]) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<_> = new.iter().map(NewOpportunity::customer_id).collect();
    let known: Vec<String> = sqlx::query_scalar(
        "select id from customers where id in (select value from json_each(?1)) and deleted_at is null \
         and (?2 is null or owner_id = ?2)",
    )
    .bind(Value::from(ids).to_string())
    .bind(tx.scope().owner().map(str::to_owned))
    .fetch_all(&mut *tx)
    .await?;
    Ok(known.into_iter().collect())
}
