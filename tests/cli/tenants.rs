//! `crm-cell tenants members`: whom a tenant's own file binds to it. What else operators do is in `tests/api/fleet`.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::cell::{Cell, SECRET, crm_cell, refusal, stdout};

const SETTINGS: [(&str, &str); 1] = [("CRM_JWT_SECRET", SECRET)];

/// A directory with a data root in it, which has no tenant yet.
fn data_root() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("crm_cell")).expect("made");
    directory
}

fn members(directory: &Path, arguments: &[&str]) -> Output {
    let all = [&["tenants", "members"], arguments].concat();
    crm_cell(directory, &all, &SETTINGS).output().expect("the binary runs")
}

/// The names in what `--json` prints.
#[track_caller]
fn names(output: &Output) -> Vec<String> {
    let printed: Value = serde_json::from_str(&stdout(output)).expect("JSON");
    assert_eq!(printed["tenant"], "acme");
    let members = printed["members"].as_array().expect("a list");
    assert!(members.iter().all(|member| member["addedAt"].is_string()), "{printed}");
    members.iter().map(|member| member["userId"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn members_are_added_listed_and_removed_however_often_it_is_said() {
    let directory = data_root();
    let say = |arguments: &[&str]| members(directory.path(), arguments);
    assert_eq!(names(&say(&["add", "acme", "zhang", "李 雷", "--create", "--json"])), ["zhang", "李 雷"]);
    let before = stdout(&say(&["list", "acme", "--table"]));

    assert_eq!(names(&say(&["add", "acme", "zhang", "zhang", "--json"])), ["zhang", "李 雷"]);

    assert_eq!(stdout(&say(&["list", "acme", "--table"])), before, "since when they are is as it was");
    let lines: Vec<_> = before.lines().collect();
    let ends = |line: &str, end| line.trim_end().ends_with(end);
    assert!(lines[0].starts_with("ADDED") && ends(lines[0], "USER"), "{before}");
    assert!(ends(lines[1], "  zhang") && ends(lines[2], "  李 雷"), "{before}");

    assert_eq!(names(&say(&["remove", "acme", "zhang", "nobody", "--json"])), ["李 雷"]);
    let last = say(&["remove", "acme", "李 雷", "--table"]);
    assert_eq!(stdout(&last), "");
    let said = String::from_utf8_lossy(&last.stderr).into_owned();
    assert!(said.contains("acme has no members") && said.contains("CRM_TENANT_BINDING"), "{said}");
    assert_eq!(names(&say(&["list", "acme", "--json"])), [""; 0]);
}

#[test]
fn whom_the_command_made_a_member_the_cell_admits_and_the_audit_log_says_so() {
    let directory = data_root();
    stdout(&members(directory.path(), &["add", "acme", "zhang", "--create"]));
    let cell = Cell::start(directory.path(), &SETTINGS);
    let token = |user: &str, more: &[&str]| {
        let all = [&["token", "--sub", user], more].concat();
        let output = crm_cell(directory.path(), &all, &SETTINGS).output().expect("the binary runs");
        format!("Bearer {}", stdout(&output).trim())
    };

    for (user, status) in [("zhang", 200), ("li", 403)] {
        let headers = [("Authorization", token(user, &[])), ("X-Tenant-Id", "acme".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(cell.get("/customers", &headers), status, "{user}");
    }
    let manager = token("boss", &["--tenant", "acme", "--role", "manager"]);
    let log = cell.body("/audit-logs?resourceType=member", &[("Authorization", &manager)]);
    let log: Value = serde_json::from_str(&log).expect("JSON");
    assert_eq!(log["total"], 1, "{log}");
    let entry = &log["data"][0];
    assert_eq!(
        (&entry["operationType"], &entry["userId"]),
        (&"member.add".into(), &"operator".into()),
        "{log}"
    );
    assert_eq!(entry["resourceId"], "zhang");
}

#[test]
fn a_running_cell_admits_new_members_and_no_strangers_any_more_at_once() {
    let directory = data_root();
    let cell = Cell::start(directory.path(), &SETTINGS);
    let li = {
        let output = crm_cell(directory.path(), &["token", "--sub", "li"], &SETTINGS).output();
        format!("Bearer {}", stdout(&output.expect("the binary runs")).trim())
    };
    let status = || cell.get("/customers", &[("Authorization", li.as_str()), ("X-Tenant-Id", "acme")]);
    assert_eq!(status(), 200, "it has no members");

    assert_eq!(names(&members(directory.path(), &["add", "acme", "zhang", "--create"])), ["zhang"]);
    assert_eq!(status(), 403);
    assert_eq!(names(&members(directory.path(), &["add", "acme", "li"])), ["li", "zhang"]);
    assert_eq!(status(), 200);
    assert_eq!(names(&members(directory.path(), &["remove", "acme", "li"])), ["zhang"]);
    assert_eq!(status(), 403);
}

#[test]
fn an_unknown_tenant_is_created_only_if_the_operator_says_so() {
    let directory = data_root();
    for arguments in [&["add", "acme", "zhang"][..], &["remove", "acme", "zhang"], &["list", "acme"]] {
        let said = refusal(&members(directory.path(), arguments), 3);
        assert!(said.contains("no tenant acme"), "{said}");
    }
    let tenants = directory.path().join("crm_cell/tenants");
    assert_eq!(std::fs::read_dir(&tenants).expect("readable").count(), 0);

    let explicit = [SETTINGS[0], ("CRM_TENANT_PROVISION", "explicit")];
    let all = ["tenants", "members", "add", "acme", "zhang", "--create"];
    stdout(&crm_cell(directory.path(), &all, &explicit).output().expect("the binary runs"));
    assert_eq!(std::fs::read_dir(&tenants).expect("readable").count(), 1, "the file, and nothing beside it");
}

#[test]
fn what_cannot_be_a_tenant_or_a_user_and_a_missing_data_root_are_refused() {
    let directory = data_root();
    let long = "x".repeat(129);
    for arguments in
        [["add", "../x", "zhang"], ["add", "acme", " "], ["add", "acme", "a\nb"], ["add", "acme", &long]]
    {
        refusal(&members(directory.path(), &arguments), 2);
    }
    refusal(&members(directory.path(), &["add", "acme"]), 2);

    let empty = tempfile::tempdir().expect("a directory");
    let said = refusal(&members(empty.path(), &["add", "acme", "zhang", "--create"]), 1);
    assert!(said.contains("CRM_DATABASE_URL"), "{said}");
    assert_eq!(std::fs::read_dir(empty.path()).expect("readable").count(), 0);
}
