//! What SQLite says of how it runs a statement.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _};

/// What costs more than the rows that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// Rows that are not wanted are passed on the way through an index, or through a log, which lies in its order.
    Walks,
    /// As above, to count the rows that are wanted.
    Counts,
    /// The rows are sorted; not only those that are alike in the first key.
    Sorts,
    /// A table is read from end to end.
    Scans,
}

/// Tables that lie in the order in which their rows were added, which is the order of their lists.
const LOGS: [&str; 3] = ["inbox", "journal", "outbox"];

/// The lines of a statement's plan.
pub(super) async fn plan(connection: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = sqlx::query(AssertSqlSafe(format!("explain query plan {statement}")));
    let rows = explain.fetch_all(connection).await.unwrap_or_else(|error| panic!("{error}: {statement}"));
    rows.iter().map(|row| row.get("detail")).collect()
}

/// What the plan of the statement costs.
pub(super) fn costs(statement: &str, plan: &[String]) -> BTreeSet<Cost> {
    let walks = if statement.starts_with("select count(*)") { Cost::Counts } else { Cost::Walks };
    // What a part of the same plan yields is no table.
    let parts = plan.iter().filter_map(|line| line.split_once(' '));
    let derived: BTreeSet<&str> = parts
        .filter(|(kind, _)| ["CO-ROUTINE", "MATERIALIZE"].contains(kind))
        .map(|(_, name)| name)
        .collect();
    let cost = |line: &String| {
        if let Some(scan) = line.strip_prefix("SCAN ") {
            let name = scan.split(' ').next().unwrap_or_default();
            let is_ordered = scan.contains(" INDEX ") || LOGS.contains(&name);
            let is_table =
                !derived.contains(name) && !scan.contains("VIRTUAL TABLE") && scan != "CONSTANT ROW";
            is_table.then_some(if is_ordered { walks } else { Cost::Scans })
        } else if line.starts_with("SEARCH") && line.contains("AUTOMATIC") {
            Some(Cost::Scans) // to build an index for this statement
        } else if line.starts_with("USE TEMP B-TREE FOR ORDER BY") {
            Some(Cost::Sorts)
        } else {
            None
        }
    };
    plan.iter().filter_map(cost).collect()
}

#[test]
fn the_costs_of_a_plan_are_recognised() {
    for (line, cost) in [
        ("SCAN customers", Some(Cost::Scans)),
        ("SEARCH b USING AUTOMATIC COVERING INDEX (x=?)", Some(Cost::Scans)),
        ("SCAN customers USING INDEX customers_by_created", Some(Cost::Walks)),
        ("SCAN journal", Some(Cost::Walks)),
        ("USE TEMP B-TREE FOR ORDER BY", Some(Cost::Sorts)),
        ("USE TEMP B-TREE FOR LAST 2 TERMS OF ORDER BY", None),
        ("SEARCH customers USING INDEX customers_by_owner (owner_id=?)", None),
        ("SCAN json_each VIRTUAL TABLE INDEX 1:", None),
    ] {
        assert_eq!(costs("select 1", &[line.to_owned()]), cost.into_iter().collect(), "{line}");
    }
    let plan = ["CO-ROUTINE trash", "SCAN trash"].map(str::to_owned);
    assert_eq!(costs("select 1", &plan), BTreeSet::new());
    let plan = ["SCAN customers USING INDEX customers_by_created".to_owned()];
    assert_eq!(costs("select count(*) from (…)", &plan), [Cost::Counts].into());
}
