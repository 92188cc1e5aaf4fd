//! Operators on another machine: by TCP, where that is asked for, with a service token of their own.

use std::net::TcpListener;

use reqwest::StatusCode;

use super::Operator;
use crate::support::{Cell, Client, token_with};

const FLEET: &str = "an-operators-token-of-the-tests";
const BOUND: &str = "an-admins-token-in-one-tenant-only";
const SERVICE: &str = "a-machines-token-for-all-tenants";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn only_an_admins_service_token_that_is_bound_to_no_tenant_is_an_operators() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = format!("127.0.0.1:{}", free_port());
    let tokens = format!("fleet:{FLEET}:admin,one:{BOUND}:admin@acme,machine:{SERVICE}:service");
    let mut command = Cell::command(directory.path());
    command.env("CRM_ADMIN_ADDR", &address).env("CRM_SERVICE_TOKENS", tokens);
    let cell = Cell::spawn(&mut command);
    cell.tenant("acme").create_customer("华为").await;
    let base = format!("http://{address}");
    let ask = |token: &str| Client::new(&base).with_token(token);

    assert_eq!(ask(FLEET).get("/tenants").await.json()["items"][0]["tenant"], "acme");

    let admin = token_with(&serde_json::json!({ "sub": "boss", "role": "admin", "exp": 4_000_000_000_u64 }));
    for (token, status) in [
        (BOUND, StatusCode::FORBIDDEN),
        (SERVICE, StatusCode::FORBIDDEN),
        (admin.as_str(), StatusCode::FORBIDDEN),
        ("nobody's token", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(ask(token).get("/tenants").await.status, status, "{token}");
        assert_eq!(ask(token).delete("/tenants/acme").await.status, status, "{token}");
    }
    assert_eq!(Client::new(&base).get("/tenants").await.status, StatusCode::UNAUTHORIZED);
    let path = serde_json::json!({ "tenants": ["acme"], "directory": "/tmp/elsewhere" });
    let refused = ask(FLEET).post("/backups", &path).await;
    assert_eq!(
        refused.status,
        StatusCode::BAD_REQUEST,
        "paths are for those on the machine: {}",
        refused.text
    );
    for path in ["/tenants", "/tenants/acme", "/backups", "/log", "/doctor", "/requests/x"] {
        let answer = cell.tenant("acme").with_token(FLEET).get(path).await;
        assert_ne!(answer.status, StatusCode::OK, "never on the public port: {path}: {}", answer.text);
    }
    let remote = tempfile::tempdir().expect("a directory");
    let mut command = Operator(remote.path()).command(&["--cell", &base, "tenants", "suspend", "acme"]);
    let output = command.env("CRM_ADMIN_TOKEN", FLEET).output().expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(cell.tenant("acme").get("/customers").await.status, StatusCode::FORBIDDEN);
    let log = Operator(directory.path()).ok(&["audit", "list", "acme"]);
    assert_eq!(
        (&log["items"][0]["operator"], &log["items"][0]["via"]),
        (&"fleet".into(), &"tcp".into()),
        "{log}"
    );
}

#[tokio::test]
async fn the_socket_is_for_those_alone_who_may_enter_the_data_root() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let deep = directory.path().join("a-directory-with-a-name-of-some-length/".repeat(4));
    std::fs::create_dir_all(&deep).expect("made");
    let cell = Cell::start(&deep);
    cell.tenant("acme").create_customer("华为").await;
    let mode = |path: &str| std::fs::metadata(deep.join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("crm_cell"), mode("crm_cell/admin.sock")), (0o700, 0o600));
    assert_eq!(
        Operator(&deep).ok(&["tenants", "list"])["items"][0]["tenant"],
        "acme",
        "a path as long as it likes"
    );
    assert_eq!(cell.terminate(), Some(0));
    assert!(!deep.join("crm_cell/admin.sock").exists());
}

#[tokio::test]
async fn a_cell_that_can_have_no_socket_serves_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(directory.path().join("crm_cell/admin.sock")).expect("in the socket's place");
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Cell::command(directory.path());
    command.env("CRM_ADMIN_ADDR", &address).env("CRM_SERVICE_TOKENS", format!("fleet:{FLEET}:admin"));
    let cell = Cell::spawn(&mut command);

    cell.tenant("acme").create_customer("华为").await;

    let fleet = Client::new(&format!("http://{address}")).with_token(FLEET);
    assert_eq!(fleet.get("/tenants").await.json()["items"][0]["tenant"], "acme");
    assert_eq!(cell.terminate(), Some(0));
}
