//! JWTs that were proven a moment ago.

use std::sync::Arc;

use moka::sync::Cache;

use super::bearer::Digest;
use super::principal::Principal;
use crate::domain::Timestamp;

/// Tokens that are kept; the least used give way.
const TOKENS: u64 = 10_000;
/// The longest a token is believed without being proven again.
const KEEP_MS: i64 = 60_000;

/// The callers of tokens that were proven lately, by the tokens' digests. It belongs to the keys that proved them: with
/// other keys comes another one. A refusal is not kept: anybody could fill it with those.
#[derive(Debug)]
pub(super) struct Proven(Cache<Digest, Proof>);

#[derive(Debug, Clone)]
struct Proof {
    principal: Arc<Principal>,
    /// When it was proven: a clock that is set back proves it again.
    from: Timestamp,
    until: Timestamp,
}

impl Default for Proven {
    fn default() -> Self {
        Self(Cache::new(TOKENS))
    }
}

impl Proven {
    /// Whose token it is, if it was proven and is still valid.
    pub(super) fn find(&self, token: &Digest, now: Timestamp) -> Option<Arc<Principal>> {
        let proof = self.0.get(token)?;
        (proof.from <= now && now < proof.until).then_some(proof.principal)
    }

    /// Keeps the token of `principal`, which is invalid from `expiry` on.
    pub(super) fn keep(&self, token: Digest, principal: Arc<Principal>, now: Timestamp, expiry: Timestamp) {
        let until = expiry.min(Timestamp::from_millis(now.millis().saturating_add(KEEP_MS)));
        self.0.insert(token, Proof { principal, from: now, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principal::{Binding, Role, SourceKind};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn principal() -> Arc<Principal> {
        Arc::new(Principal {
            user: "u1".into(),
            role: Role::Member,
            source: SourceKind::Jwt,
            tenants: Binding::Unbound,
            own_rows_only: false,
        })
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let proven = Proven::default();
        proven.keep([1; 32], principal(), at(1000), at(5000));
        assert!(proven.find(&[1; 32], at(4999)).is_some());
        assert!(proven.find(&[1; 32], at(5000)).is_none());
        assert!(proven.find(&[2; 32], at(1000)).is_none());
    }

    #[test]
    fn a_token_is_proven_again_after_a_minute_and_when_the_clock_was_set_back() {
        let proven = Proven::default();
        proven.keep([1; 32], principal(), at(1000), at(i64::MAX));
        assert!(proven.find(&[1; 32], at(60_999)).is_some());
        assert!(proven.find(&[1; 32], at(61_000)).is_none());
        assert!(proven.find(&[1; 32], at(999)).is_none());
    }
}
