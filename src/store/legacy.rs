//! Rows of the Python cell's database: the records they become, and where each of them went.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::{contacts, customers, follow_ups, opportunities};
use crate::domain::{Contact, Customer, FollowUp, Opportunity, Timestamp};
use crate::tenancy::{Read, StoreError, Write};

/// What became of a source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A record that holds all of it.
    Imported,
    /// A record that differs from it; the row itself is kept beside.
    Repaired,
    /// No record: the row is only kept.
    Kept,
}

impl Outcome {
    /// The word that stands for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Repaired => "repaired",
            Self::Kept => "kept",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Imported, Self::Repaired, Self::Kept].into_iter().find(|outcome| outcome.word() == word)
    }
}

/// Where a source row went.
#[derive(Debug, Clone, Serialize)]
pub struct Trail {
    /// The source table.
    pub table: String,
    /// The row's key in it.
    pub key: String,
    /// A hash of the row.
    pub digest: String,
    /// What became of it.
    #[serde(serialize_with = "as_word")]
    pub outcome: Outcome,
    /// The rules that were applied, separated by spaces.
    pub reasons: String,
    /// The row as JSON, unless the record holds all of it.
    pub row: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's serialize_with passes the field by reference")]
fn as_word<S: serde::Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

/// An entry of the Python cell's audit log, as an entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its number; greater than all before it.
    pub seq: i64,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// `customer.create`.
    pub action: String,
    /// `customer`.
    pub resource: String,
    /// The record.
    pub record_id: String,
    /// The trace of the request.
    pub trace_id: String,
}

/// What one transaction adds to a tenant.
#[derive(Debug, Default)]
pub struct Batch {
    /// Customers.
    pub customers: Vec<Customer>,
    /// Contacts of these customers or of earlier ones.
    pub contacts: Vec<Contact>,
    /// Opportunities with them.
    pub opportunities: Vec<Opportunity>,
    /// Follow-ups of any of these.
    pub follow_ups: Vec<FollowUp>,
    /// Entries of the audit log.
    pub log: Vec<LogEntry>,
    /// Where the source rows of this batch went.
    pub trails: Vec<Trail>,
}

/// What new records must agree with: what a tenant has already.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Customers, in the trash or not, by id.
    pub customers: HashMap<String, CustomerHeld>,
    /// The keys of the names of live customers.
    pub name_keys: HashSet<String>,
    /// Contacts, in the trash or not, by id.
    pub contacts: HashMap<String, ChildHeld>,
    /// Live customers with a live primary contact.
    pub with_primary: HashSet<String>,
    /// Opportunities, in the trash or not, by id.
    pub opportunities: HashMap<String, ChildHeld>,
    /// Follow-ups, in the trash or not.
    pub follow_ups: HashSet<String>,
    /// The number of the last entry of the journal.
    pub last_log: i64,
}

/// A customer that a tenant has.
#[derive(Debug, Clone)]
pub struct CustomerHeld {
    /// Its owner.
    pub owner_id: String,
    /// It is not in the trash.
    pub is_live: bool,
}

/// A contact or an opportunity that a tenant has.
#[derive(Debug, Clone)]
pub struct ChildHeld {
    /// The customer it belongs to.
    pub customer_id: String,
    /// It is not in the trash.
    pub is_live: bool,
}

