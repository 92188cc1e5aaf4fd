//! The last requests, for whoever asks what became of one: who came in how, where the time went. In memory only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use salvo::http::Method;
use serde::{Serialize, Serializer};

use crate::domain::{Scope, TenantId, Timestamp};
use crate::identity::Principal;

/// Requests that are kept, all shards together.
const KEPT: usize = 16 * 1024;
/// Apart, so that requests at the same time do not wait for each other.
const SHARDS: usize = 16;

/// A request that was answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// Its id, as in the answer.
    pub request_id: String,
    /// Of the trace that it belongs to.
    pub trace_id: Option<String>,
    /// When it came in.
    pub at: Timestamp,
    /// GET, POST, …
    #[serde(serialize_with = "as_text")]
    pub method: Method,
    /// The route: the path with the names of what varies.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
    /// From its head to the answer's, in milliseconds.
    pub duration_ms: f64,
    /// Who came in; absent if nobody did.
    pub caller: Option<Caller>,
}

/// How somebody came in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// The tenant that they were admitted to.
    pub tenant: TenantId,
    /// The user.
    pub user: Arc<str>,
    /// Their role.
    pub role: &'static str,
    /// Who vouched for them.
    pub source: &'static str,
    /// They came in on `X-Tenant-Id` alone.
    pub unbound: bool,
    /// They see and change only their own records.
    pub confined: bool,
    /// How long it took until that was settled, in milliseconds.
    pub identity_ms: f64,
}

impl Caller {
    pub(super) fn of(
        principal: &Principal,
        tenant: &TenantId,
        scope: &Scope,
        unbound: bool,
        identity: Duration,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            user: principal.user.clone(),
            role: principal.role.as_str(),
            source: principal.source.as_str(),
            unbound,
            confined: scope.owner().is_some(),
            identity_ms: identity.as_secs_f64() * 1000.0,
        }
    }
}

/// The last requests.
#[derive(Debug, Default)]
pub struct Recent([Mutex<VecDeque<Answered>>; SHARDS]);

impl Recent {
    pub(super) fn add(&self, answered: Answered) {
        let mut shard = self.shard(&answered.request_id).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= KEPT / SHARDS {
            shard.pop_front();
        }
        shard.push_back(answered);
    }

    /// The requests of this id, the last one first: it may have been repeated.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Vec<Answered> {
        let shard = self.shard(request_id).lock().unwrap_or_else(PoisonError::into_inner);
        shard.iter().rev().filter(|answered| answered.request_id == request_id).cloned().collect()
    }

    fn shard(&self, request_id: &str) -> &Mutex<VecDeque<Answered>> {
        // The ends of ids differ. Who chooses them all alike has fewer of their own remembered.
        let ends = request_id.bytes().rev().take(4).map(usize::from);
        &self.0[ends.fold(0, |sum, byte| sum * 31 + byte) % SHARDS]
    }
}

fn as_text<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(request_id: &str, status: u16) -> Answered {
        Answered {
            request_id: request_id.to_owned(),
            trace_id: None,
            at: Timestamp::from_millis(0),
            method: Method::GET,
            route: "customers".to_owned(),
            status,
            duration_ms: 1.0,
            caller: None,
        }
    }

    #[test]
    fn a_request_is_found_with_its_repetitions_until_many_others_came() {
        let recent = Recent::default();
        recent.add(answered("mine", 500));
        recent.add(answered("mine", 201));
        assert_eq!(recent.find("mine").iter().map(|one| one.status).collect::<Vec<_>>(), [201, 500]);
        for number in 0..2 * KEPT {
            recent.add(answered(&format!("other-{number}"), 200));
        }
        assert!(recent.find("mine").is_empty());
        let kept: usize = recent.0.iter().map(|shard| shard.lock().expect("whole").len()).sum();
        assert!(kept <= KEPT);
    }
}
