//! `--help`, `--version`, and what is not a command.

use crate::cell::{crm_cell, refusal, run, stdout};

const COMMANDS: [&str; 18] = [
    "serve",
    "config",
    "tenants",
    "backup",
    "backups",
    "restore",
    "freeze",
    "thaw",
    "doctor",
    "explain",
    "audit",
    "catalog",
    "import-legacy",
    "demo",
    "token",
    "openapi",
    "health",
    "completions",
];

#[test]
fn help_names_every_command_and_needs_no_configuration() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let text = stdout(&run(arguments, &[("CRM_JWT_SECRET", "short"), ("CRM_NONSENSE", "1")]));
        for command in COMMANDS {
            assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{text}");
        }
    }
    for command in COMMANDS {
        let text = stdout(&run(&[command, "--help"], &[]));
        assert!(text.contains(&format!("crm-cell {command}")), "{text}");
    }
}

#[test]
fn version_is_the_packages() {
    for argument in ["--version", "-V"] {
        let text = stdout(&run(&[argument], &[]));
        assert_eq!(text, format!("crm-cell {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn an_unknown_command_or_option_is_refused_with_the_usage() {
    for arguments in [&["confg"][..], &["serve", "--port", "1"], &["--nonsense"], &["token", "acme"]] {
        let said = refusal(&run(arguments, &[]), 2);
        assert!(said.contains("Usage: crm-cell"), "{said}");
    }
    for arguments in [&["--json"][..], &["serve", "--table"], &["token", "--cell", "http://127.0.0.1:1"]] {
        let said = refusal(&run(arguments, &[]), 2);
        assert!(said.contains("operators' commands"), "it would do nothing: {said}");
    }
    let said = refusal(&run(&["confg"], &[]), 2);
    assert!(said.contains("config"), "the nearest command: {said}");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_by_every_command_that_reads_it() {
    for command in [
        &["serve"][..],
        &[],
        &["token"],
        &["health"],
        &["config"],
        &["import-legacy", "crm_cell.db"],
        &["demo"],
    ] {
        let said = refusal(&run(command, &[("CRM_JWT_SECERT", "x")]), 1);
        assert!(said.contains("CRM_JWT_SECERT") && said.contains("CRM_JWT_SECRET"), "{said}");
    }
}

#[test]
fn shells_can_complete_commands() {
    let directory = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        // More than a pipe holds: it is read while the command runs.
        let output = crm_cell(directory.path(), &["completions", shell], &[]).output();
        let text = stdout(&output.expect("the binary runs"));
        assert!(text.contains("crm-cell") && text.contains("read-only"), "{shell}: {text}");
    }
}