/// What the tenant has already.
///
/// # Errors
/// See [`StoreError`].
pub async fn holdings(db: &mut Read) -> Result<Holdings, StoreError> {
    let customers: Vec<(String, String, bool)> =
        sqlx::query_as("select id, owner_id, deleted_at is null from customers").fetch_all(&mut *db).await?;
    let contacts: Vec<(String, String, bool, bool)> =
        sqlx::query_as("select id, customer_id, deleted_at is null, is_primary from contacts")
            .fetch_all(&mut *db)
            .await?;
    let opportunities: Vec<(String, String, bool)> =
        sqlx::query_as("select id, customer_id, deleted_at is null from opportunities")
            .fetch_all(&mut *db)
            .await?;
    let follow_ups: Vec<String> = sqlx::query_scalar("select id from follow_ups").fetch_all(&mut *db).await?;
    let last_log = sqlx::query_scalar("select ifnull(max(seq), 0) from journal").fetch_one(&mut *db).await?;
    let primaries = contacts.iter().filter(|(_, _, is_live, is_primary)| *is_live && *is_primary);
    let held = |customer_id, is_live| ChildHeld { customer_id, is_live };
    Ok(Holdings {
        name_keys: customers::name_keys(db).await?,
        with_primary: primaries.map(|(_, customer_id, ..)| customer_id.clone()).collect(),
        customers: customers
            .into_iter()
            .map(|(id, owner_id, is_live)| (id, CustomerHeld { owner_id, is_live }))
            .collect(),
        contacts: contacts
            .into_iter()
            .map(|(id, customer_id, is_live, _)| (id, held(customer_id, is_live)))
            .collect(),
        opportunities: opportunities
            .into_iter()
            .map(|(id, customer_id, is_live)| (id, held(customer_id, is_live)))
            .collect(),
        follow_ups: follow_ups.into_iter().collect(),
        last_log,
    })
}

/// What is known of a source row that was imported before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What became of it.
    pub outcome: Outcome,
    /// The rules that were applied, separated by spaces.
    pub reasons: String,
    /// A hash of the row.
    pub digest: String,
}

/// Where rows of a source table went that were imported before, by key.
///
/// # Errors
/// See [`StoreError`].
pub async fn trails(
    db: &mut Read,
    table: &str,
    keys: &[String],
) -> Result<HashMap<String, Known>, StoreError> {
    let found: Vec<(String, String, String, String)> = sqlx::query_as(
        "select source_key, outcome, reasons, digest from legacy_rows \
         where source_table = ?1 and source_key in (select value from json_each(?2))",
    )
    .bind(table)
    .bind(json!(keys).to_string())
    .fetch_all(&mut *db)
    .await?;
    // The table's check admits no other words.
    let outcome = |word: &str| Outcome::from_word(word).unwrap_or(Outcome::Kept);
    let known = |(key, word, reasons, digest): (_, String, _, _)| {
        (key, Known { outcome: outcome(&word), reasons, digest })
    };
    Ok(found.into_iter().map(known).collect())
}

/// Adds a batch. Records keep their ids, moments and versions; nothing of this is a change that the journal or other
/// systems are told of.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(tx: &mut Write, batch: Batch) -> Result<(), StoreError> {
    let Batch { customers, contacts, opportunities, follow_ups, log, trails } = batch;
    for customer in &customers {
        customers::insert_row(tx, customer).await?;
    }
    for contact in &contacts {
        contacts::insert_row(tx, contact).await?;
    }
    for opportunity in &opportunities {
        opportunities::insert_row(tx, opportunity).await?;
    }
    for follow_up in &follow_ups {
        follow_ups::insert_row(tx, follow_up).await?;
    }
    let touched: HashSet<&str> =
        follow_ups.iter().filter_map(|follow_up| follow_up.customer_id.as_deref()).collect();
    for customer in touched {
        customers::refresh_follow_ups(tx, customer).await?;
    }
    // The versions of that time are not known: 0.
    sqlx::query(
        "insert into journal (seq, at, actor, action, resource, record_id, version, trace_id, changes) \
         select value->>'seq', value->>'at', value->>'actor', value->>'action', value->>'resource', \
            value->>'record_id', 0, value->>'trace_id', '{}' from json_each(?1)",
    )
    .bind(serde_json::to_string(&log)?)
    .execute(&mut *tx)
    .await?;
    let now: Timestamp = tx.now();
    sqlx::query(
        "insert into legacy_rows (source_table, source_key, digest, outcome, reasons, row, at) \
         select value->>'table', value->>'key', value->>'digest', value->>'outcome', value->>'reasons', value->>'row', ?2 \
         from json_each(?1)",
    )
    .bind(serde_json::to_string(&trails)?)
    .bind(now.millis())
    .execute(&mut *tx)
    .await?;
    Ok(())
}
