//! What one request left in a tenant's file: for operators who are asked what became of it.

use serde_json::value::RawValue;
use sqlx::Row as _;

use crate::tenancy::{Read, StoreError};

/// What a request left. The rows are JSON arrays of objects, as the file has them: personal data is masked.
#[derive(Debug)]
pub struct Left {
    /// Changes, from the journal.
    pub journal: Box<RawValue>,
    /// Events that go out, with what became of them.
    pub events: Box<RawValue>,
}

/// What the request of this id left. Reads the whole journal: an index by request would make every write dearer.
///
/// # Errors
/// See [`StoreError`].
pub async fn left_by(db: &mut Read, request_id: &str) -> Result<Left, StoreError> {
    let row = sqlx::query(
        "with mine as materialized (select * from journal where request_id = ?1) \
         select (select json_group_array(json_object('seq', seq, 'at', at, 'actor', actor, 'action', action, \
                'resource', resource, 'recordId', record_id, 'version', version, 'traceId', trace_id, \
                'changes', json(changes))) from mine), \
            (select json_group_array(json_object('eventId', event_id, 'type', type, 'recordId', record_id, \
                'at', at, 'state', state, 'attempts', attempts, 'failure', failure)) \
             from outbox where at between (select min(at) from mine) and (select max(at) from mine) \
             and exists (select 1 from mine where mine.record_id = outbox.record_id and mine.at = outbox.at))",
    );
    let row = row.bind(request_id).fetch_one(&mut *db).await?;
    let json = |position: usize| -> Result<Box<RawValue>, StoreError> {
        Ok(RawValue::from_string(row.try_get(position)?)?)
    };
    Ok(Left { journal: json(0)?, events: json(1)? })
}
