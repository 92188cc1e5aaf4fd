//! How SQLite runs every statement that requests make, in a file without statistics: what a tenant's file always is.

mod lists;
mod plan;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::Connection as _;

use self::lists::lists;
use self::plan::{Cost, costs, plan};
use self::statements::Statements;
use crate::battery::table::{Kind, TABLE};
use crate::battery::world::World;
use crate::support::db_open;

const SORTS: &[Cost] = &[Cost::Sorts];
const WALKS: &[Cost] = &[Cost::Walks];
const WALKS_AND_COUNTS: &[Cost] = &[Cost::Walks, Cost::Counts];

/// What a list costs that is narrowed so, beyond the rows of its page; and why that is accepted. `scope`: the caller's own
/// rows.
const ACCEPTED: &[(&str, &[Cost], &[&str])] = &[
    // No index begins with these columns: they have few values, or are rarely asked for. The index of the order is walked
    // to the end of the page, and some index to count.
    ("/customers", WALKS_AND_COUNTS, &["industry", "level", "lifecycle", "region", "source", "status"]),
    ("/contacts", WALKS_AND_COUNTS, &["department", "isPrimary", "role"]),
    ("/opportunities", WALKS_AND_COUNTS, &["currency", "status"]),
    ("/follow-ups", WALKS_AND_COUNTS, &["followUpType"]),
    ("/audit-logs", WALKS_AND_COUNTS, &["from", "to", "resourceType"]),
    // A range of one column in the order of another.
    ("/customers", WALKS, &["createdFrom", "createdTo", "updatedFrom", "updatedTo"]),
    ("/contacts", WALKS, &["createdFrom", "createdTo", "updatedFrom", "updatedTo"]),
    ("/opportunities", WALKS, &["createdFrom", "createdTo", "updatedFrom", "updatedTo"]),
    ("/opportunities", WALKS, &["expectedCloseFrom", "expectedCloseTo"]),
    ("/follow-ups", WALKS, &["createdFrom", "createdTo", "updatedFrom", "updatedTo"]),
    ("/follow-ups", WALKS, &["occurredFrom", "occurredTo"]),
    // The rows of one owner, parent or stage, in another order than their index has: all of them are read and sorted.
    ("/customers", SORTS, &["ownerId", "scope"]),
    ("/contacts", SORTS, &["ownerId", "customerId"]),
    ("/opportunities", SORTS, &["ownerId", "scope", "customerId", "stage"]),
    ("/follow-ups", SORTS, &["ownerId", "customerId", "opportunityId", "contactId"]),
    // One's own are also those that hang on one's own customers and deals: no index holds them.
    ("/contacts", WALKS_AND_COUNTS, &["scope"]),
    ("/follow-ups", WALKS_AND_COUNTS, &["scope"]),
    // What few rows hold is found by an index in no order; those few are sorted.
    ("/customers", SORTS, &["keyword", "q"]),
    ("/contacts", SORTS, &["keyword", "q"]),
    ("/opportunities", SORTS, &["keyword", "q"]),
    // Merged from four tables: at most what was deleted in 30 days.
    ("/trash", SORTS, &[NOTHING, "scope", "resourceType"]),
    // Not narrowed: the rows before the page are passed, and those that are counted, up to the limit of the count.
    ("/customers", WALKS_AND_COUNTS, &[NOTHING]),
    ("/contacts", WALKS_AND_COUNTS, &[NOTHING]),
    ("/opportunities", WALKS_AND_COUNTS, &[NOTHING]),
    ("/follow-ups", WALKS_AND_COUNTS, &[NOTHING]),
    ("/audit-logs", WALKS_AND_COUNTS, &[NOTHING]),
    // For operators, newest first. Subjects and what is pending have indexes of their own.
    ("/events/inbox", WALKS_AND_COUNTS, &[NOTHING, "eventType", "from", "state", "to"]),
    ("/events/outbox", WALKS_AND_COUNTS, &[NOTHING, "eventType", "from", "resourceId", "state", "to"]),
    // Nobody's own: the plan has a walk that is over before it begins.
    ("/events/inbox", WALKS_AND_COUNTS, &["scope"]),
    ("/events/outbox", WALKS_AND_COUNTS, &["scope"]),
];

/// A list that is not narrowed.
const NOTHING: &str = "all";

