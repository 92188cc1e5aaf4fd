//! What a JSON object says of a caller: a JWT's claims, or the platform's answer.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::principal::{Binding, Principal, Role, SourceKind};
use crate::domain::TenantId;

/// This cell's code in `allowedCells`.
const CELL: &str = "crm";

/// The members of a JSON object, each given once.
#[derive(Default)]
pub(super) struct Members(BTreeMap<String, Value>);

/// A member that is there but makes no sense; says which one, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonsense(pub(super) &'static str);

/// A member that names tenants.
pub(super) struct TenantMember<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Whether it may hold an array of ids.
    pub(super) several: bool,
}

/// A caller as described by [`Members`].
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// Whether `allowedCells` lets the caller into this cell.
    pub(super) cell_allowed: bool,
}

impl Members {
    /// Reads an object. `None` if the text is not one, or gives a member twice: readers differ on which one counts.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The same without the members that are `null`, for a peer that writes `null` for "none".
    pub(super) fn without_nulls(mut self) -> Self {
        self.0.retain(|_, value| !value.is_null());
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The caller called `user`, with the role, cells, tenants and scope that the object gives it.
    pub(super) fn caller(
        &self,
        user: Arc<str>,
        source: SourceKind,
        tenant_members: &[TenantMember<'_>],
    ) -> Result<Caller, Nonsense> {
        let role = self.role()?;
        Ok(Caller {
            cell_allowed: role == Role::Admin || self.cell_allowed()?,
            principal: Principal {
                user,
                role,
                source,
                tenants: self.tenants(tenant_members)?,
                own_rows_only: self.own_rows_only()?,
            },
        })
    }

    fn role(&self) -> Result<Role, Nonsense> {
        let mut names = Vec::new();
        if let Some(role) = self.get("role") {
            names.push(role.as_str().ok_or(Nonsense("role"))?);
        }
        if let Some(roles) = self.get("roles") {
            names.extend(texts(roles).ok_or(Nonsense("roles"))?);
        }
        Ok(Role::highest(names))
    }

    fn cell_allowed(&self) -> Result<bool, Nonsense> {
        let Some(cells) = self.get("allowedCells") else {
            return Ok(true);
        };
        let cells = cells.as_array().ok_or(Nonsense("allowedCells"))?;
        if !cells.iter().all(Value::is_string) {
            return Err(Nonsense("allowedCells"));
        }
        Ok(cells.is_empty() || cells.iter().any(|cell| cell == CELL))
    }

    fn own_rows_only(&self) -> Result<bool, Nonsense> {
        let Some(scope) = self.get("dataScope") else {
            return Ok(false);
        };
        let scope = scope.as_str().ok_or(Nonsense("dataScope"))?;
        // `Self` must not widen what `self` narrows.
        Ok(scope.eq_ignore_ascii_case("self"))
    }

    /// The tenants; members that are there must agree, or nobody can say which one was meant.
    fn tenants(&self, members: &[TenantMember<'_>]) -> Result<Binding, Nonsense> {
        let mut found: Option<BTreeSet<TenantId>> = None;
        for TenantMember { name, several } in members {
            let Some(value) = self.get(name) else { continue };
            if value.is_array() && !several {
                return Err(Nonsense("tenant"));
            }
            let ids = texts(value).ok_or(Nonsense("tenant"))?;
            let ids: Result<BTreeSet<TenantId>, _> = ids.into_iter().map(str::parse).collect();
            let ids = ids.map_err(|_| Nonsense("tenant"))?;
            if ids.is_empty() || found.as_ref().is_some_and(|earlier| *earlier != ids) {
                return Err(Nonsense("tenant"));
            }
            found = Some(ids);
        }
        Ok(found.map_or(Binding::Unbound, Binding::To))
    }
}

/// The texts of a text or of an array of texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            match members.entry(name) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(_) => return Err(A::Error::custom("a member is given twice")),
            };
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANTS: [TenantMember<'_>; 3] = [
        TenantMember { name: "tenantId", several: true },
        TenantMember { name: "tenant_id", several: false },
        TenantMember { name: "org", several: true },
    ];

    fn caller(json: &str) -> Result<Caller, Nonsense> {
        let members = Members::parse(json.as_bytes()).expect("an object");
        members.caller("u".into(), SourceKind::Jwt, &TENANTS)
    }

    fn tenants(json: &str) -> Result<Vec<String>, Nonsense> {
        Ok(match caller(json)?.principal.tenants {
            Binding::Unbound => Vec::new(),
            Binding::To(ids) => ids.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn only_an_object_without_duplicates_is_read() {
        for json in [
            "",
            "[]",
            "null",
            "\"a\"",
            "{",
            "{}x",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(Members::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(
            Members::parse(br#" {"a":{"b":1,"b":2}} "#).is_some(),
            "nested objects are nobody's business"
        );
    }

    #[test]
    fn reads_the_tenants_and_refuses_what_is_none() {
        let table: [(&str, &[&str]); 6] = [
            (r#"{}"#, &[]),
            (r#"{"tenantId":"a"}"#, &["a"]),
            (r#"{"tenantId":["b","a","b"]}"#, &["a", "b"]),
            (r#"{"org":["x"]}"#, &["x"]),
            (r#"{"tenantId":"a","tenant_id":"a","org":["a"]}"#, &["a"]),
            (r#"{"other":5,"tenant_id":"a"}"#, &["a"]),
        ];
        for (json, ids) in table {
            assert_eq!(tenants(json).expect(json), ids, "{json}");
        }
        for json in [
            r#"{"tenantId":null}"#,
            r#"{"tenantId":""}"#,
            r#"{"tenantId":"../a"}"#,
            r#"{"tenantId":5}"#,
            r#"{"tenantId":{"id":"a"}}"#,
            r#"{"tenantId":[]}"#,
            r#"{"tenantId":["a",5]}"#,
            r#"{"tenantId":["a","b/"]}"#,
            r#"{"tenant_id":["a"]}"#,
            r#"{"tenantId":"a","tenant_id":"b"}"#,
            r#"{"tenantId":["a","b"],"org":"a"}"#,
            r#"{"tenantId":"a","org":null}"#,
        ] {
            assert_eq!(tenants(json), Err(Nonsense("tenant")), "{json}");
        }
    }

    #[test]
    fn reads_role_and_roles_together() {
        let table = [
            (r#"{}"#, Role::Member),
            (r#"{"role":"readonly"}"#, Role::Readonly),
            (r#"{"roles":["x","manager","readonly"]}"#, Role::Manager),
            (r#"{"roles":"admin"}"#, Role::Admin),
            (r#"{"role":"readonly","roles":["service"]}"#, Role::Service),
        ];
        for (json, role) in table {
            assert_eq!(caller(json).map(|caller| caller.principal.role), Ok(role), "{json}");
        }
        for json in [
            r#"{"role":5}"#,
            r#"{"role":["admin"]}"#,
            r#"{"roles":{"a":"admin"}}"#,
            r#"{"roles":["admin",1]}"#,
        ] {
            assert!(caller(json).is_err(), "{json}");
        }
    }

    #[test]
    fn cells_confine_everyone_but_an_admin() {
        let table = [
            (r#"{}"#, true),
            (r#"{"allowedCells":[]}"#, true),
            (r#"{"allowedCells":["erp","crm"]}"#, true),
            (r#"{"allowedCells":["erp"]}"#, false),
            (r#"{"allowedCells":["CRM","crm-x"],"role":"manager"}"#, false),
            (r#"{"allowedCells":["erp"],"role":"admin"}"#, true),
        ];
        for (json, allowed) in table {
            assert_eq!(caller(json).map(|caller| caller.cell_allowed), Ok(allowed), "{json}");
        }
        for json in
            [r#"{"allowedCells":"crm"}"#, r#"{"allowedCells":["crm",1]}"#, r#"{"allowedCells":{"crm":true}}"#]
        {
            assert_eq!(caller(json).err(), Some(Nonsense("allowedCells")), "{json}");
        }
    }

    #[test]
    fn the_self_scope_narrows_in_any_letter_case() {
        for (json, own) in [
            (r#"{"dataScope":"self"}"#, true),
            (r#"{"dataScope":"SELF"}"#, true),
            (r#"{"dataScope":"all"}"#, false),
            (r#"{}"#, false),
        ] {
            assert_eq!(caller(json).map(|caller| caller.principal.own_rows_only), Ok(own), "{json}");
        }
        assert_eq!(caller(r#"{"dataScope":["self"]}"#).err(), Some(Nonsense("dataScope")));
    }
}
