//! A cell does not start beside a database of the Python cell that was not imported: it would look like total loss.

use std::process::{Command, Stdio};

use super::{execute, imported, source_in};
use crate::support::{Cell, run_to_end};

/// What a cell that does not start says.
#[track_caller]
fn refusal(command: &mut Command) -> String {
    let output = run_to_end(command.stderr(Stdio::piped()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[tokio::test]
async fn a_database_that_was_not_imported_stops_the_start_until_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path).canonicalize().expect("a path");

    let said = refusal(&mut Cell::command(path));

    assert!(said.contains("was not imported"), "{said}");
    assert!(said.contains(&format!("crm-cell import-legacy {}", source.display())), "{said}");
    assert!(said.contains("CRM_LEGACY=ignore"), "{said}");
    assert!(!path.join("crm_cell").exists(), "a refused start makes nothing");
    imported(path, &["crm_cell.db", "--dry-run"]);
    assert!(refusal(&mut Cell::command(path)).contains("was not imported"));

    imported(path, &["crm_cell.db"]);
    let cell = Cell::start(path);
    let customers = cell.tenant("acme").get("/customers").await.expect(200).json();
    assert_eq!(customers["total"], 200);
    assert_eq!(cell.terminate(), Some(0));

    // It is the contents that count, not the name or the time.
    let bytes = std::fs::read(&source).expect("readable");
    std::fs::remove_file(&source).expect("removed");
    assert_eq!(Cell::start(path).terminate(), Some(0));
    std::fs::write(&source, bytes).expect("written");
    assert_eq!(Cell::start(path).terminate(), Some(0));
}

#[tokio::test]
async fn a_database_that_was_changed_since_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    imported(path, &["crm_cell.db"]);
    execute(&source, "update customers set name = '后来改的' where tenant_id = 'default'").await;

    let said = refusal(&mut Cell::command(path));

    assert!(said.contains("was changed since it was imported"), "{said}");
    imported(path, &["crm_cell.db"]);
    assert_eq!(Cell::start(path).terminate(), Some(0));
}

#[tokio::test]
async fn an_operator_may_start_without_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    source_in(path);

    let cell = Cell::spawn(Cell::command(path).env("CRM_LEGACY", "ignore"));

    let customers = cell.tenant("acme").get("/customers").await.expect(200).json();
    assert_eq!(customers["total"], 0);
    drop(cell);
    let said = refusal(Cell::command(path).env("CRM_LEGACY", "sometimes"));
    assert!(said.contains("CRM_LEGACY") && said.contains("refuse, ignore"), "{said}");
}

#[tokio::test]
async fn another_file_at_that_place_is_no_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    for contents in ["", "not a database"] {
        std::fs::write(path.join("crm_cell.db"), contents).expect("written");
        assert_eq!(Cell::start(path).terminate(), Some(0));
    }
    execute(&source_in(path), "drop table customers").await;
    assert_eq!(Cell::start(path).terminate(), Some(0));
}
