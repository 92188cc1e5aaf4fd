//! A binary that is built without the feature.

use std::process::Command;

use crate::points::points;

/// Those of `texts` that are in the binary.
fn found(texts: &[&str]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args(["--text", "--only-matching", "--fixed-strings"]);
    for text in texts {
        grep.args(["-e", text]);
    }
    let done = grep.arg(env!("CARGO_BIN_EXE_crm-cell")).output().expect("grep runs");
    assert!(done.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&done.stderr));
    let mut found: Vec<_> = String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn nothing_of_the_points_is_in_a_binary_without_the_feature() {
    let points = points();
    let mut texts: Vec<_> = points.iter().map(|point| point.name.as_str()).collect();
    texts.extend(["FAILPOINTS", "failpoint "]);
    assert_eq!(found(&["x-tenant-id"]), ["x-tenant-id"], "a text that is in the binary is found");
    assert_eq!(found(&texts), Vec::<String>::new());
}
