//! Service tokens: fixed tokens of other services and of operators (`CRM_SERVICE_TOKENS`).

use std::collections::BTreeSet;
use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::bearer::{Digest, digest};
use super::error::IdentityError;
use super::principal::{Binding, Principal, Role, SourceKind, visible_user_name};
use crate::domain::TenantId;

const SETTING: &str = "CRM_SERVICE_TOKENS";

/// The shortest token: nobody guesses 20 random characters.
const MIN_TOKEN_CHARS: usize = 20;

/// The configured service tokens; only their digests are kept.
pub(super) struct ServiceTokens(Vec<Entry>);

struct Entry {
    digest: Digest,
    principal: Arc<Principal>,
}

impl ServiceTokens {
    /// Reads `name:token[:role][@tenant,…]` entries, separated by commas or line ends.
    ///
    /// # Errors
    ///
    /// Says which entry is wrong (by its position, and by its name where that cannot be a misplaced token) and why.
    pub(super) fn parse(text: &str) -> Result<Self, IdentityError> {
        let mut entries = Vec::<Entry>::new();
        let mut names = BTreeSet::new();
        for (position, raw) in (1..).zip(split_entries(text)) {
            let entry = parse_entry(&raw, position)?;
            if !names.insert(Arc::clone(&entry.principal.user)) {
                return Err(refused(position, &raw, "has the name of an earlier entry; names must differ"));
            }
            if entries.iter().any(|earlier| earlier.digest == entry.digest) {
                return Err(refused(position, &raw, "has the token of an earlier entry; give each its own"));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(IdentityError::new(SETTING, "is set but holds no entry; add name:token or unset it"));
        }
        Ok(Self(entries))
    }

    /// The principal of the token with this digest.
    ///
    /// All entries are compared, each in constant time, so that the time taken tells nothing of how close a guess is
    /// or which entry it hit.
    pub(super) fn find(&self, digest: &Digest) -> Option<&Arc<Principal>> {
        let mut hit = 0_u64;
        for (number, entry) in (1_u64..).zip(&self.0) {
            hit.conditional_assign(&number, entry.digest.as_slice().ct_eq(digest.as_slice()));
        }
        let index = usize::try_from(hit).ok()?.checked_sub(1)?;
        Some(&self.0.get(index)?.principal)
    }
}

/// One entry's text, before it is understood.
struct RawEntry<'a> {
    head: &'a str,
    tenants: Option<Vec<&'a str>>,
}

/// Cuts the setting into entries.
///
/// A line end always ends an entry. A comma does too, except that inside an entry's `@` list it separates tenants: a
/// piece then starts a new entry only if it reads `name:token` with a token of full length, since tenant ids may
/// contain `:` as well.
fn split_entries(text: &str) -> Vec<RawEntry<'_>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let first_of_line = entries.len();
        for piece in line.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let list = entries.get_mut(first_of_line..).and_then(<[_]>::last_mut);
            if let Some(RawEntry { tenants: Some(tenants), .. }) = list
                && !starts_entry(piece)
            {
                tenants.push(piece);
                continue;
            }
            let (head, tenants) = match piece.split_once('@') {
                Some((head, tenant)) => (head.trim(), Some(vec![tenant.trim()])),
                None => (piece, None),
            };
            entries.push(RawEntry { head, tenants });
        }
    }
    entries
}

fn starts_entry(piece: &str) -> bool {
    let head = piece.split_once('@').map_or(piece, |(head, _)| head);
    head.split(':').nth(1).is_some_and(|token| token.trim().chars().count() >= MIN_TOKEN_CHARS)
}

fn parse_entry(raw: &RawEntry<'_>, position: usize) -> Result<Entry, IdentityError> {
    let refuse = |problem| Err(refused(position, raw, problem));
    let parts: Vec<&str> = raw.head.split(':').map(str::trim).collect();
    let (name, token, role) = match parts[..] {
        [name, token] => (name, token, "service"),
        [name, token, role] => (name, token, role),
        _ => return refuse("is not name:token[:role][@tenant,…]; a token must not contain ':' or '@'"),
    };
    let Some(user) = visible_user_name(name) else {
        return refuse("needs a name of 1 to 128 visible characters");
    };
    if token.chars().count() < MIN_TOKEN_CHARS {
        return refuse("has a token of less than 20 characters; make one with `openssl rand -hex 32`");
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("has a token with characters that no header can carry; use letters and digits");
    }
    let Ok(role) = role.parse::<Role>() else {
        return refuse("has an unknown role; use admin, manager, member, readonly or service");
    };
    let tenants = match &raw.tenants {
        None => Binding::Unbound,
        Some(ids) => match ids.iter().map(|id| id.parse()).collect::<Result<BTreeSet<TenantId>, _>>() {
            Ok(ids) => Binding::To(ids),
            Err(_) => return refuse("names something after '@' that is no tenant id"),
        },
    };
    Ok(Entry {
        digest: digest(token),
        principal: Arc::new(Principal {
            user,
            role,
            source: SourceKind::ServiceToken,
            tenants,
            own_rows_only: false,
        }),
    })
}

