//! `crm-cell token`: mints JWTs for development.

use crate::cell::{Cell, SECRET, refusal, run, stdout};

/// The token that is printed, and nothing else.
fn mint(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut all = vec!["token"];
    all.extend(arguments);
    let printed = stdout(&run(&all, variables));
    let token = printed.strip_suffix('\n').expect("one line");
    assert!(!token.contains(char::is_whitespace), "{printed:?}");
    token.to_owned()
}

#[test]
fn a_minted_token_is_accepted_by_a_cell_with_the_same_settings_and_by_no_other() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let settings = [
        ("CRM_JWT_SECRET", SECRET),
        ("CRM_JWT_ISSUER", "https://id.example.org"),
        ("CRM_JWT_AUDIENCE", "crm-cell"),
    ];
    let same = Cell::start(directories[0].path(), &settings);
    let other_secret = [("CRM_JWT_SECRET", "another secret, also longer than 32 bytes")];
    let other = Cell::start(directories[1].path(), &other_secret);

    let token = mint(&["--tenant", "acme"], &settings);

    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(same.get("/customers", &headers), 200);
    assert_eq!(same.get("/customers", &[headers[0], ("X-Tenant-Id", "acme")]), 200);
    assert_eq!(same.get("/customers", &[headers[0], ("X-Tenant-Id", "other")]), 403);
    assert_eq!(other.get("/customers", &headers), 401);
}

#[test]
fn a_token_without_a_tenant_is_unbound() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CRM_JWT_SECRET", SECRET)];
    let cell = Cell::start(directory.path(), &settings);

    let bearer = format!("Bearer {}", mint(&["--sub", "zhang", "--ttl", "1m"], &settings));

    for tenant in ["acme", "other"] {
        let headers = [("Authorization", bearer.as_str()), ("X-Tenant-Id", tenant)];
        assert_eq!(cell.get("/customers", &headers), 200);
    }
}

#[test]
fn minting_without_a_secret_says_how_to_get_one() {
    let said = refusal(&run(&["token"], &[]), 1);
    assert!(said.contains("CRM_JWT_SECRET"), "{said}");
}

#[test]
fn what_a_cell_would_refuse_is_not_minted() {
    let settings = [("CRM_JWT_SECRET", SECRET)];
    for arguments in [["--tenant", "../x"], ["--role", "root"], ["--scope", "team"], ["--ttl", "soon"]] {
        refusal(&run(&["token", arguments[0], arguments[1]], &settings), 2);
    }
    for arguments in [["--ttl", "0s"], ["--sub", ""], ["--sub", " "], ["--ttl", "100000d"]] {
        let said = refusal(&run(&["token", arguments[0], arguments[1]], &settings), 1);
        assert!(!said.contains(SECRET), "{said}");
    }
}
