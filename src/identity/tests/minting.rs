//! Development tokens are tokens of this cell.

use super::*;
use crate::identity::{Binding, DevToken, MintError, Role, SourceKind, mint};

fn plain() -> DevToken<'static> {
    DevToken {
        user: "developer",
        tenant: None,
        role: None,
        own_rows_only: false,
        ttl: Duration::from_secs(3600),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

#[tokio::test]
async fn a_minted_token_is_accepted_by_a_cell_with_the_same_settings() {
    let auth = config::Auth {
        jwt_issuer: Some("ours".to_owned()),
        jwt_audience: Some("crm".to_owned()),
        ..with_secret()
    };
    let acme = "acme".parse().expect("an id");
    let wanted = DevToken { tenant: Some(&acme), role: Some(Role::Manager), own_rows_only: true, ..plain() };

    let token = mint(&wanted, &auth, now()).expect("minted");

    let principal = ask(&identity(&auth), &token).await.expect("accepted");
    let expected = Principal {
        user: "developer".into(),
        role: Role::Manager,
        source: SourceKind::Jwt,
        tenants: Binding::To([acme.clone()].into()),
        own_rows_only: true,
    };
    assert_eq!(*principal, expected);
}

#[tokio::test]
async fn a_plain_minted_token_is_an_unbound_member_for_as_long_as_asked() {
    let token = mint(&plain(), &with_secret(), now()).expect("minted");
    let clock = clock();
    let identity = Identity::new(&with_secret(), &tenants(), Arc::clone(&clock) as _).expect("valid");

    let principal = ask(&identity, &token).await.expect("accepted");
    assert_eq!((principal.role, &principal.tenants), (Role::Member, &Binding::Unbound));
    clock.advance(Duration::from_secs(3600 + 29));
    assert!(ask(&identity, &token).await.is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid));
}

#[test]
fn mints_nothing_that_a_cell_would_refuse_and_says_why() {
    let without = mint(&plain(), &auth(), now()).expect_err("no secret");
    assert!(without.to_string().contains("CRM_JWT_SECRET=\"$(openssl rand -hex 32)\""), "{without}");

    let short = config::Auth { jwt_secret: Some("s3cr3t".into()), ..auth() };
    let short = mint(&plain(), &short, now()).expect_err("short");
    assert!(matches!(short, MintError::Setting(_)) && !format!("{short} {short:?}").contains("s3cr3t"));

    for user in ["", " ", "a\nb"] {
        let refused = mint(&DevToken { user, ..plain() }, &with_secret(), now());
        assert!(matches!(refused, Err(MintError::User)), "{user:?}");
    }
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(3651 * 86_400), Duration::MAX]
    {
        let refused = mint(&DevToken { ttl, ..plain() }, &with_secret(), now());
        assert!(matches!(refused, Err(MintError::Ttl)), "{ttl:?}");
    }
}