/// The error of one entry. Its name is shown unless it is as long as a token: then the two may have been swapped.
fn refused(position: usize, raw: &RawEntry<'_>, problem: &str) -> IdentityError {
    let name = raw.head.split_once(':').map(|(name, _)| name.trim());
    let name = name.filter(|name| !name.is_empty() && name.chars().count() < MIN_TOKEN_CHARS);
    let entry = match name {
        Some(name) => format!("entry {position} ({name})"),
        None => format!("entry {position}"),
    };
    IdentityError::new(SETTING, format!("{entry} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbb";

    fn found(tokens: &ServiceTokens, token: &str) -> (String, Role, Vec<String>) {
        let principal = tokens.find(&digest(token)).expect("a known token");
        let tenants = match &principal.tenants {
            Binding::Unbound => vec!["(unbound)".to_owned()],
            Binding::To(ids) => ids.iter().map(ToString::to_string).collect(),
        };
        (principal.user.to_string(), principal.role, tenants)
    }

    #[test]
    fn reads_every_form_of_an_entry() {
        let unbound = || vec!["(unbound)".to_owned()];
        let to = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        let table = [
            (format!("a:{A}"), Role::Service, unbound()),
            (format!(" a : {A} : admin "), Role::Admin, unbound()),
            (format!("a:{A}:client"), Role::Member, unbound()),
            (format!("a:{A}@t1"), Role::Service, to(&["t1"])),
            (format!("a:{A}:readonly@t1,t2 , t3"), Role::Readonly, to(&["t1", "t2", "t3"])),
            (format!("a:{A}@t1,eu:t2,x@y,b:{B}@t9"), Role::Service, to(&["eu:t2", "t1", "x@y"])),
            (format!("\n\r\n b:{B} \r\n\n a:{A}:manager@t1\n"), Role::Manager, to(&["t1"])),
            (format!("b:{B}:admin,a:{A},"), Role::Service, unbound()),
        ];
        for (text, role, tenants) in table {
            let tokens = ServiceTokens::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found(&tokens, A), ("a".to_owned(), role, tenants), "{text}");
        }
    }

    #[test]
    fn an_entry_after_a_tenant_list_is_an_entry() {
        let tokens = ServiceTokens::parse(&format!("a:{A}@t1,t2,b:{B}:readonly@t3,t4")).expect("two entries");
        assert_eq!(found(&tokens, A).2, ["t1", "t2"]);
        assert_eq!(
            found(&tokens, B),
            ("b".to_owned(), Role::Readonly, vec!["t3".to_owned(), "t4".to_owned()])
        );
    }

    #[test]
    fn a_line_end_ends_a_tenant_list() {
        let error = ServiceTokens::parse(&format!("a:{A}@t1,\nops:short")).err().expect("a short token");
        assert!(error.to_string().contains("entry 2 (ops)"), "{error}");
    }

    #[test]
    fn refuses_to_start_and_names_the_entry_never_the_token() {
        let short = "s3cr3t-s3cr3t-s3cr3";
        let table = [
            (format!("a:{short}"), "entry 1 (a)"),
            (format!("b:{B},a:{short}:admin"), "entry 2 (a)"),
            (format!("a:{A}:owner"), "entry 1 (a)"),
            (format!("a:{A}:"), "entry 1 (a)"),
            (format!("a:{A}:admin:x"), "entry 1 (a)"),
            (format!("a:{A}@"), "entry 1 (a)"),
            (format!("a:{A}@../x"), "entry 1 (a)"),
            (format!("a:{A}@t1, t/2"), "entry 1 (a)"),
            (format!(":{A}"), "entry 1 "),
            (format!("a b:{A}"), "entry 1 (a b)"),
            (format!("a:{A}é"), "entry 1 (a)"),
            (A.to_owned(), "entry 1 "),
            (format!("{A}:a"), "entry 1 "),
            (format!("a:{A},a:{B}"), "entry 2 (a)"),
            (format!("a:{A},b:{A}"), "entry 2 (b)"),
            (" \n , ".to_owned(), "no entry"),
        ];
        for (text, names) in table {
            let error = ServiceTokens::parse(&text).err().unwrap_or_else(|| panic!("accepted {text}"));
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(names), "{text}: {shown}");
            assert!(![A, B, short].iter().any(|token| shown.contains(token)), "{shown}");
        }
    }

    #[test]
    fn finds_nothing_but_whole_tokens() {
        let tokens = ServiceTokens::parse(&format!("a:{A},b:{B}")).expect("two entries");
        for guess in [&A[1..], &format!("{A}a"), "", "c", &A.to_uppercase()] {
            assert!(tokens.find(&digest(guess)).is_none(), "{guess}");
        }
    }
}
