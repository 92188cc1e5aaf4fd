//! Which tenant a principal is admitted to.

use super::error::Denied;
use super::principal::{Binding, Principal, SourceKind};
use crate::config;
use crate::domain::{Membership, TenantId};

/// The tenant a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether nothing but the request's own word led to it: the tenant's members decide, see
    /// [`Identity::admit_unbound`](super::Identity::admit_unbound).
    pub unbound: bool,
}

/// How unbound callers are treated, and the tenant of those that name none.
pub(super) struct Admitting {
    pub(super) unbound: config::Binding,
    pub(super) default_id: TenantId,
}

impl Admitting {
    /// Holds the principal's tenants against the one the request names.
    pub(super) fn admit(
        &self,
        principal: &Principal,
        header: Option<&TenantId>,
    ) -> Result<Admission, Denied> {
        match &principal.tenants {
            Binding::To(bound) => {
                let only = || bound.first().filter(|_| bound.len() == 1);
                let wanted = header.or_else(only).unwrap_or(&self.default_id);
                let tenant = bound.get(wanted).cloned().ok_or(Denied::TenantMismatch)?;
                Ok(Admission { tenant, unbound: false })
            }
            // No list of members can bind a caller whom nobody vouches for.
            Binding::Unbound if self.is_strict() && !is_vouched_for(principal) => Err(Denied::TenantMismatch),
            Binding::Unbound => {
                let tenant = header.unwrap_or(&self.default_id).clone();
                Ok(Admission { tenant, unbound: true })
            }
        }
    }

    /// Holds an unbound principal against what the tenant's members say of its user.
    pub(super) fn admit_unbound(&self, principal: &Principal, membership: Membership) -> Result<(), Denied> {
        let admitted = match membership {
            Membership::Member => is_vouched_for(principal),
            Membership::NoMembers => !self.is_strict(),
            Membership::Stranger => false,
        };
        if admitted { Ok(()) } else { Err(Denied::TenantMismatch) }
    }

    fn is_strict(&self) -> bool {
        self.unbound == config::Binding::Strict
    }
}

/// Whether the user's name is more than what the request itself says.
fn is_vouched_for(principal: &Principal) -> bool {
    principal.source != SourceKind::Nobody
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principal::Role;

    fn id(text: &str) -> TenantId {
        text.parse().expect("a tenant id")
    }

    fn principal(tenants: Option<&[&str]>) -> Principal {
        Principal {
            user: "u".into(),
            role: Role::Admin,
            source: SourceKind::Jwt,
            tenants: tenants
                .map_or(Binding::Unbound, |ids| Binding::To(ids.iter().map(|text| id(text)).collect())),
            own_rows_only: false,
        }
    }

    #[test]
    fn admits_by_binding_and_header() {
        use crate::config::Binding::{Header, Strict};
        let mismatch = Err(Denied::TenantMismatch);
        let bound = |text| Ok(Admission { tenant: id(text), unbound: false });
        let unbound = |text| Ok(Admission { tenant: id(text), unbound: true });
        type Row<'a> = (Option<&'a [&'a str]>, Option<&'a str>, config::Binding, Result<Admission, Denied>);
        let table: [Row<'_>; 14] = [
            (Some(&["a"]), Some("a"), Header, bound("a")),
            (Some(&["a"]), Some("b"), Header, mismatch.clone()),
            (Some(&["a"]), Some("A"), Header, mismatch.clone()),
            (Some(&["a"]), Some("home"), Header, mismatch.clone()),
            (Some(&["a"]), None, Header, bound("a")),
            (Some(&["a"]), None, Strict, bound("a")),
            (Some(&["a", "b"]), Some("b"), Strict, bound("b")),
            (Some(&["a", "b"]), None, Header, mismatch.clone()),
            (Some(&["a", "home"]), None, Header, bound("home")),
            (Some(&[]), None, Header, mismatch.clone()),
            (None, Some("b"), Header, unbound("b")),
            (None, None, Header, unbound("home")),
            (None, Some("b"), Strict, unbound("b")),
            (None, None, Strict, unbound("home")),
        ];
        for (tenants, header, rule, expected) in table {
            let admitting = Admitting { unbound: rule, default_id: id("home") };
            let header_id = header.map(id);
            let admission = admitting.admit(&principal(tenants), header_id.as_ref());
            assert_eq!(admission, expected, "{tenants:?} {header:?} {rule:?}");
        }
    }

    #[test]
    fn members_decide_about_unbound_callers_whom_somebody_vouches_for() {
        use crate::config::Binding::{Header, Strict};
        use Membership::{Member, NoMembers, Stranger};
        let table = [
            (Header, SourceKind::Jwt, [true, true, false]),
            (Strict, SourceKind::Jwt, [false, true, false]),
            (Header, SourceKind::Nobody, [true, false, false]),
            (Strict, SourceKind::Nobody, [false, false, false]),
        ];
        for (rule, source, expected) in table {
            let admitting = Admitting { unbound: rule, default_id: id("home") };
            let principal = Principal { source, ..principal(None) };
            let admitted = [NoMembers, Member, Stranger]
                .map(|membership| admitting.admit_unbound(&principal, membership).is_ok());
            assert_eq!(admitted, expected, "{rule:?} {source:?}");
        }
    }
}
