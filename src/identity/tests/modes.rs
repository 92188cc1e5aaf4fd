//! Which sources are configured, and what each makes of a token.

use super::*;
use crate::identity::{Binding, Role, SourceKind};

const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test]
async fn without_a_source_any_token_is_an_unbound_admin() {
    for strict in [None, Some(false)] {
        let identity = identity(&config::Auth { strict, ..auth() });
        assert!(identity.sources().is_empty());

        let principal = ask(&identity, "any").await.expect("anyone");
        assert_eq!(
            *principal,
            Principal {
                user: "anonymous".into(),
                role: Role::Admin,
                source: SourceKind::Nobody,
                tenants: Binding::Unbound,
                own_rows_only: false,
            }
        );
        assert_eq!(user(ask_as(&identity, "any", Some("li")).await), "li");
        assert_eq!(user(ask_as(&identity, "any", Some("l i")).await), "anonymous");
        assert_eq!(user(ask_as(&identity, "any", Some(&"x".repeat(129))).await), "anonymous");
        let nothing = identity.authenticate(&Credentials::default()).await;
        assert_eq!(nothing, Err(Denied::Missing));
    }
}

#[tokio::test]
async fn strict_without_a_source_refuses_every_token() {
    let identity = identity(&config::Auth { strict: Some(true), ..auth() });
    assert_eq!(ask_as(&identity, "any", Some("li")).await, Err(Denied::Invalid));
}

#[tokio::test]
async fn strict_off_opens_nothing_where_a_source_is_configured() {
    let upstream = upstream::Upstream::always(upstream::respond(401, "{}")).await;
    let sources = [
        with_service_tokens(&format!("a:{TOKEN}")),
        with_secret(),
        config::Auth { platform_url: Some(upstream.url.clone()), ..auth() },
    ];
    for source in sources {
        let identity = identity(&config::Auth { strict: Some(false), ..source });
        assert_eq!(ask_as(&identity, "any", Some("li")).await, Err(Denied::Invalid), "{identity:?}");
    }
}

#[test]
fn sources_are_listed_in_the_order_they_are_asked() {
    let all = config::Auth {
        service_tokens: Some(format!("a:{TOKEN}").into()),
        platform_url: Some("http://127.0.0.1:9".to_owned()),
        ..with_secret()
    };
    assert_eq!(identity(&all).sources(), [SourceKind::ServiceToken, SourceKind::Jwt, SourceKind::Platform]);
    assert_eq!(identity(&with_secret()).sources(), [SourceKind::Jwt]);
}

#[tokio::test]
async fn only_a_service_acts_for_the_user_of_the_header() {
    let table = [
        ("", Some("li"), "li"),
        (":service", Some("li"), "li"),
        (":service", None, "bot"),
        (":service", Some(""), "bot"),
        (":service", Some("l i"), "bot"),
        (":admin", Some("li"), "bot"),
        (":manager", Some("li"), "bot"),
        (":readonly", Some("li"), "bot"),
    ];
    for (role, header, expected) in table {
        let identity = identity(&with_service_tokens(&format!("bot:{TOKEN}{role}@t1")));
        let principal = ask_as(&identity, TOKEN, header).await.expect("a service token");
        assert_eq!(&*principal.user, expected, "{role} {header:?}");
        assert_eq!(principal.tenants, Binding::To(["t1".parse().expect("an id")].into()));
    }
    let identity = identity(&with_secret());
    assert_eq!(user(ask_as(&identity, &hs256(&claims()), Some("li")).await), "zhang");
}

#[tokio::test]
async fn a_service_token_is_never_sent_anywhere() {
    let upstream = upstream::Upstream::start(upstream::yes_to_all).await;
    let identity = identity(&config::Auth {
        platform_url: Some(upstream.url.clone()),
        ..with_service_tokens(&format!("bot:{TOKEN}:readonly"))
    });

    let principal = ask(&identity, TOKEN).await.expect("a service token");

    assert_eq!((principal.source, upstream.hits()), (SourceKind::ServiceToken, 0));
}

#[tokio::test]
async fn strict_binding_refuses_at_once_whom_nobody_vouches_for() {
    let strict = config::Tenants { binding: config::Binding::Strict, ..tenants() };
    let id = "acme".parse().expect("an id");
    let anyone = Identity::new(&auth(), &strict, clock()).expect("valid");
    let principal = ask(&anyone, "any").await.expect("anyone");
    assert_eq!(anyone.admit(&principal, Some(&id)), Err(Denied::TenantMismatch));

    let header = identity(&auth());
    let admission = header.admit(&principal, Some(&id)).expect("admitted");
    assert_eq!((admission.tenant, admission.unbound), (id, true));
}

#[test]
fn debug_shows_no_secret() {
    let auth = config::Auth {
        service_tokens: Some(format!("a:{TOKEN}").into()),
        jwt_public_key: Some(RSA_PUB.to_owned()),
        ..with_secret()
    };
    let shown = format!("{:?}", identity(&auth));
    assert_eq!(shown, "Identity { sources: [ServiceToken, Jwt], .. }");
}