/// What a report costs, and why that is accepted. Each is read aside, so that nobody waits for it.
const REPORTS: &[(&str, &[Cost])] = &[
    // Every live deal counts, and no index holds what is added up: the table is read once, in its own order.
    ("/opportunities/forecast", &[Cost::Scans]),
    ("/opportunities/win-rate", &[Cost::Scans]),
    ("/pipeline/funnel", &[Cost::Scans]),
    ("/pipeline/summary", &[Cost::Scans]),
    ("/reports/funnel", &[Cost::Scans]),
    ("/reports/sales-forecast", &[Cost::Scans]),
    ("/reports/sales-funnel", &[Cost::Scans]),
    // Likewise; and the groups are sorted by how many they are. One's own follow-ups: see above.
    ("/reports/customer-analysis", &[Cost::Scans, Cost::Sorts]),
    ("/reports/activity-stats", &[Cost::Walks, Cost::Scans, Cost::Sorts]),
];

/// Other statements that read more than one row needs, by how they begin, and why that is accepted.
const OTHERS: &[(&str, Cost)] = &[
    ("select user_id from members", Cost::Scans), // a handful of rows, when the tenant is opened
    // The relay's, through an index that holds what is still to be delivered and nothing else.
    ("select (select count(*) from (select 1 from outbox where state = 'pending'", Cost::Walks),
    ("update outbox set not_before = null where state = 'pending' and event_id = ?1", Cost::Walks),
    // An operator's: it changes what it reads, or nearly.
    ("update outbox set state = 'pending'", Cost::Walks),
];

/// What is accepted of a list that is narrowed by this.
fn accepted(list: &str, narrowed_by: &str) -> impl Iterator<Item = Cost> {
    let of_this = ACCEPTED.iter().filter(move |(path, _, by)| *path == list && by.contains(&narrowed_by));
    of_this.flat_map(|(_, costs, _)| *costs).copied()
}

#[tokio::test]
async fn every_list_is_read_through_an_index_in_its_order_or_is_a_known_exception() {
    let (sent, _guard) = Statements::of_this_thread();
    let world = World::new().await;
    let manager = world.caller("acme", "admin");
    let mut asked = Vec::new();
    for list in lists(&world, &manager).await {
        for request in list.requests(&manager).await {
            sent.take();
            manager.get(&request.path).await.expect(200);
            asked.push((request, sent.take()));
        }
    }
    let directory = world.app.stop().await;

    let mut file = db_open(directory.path(), "acme").await;
    let (mut unknown, mut met, mut statements) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for (request, of_request) in asked {
        let narrowed_by = request.narrowed_by.iter().map(String::as_str);
        let accepted: BTreeSet<Cost> = narrowed_by.flat_map(|by| accepted(request.list, by)).collect();
        assert!(!of_request.is_empty(), "{} sent nothing", request.path);
        for statement in of_request {
            if !statements.contains_key(&statement) {
                statements.insert(statement.clone(), plan(&mut file, &statement).await);
            }
            let plan = &statements[&statement];
            for cost in costs(&statement, plan) {
                match request.narrowed_by.as_slice() {
                    [by] if accepted.contains(&cost) => _ = met.insert((request.list, by.clone(), cost)),
                    _ if accepted.contains(&cost) => {}
                    _ => unknown.push(format!("{}: {cost:?}\n    {statement}\n    {plan:#?}", request.path)),
                }
            }
        }
    }
    file.close().await.expect("closed");
    println!("{} statements", statements.len());
    assert!(statements.len() > 500, "too few to be every list: {}", statements.len());
    assert!(unknown.is_empty(), "{} are not accepted:\n{}", unknown.len(), unknown.join("\n"));
    let listed = ACCEPTED.iter().flat_map(|(list, costs, by)| {
        by.iter().flat_map(|by| costs.iter().map(|cost| (*list, (*by).to_owned(), *cost)))
    });
    let stale: Vec<_> = listed.filter(|exception| !met.contains(exception)).collect();
    assert!(stale.is_empty(), "no request needs these exceptions any more: {stale:?}");
}

