//! The move as `docs/OPERATIONS.md` tells it, command by command; then back, and forth again.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{all, execute, lines, open, source_in};
use crate::support::{Cell, run_to_end};

/// The commands of the guide's section, but for the last, which serves.
fn commands() -> Vec<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let section = guide.split_once("\n## Moving from the Python cell\n").expect("the section").1;
    let block = section.split_once("```console\n").expect("commands").1;
    let block = block.split_once("```").expect("their end").0;
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    let commands = lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    let mut commands: Vec<_> = commands.collect();
    assert_eq!(commands.pop().as_deref(), Some("crm-cell"));
    assert!(commands.len() >= 4, "{commands:?}");
    commands
}

/// Does what the guide says, up to serving.
#[track_caller]
fn follow_the_guide(directory: &Path) {
    let programs = directory.join("bin");
    if !programs.exists() {
        std::fs::create_dir(&programs).expect("made");
        symlink(env!("CARGO_BIN_EXE_crm-cell"), programs.join("crm-cell")).expect("linked");
    }
    for command in commands() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &command]).current_dir(directory).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        let output = run_to_end(shell.stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn the_guide_leads_there_and_back_and_there_again_and_nothing_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let source = source_in(path);
    let before = std::fs::read(&source).expect("readable");

    follow_the_guide(path);
    assert_eq!(lines(&path.join("dry-run.csv")), lines(&path.join("import.csv")));
    let cell = Cell::start(path);
    let client = cell.tenant("acme");
    let there = all(&client, "/customers").await;
    assert_eq!(there.len(), 200);
    let changed = there[0]["customerId"].as_str().expect("an id").to_owned();
    let path_of_it = format!("/customers/{changed}");
    let first = client.patch(&path_of_it, &json!({"name": "在这里改过"})).await.expect(200).json();
    let moved_at = first["updatedAt"].as_str().expect("a moment");
    client.create_customer("在这里新建").await;

    // Back.
    let written =
        client.get(&format!("/export/customers?format=json&updatedFrom={moved_at}")).await.expect(200);
    let written = written.json()["data"].as_array().expect("rows").clone();
    let written = names(&written);
    assert_eq!(written, ["在这里新建", "在这里改过"], "and nothing of what was moved");
    assert_eq!(cell.terminate(), Some(0));
    assert!(std::fs::read(&source).expect("readable") == before, "the source is as it was, to the byte");
    assert!(std::fs::read(path.join("before/crm_cell.db")).expect("readable") == before);
    let mut python = open(&source).await;
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut python).await.expect("checked");
    assert_eq!(sound, "ok");
    sqlx::Connection::close(python).await.expect("closed");
    execute(
        &source,
        "insert into customers values ('0000000000000001', 'acme', '在那里新建', '', '', 1, \
            '2026-11-23T00:00:00.000Z', '2026-11-23T00:00:00.000Z')",
    )
    .await;

    // Forth again.
    follow_the_guide(path);
    let cell = Cell::start(path);
    let there = all(&cell.tenant("acme"), "/customers").await;
    assert_eq!(there.len(), 202);
    let names = names(&there);
    for name in ["在这里改过", "在这里新建", "在那里新建"] {
        assert_eq!(names.iter().filter(|found| **found == name).count(), 1, "{name}");
    }
    assert_eq!(cell.terminate(), Some(0));
}
