//! `crm-cell config`: the effective configuration of the environment and directory it is run in.

use std::path::Path;
use std::process::{Command, Output};

const SECRET: &str = "hunter2hunter2hunter2hunter2hunter2";

fn config(directory: &Path, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crm-cell"))
        .arg("config")
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn config_prints_the_defaults_without_the_source_tree() {
    let directory = tempfile::tempdir().expect("a directory");

    let printed = stdout(&config(directory.path(), &[]));

    for line in [
        "port = 8001",
        "# host = (absent)",
        "database_url = \"sqlite:///./crm_cell.db\"",
        "format = \"text\"",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in:\n{printed}");
    }
    let root = directory.path().canonicalize().expect("a path").join("crm_cell");
    assert!(printed.starts_with(&format!("# Data root: {}\n", root.display())), "{printed}");
    let left = std::fs::read_dir(directory.path()).expect("readable").count();
    assert_eq!(left, 0, "printing creates nothing");
}

#[test]
fn config_prints_what_it_was_printed_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let variables = [("CRM_ENV", "production"), ("PORT", "9000"), ("DEFAULT_TENANT_ID", "00123")];
    let printed = stdout(&config(directory.path(), &variables));
    assert!(printed.contains("port = 9000\n") && printed.contains("format = \"json\"\n"), "{printed}");
    assert!(printed.contains("default_id = \"00123\"\n"), "{printed}");

    std::fs::write(directory.path().join("printed.toml"), &printed).expect("written");
    let again = stdout(&config(directory.path(), &[("CRM_CONFIG", "printed.toml")]));

    assert_eq!(again, printed);
}

#[test]
fn config_never_prints_a_secret() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("tokens"), format!("ops:{SECRET}\n")).expect("written");
    let variables = [("CRM_JWT_SECRET", SECRET), ("CRM_SERVICE_TOKENS_FILE", "tokens")];

    let printed = stdout(&config(directory.path(), &variables));
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("jwt_secret = \"***\"\n") && printed.contains("service_tokens = \"***\"\n"));

    let mut refused = variables.to_vec();
    refused.extend([("CRM__AUTH__JWT_SECRET", "hunter2"), ("CRM_SERVICE_TOKENS", "hunter2")]);
    let message = refusal(&config(directory.path(), &refused));
    assert!(message.contains("CRM__AUTH__JWT_SECRET") && !message.contains("hunter2"), "{message}");
}

#[test]
fn config_tells_all_mistakes_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("my.toml"), "[server]\nprot = 1\n").expect("written");
    let variables = [
        ("CRM_CONFIG", "my.toml"),
        ("CRM_PORT", "8001"),
        ("CRM_TIME_ZONE", "Mars/Olympus"),
        ("CRM_JWT_SECRET", "short"),
    ];

    let message = refusal(&config(directory.path(), &variables));

    for part in [
        "my.toml: there is no key server.prot; the nearest is server.port",
        "CRM_PORT: there is no such variable; the nearest is PORT",
        "CRM_TIME_ZONE: \"Mars/Olympus\"",
        "CRM_JWT_SECRET: has 5 bytes",
    ] {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
}