#[tokio::test]
async fn a_report_reads_its_table_once() {
    let (sent, _guard) = Statements::of_this_thread();
    let world = World::new().await;
    let (manager, confined) = (world.caller("acme", "admin"), world.caller("acme", "admin"));
    let confined = confined.with("X-Data-Scope", "self");
    let mut asked = Vec::new();
    for row in TABLE.iter().filter(|row| row.kind == Kind::Report) {
        for client in [&manager, &confined] {
            sent.take();
            world.good(client, row).await.expect(200);
            let mut statements = sent.take();
            // Others of the process may be at work.
            statements.retain(|statement| statement.contains("deleted_at is null"));
            asked.push((row.path, statements));
        }
    }
    let directory = world.app.stop().await;

    let mut file = db_open(directory.path(), "acme").await;
    let mut met: BTreeMap<&str, BTreeSet<Cost>> = BTreeMap::new();
    for (path, statements) in asked {
        assert_eq!(statements.len(), 1, "{path}");
        for statement in statements {
            let plan = plan(&mut file, &statement).await;
            met.entry(path).or_default().extend(costs(&statement, &plan));
        }
    }
    file.close().await.expect("closed");
    let accepted: BTreeMap<_, BTreeSet<_>> =
        REPORTS.iter().map(|(path, costs)| (*path, costs.iter().copied().collect())).collect();
    assert_eq!(met, accepted);
}

#[tokio::test]
async fn an_export_reads_its_rows_in_the_order_of_an_index() {
    let (sent, _guard) = Statements::of_this_thread();
    let world = World::new().await;
    let manager = world.caller("acme", "admin");
    let lists = lists(&world, &manager).await;
    sent.take();
    for list in lists {
        let Some(row) = TABLE.iter().find(|row| row.exports() && row.path == format!("{}/export", list.path))
        else {
            continue;
        };
        for order in list.orders() {
            for query in [format!("format=csv&sort={order}"), format!("sort={order}&page=2&pageSize=1")] {
                world.to(&manager, row, &format!("{}?{query}", row.path)).await.expect(200);
            }
        }
    }
    let statements = sent.take();
    let directory = world.app.stop().await;

    let mut file = db_open(directory.path(), "acme").await;
    // Every row is wanted: an index is walked to the end, and another one to count the pages' rows.
    let (mut exports, accepted) = (0, BTreeSet::from([Cost::Walks, Cost::Counts]));
    for statement in statements {
        let plan = plan(&mut file, &statement).await;
        let costs = costs(&statement, &plan);
        assert!(costs.is_subset(&accepted), "{statement}\n{plan:#?}");
        if statement.contains(" as place ") {
            // What may be sorted is where the rows are, never the rows: those are as many as there are.
            assert!(plan[0].starts_with("CO-ROUTINE"), "{statement}\n{plan:#?}");
            exports += 1;
        }
    }
    file.close().await.expect("closed");
    assert!(exports > 40, "too few to be every export: {exports}");
}

#[tokio::test]
async fn no_other_operation_reads_more_than_it_needs() {
    let (sent, _guard) = Statements::of_this_thread();
    let world = World::new().await; // creates and deletes
    let manager = world.caller("acme", "admin");
    let claims = json!({"sub": "tester", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let confined = world.claims(&claims);
    let kinds =
        [Kind::Get, Kind::Overview, Kind::Import, Kind::Update, Kind::Create, Kind::Delete, Kind::Action];
    let of_events = [Kind::Receive, Kind::Review, Kind::Replay];
    for kind in kinds.into_iter().chain(of_events) {
        for row in TABLE.iter().filter(|row| row.kind == kind) {
            if row.reads() {
                world.good(&confined, row).await;
            }
            let answer = world.good(&manager, row).await;
            assert!(answer.status.is_success(), "{}: {}", row.operation, answer.text);
        }
    }
    let customer = world.fill("/customers/{customer}");
    manager.patch(&customer, &json!({"level": "B"})).await.expect(200);
    let merged = json!({"region": "华东", "baseVersion": 2});
    manager.patch(&customer, &merged).await.expect(200);
    let mut statements = sent.take();
    let directory = world.app.stop().await;

    // Of the list in which an event was looked up: a list, see above.
    statements.retain(|statement| !statement.contains("from outbox_log"));
    assert!(statements.len() > 40, "too few to be every operation: {}", statements.len());
    let mut file = db_open(directory.path(), "acme").await;
    let mut unknown = Vec::new();
    for statement in statements {
        let plan = plan(&mut file, &statement).await;
        let accepted = OTHERS.iter().filter(|(begin, _)| statement.starts_with(begin)).map(|(_, cost)| *cost);
        if costs(&statement, &plan) != accepted.collect() {
            unknown.push(format!("{statement}\n    {plan:#?}"));
        }
    }
    file.close().await.expect("closed");
    assert!(unknown.is_empty(), "{} are not accepted:\n{}", unknown.len(), unknown.join("\n"));
}
