//! The audit log: who changed what, from the journal of the tenant's file (contract §9).

use serde_json::value::RawValue;
use sqlx::sqlite::SqliteRow;

use super::list::{Filters, List, SortKey};
use super::record::Columns;
use crate::domain::{Page, PageRequest, Timestamp};
use crate::tenancy::{Read, StoreError};

/// One change of one record.
#[derive(Debug)]
pub struct AuditEntry {
    /// Its id; later changes have greater numbers.
    pub id: String,
    /// Who made it.
    pub actor: String,
    /// `customer.create`.
    pub action: String,
    /// `customer`.
    pub resource: String,
    /// The record.
    pub record_id: String,
    /// The trace of the request that made it.
    pub trace_id: Option<String>,
    /// When.
    pub at: Timestamp,
    /// `{"field": [old, new]}`, personal data masked.
    pub changes: Box<RawValue>,
}

const AUDIT_LOG: List<AuditEntry> = List {
    table: "audit_log",
    base: "true",
    columns: "id, actor, action, resource, record_id, trace_id, at, changes",
    own: "actor = ?1",
    lasts: true,
    read: AuditEntry::read,
};

impl AuditEntry {
    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            id: columns.next()?,
            actor: columns.next()?,
            action: columns.next()?,
            resource: columns.next()?,
            record_id: columns.next()?,
            trace_id: columns.next()?,
            at: columns.moment()?,
            changes: RawValue::from_string(columns.next()?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    }
}

/// The order of the journal: the only one of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence;

impl SortKey for Sequence {
    fn column(self) -> &'static str {
        "seq"
    }

    fn is_text(self) -> bool {
        false
    }
}

/// What the audit log can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Changes of this kind of record.
    pub resource: Option<String>,
    /// Changes of this record.
    pub record_id: Option<String>,
    /// Changes by this user.
    pub actor: Option<String>,
    /// At this moment or later.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

/// A page of the audit log.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &AuditFilter,
    request: &PageRequest<Sequence>,
    list: u64,
) -> Result<Page<AuditEntry>, StoreError> {
    let add = |filters: &mut Filters<'_>| {
        filters.text("resource = ", &filter.resource);
        filters.text("record_id = ", &filter.record_id);
        filters.text("actor = ", &filter.actor);
        filters.moment("at >= ", filter.from);
        filters.moment("at < ", filter.to);
    };
    AUDIT_LOG.page(db, request, list, add).await
}
