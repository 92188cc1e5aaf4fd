//! Pages by cursor: keyset, so that rows inserted or deleted meanwhile neither repeat nor hide others.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{column, rows, stopped_with};
use crate::support::{Client, Setup, TestApp};

/// Many ties in every sort key, some of them empty.
const TIES: (&str, &str) = (
    "name, owner_id, status, created_at, updated_at, next_follow_up_at, last_follow_up_at",
    "printf('N%d', i * 7 % 11), printf('u%d', i % 3), 1 + i % 2, 1700000000000 + i * 3 % 5, \
     1700000000000 + i * 5 % 4, nullif(i % 4, 0) * 1000, nullif(i * 13 % 6, 0) * 1000",
);

/// All rows by cursors, and what is done between two pages.
async fn walk(
    client: &Client,
    query: &str,
    sizes: &[usize],
    mut between: impl AsyncFnMut(&Client, &[Value]),
) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    for size in sizes.iter().cycle() {
        let answer = client.get(&format!("/customers?{query}&pageSize={size}{cursor}")).await;
        let body = answer.clone().expect(200).json();
        let page = rows(&answer);
        assert!(page.len() <= *size);
        assert_eq!(body["page"].is_null(), !cursor.is_empty());
        all.extend(page.iter().cloned());
        match body["nextCursor"].as_str() {
            Some(next) => {
                assert_eq!((page.len(), &body["hasMore"]), (*size, &json!(true)));
                cursor = format!("&cursor={next}");
            }
            None => {
                assert_eq!(body["hasMore"], false);
                return all;
            }
        }
        between(client, &page).await;
    }
    all
}

/// The order that `sort` asks for; the id goes with the last key.
fn compare(sort: &str, a: &Value, b: &Value) -> Ordering {
    let mut order = Ordering::Equal;
    let mut descending = true;
    for key in sort.split(',') {
        let (key, is_descending) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
        descending = is_descending;
        // Moments are text that sorts as they do; an empty one comes before all others.
        let text = |row: &Value| row[key].as_str().unwrap_or_default().to_owned();
        let by_key = text(a).cmp(&text(b));
        order = order.then(if descending { by_key.reverse() } else { by_key });
    }
    let by_id = a["customerId"].as_str().cmp(&b["customerId"].as_str());
    order.then(if descending { by_id.reverse() } else { by_id })
}

fn ids(rows: &[Value]) -> Vec<String> {
    let id = |row: &Value| row["customerId"].as_str().expect("an id").to_owned();
    rows.iter().map(id).collect()
}

const SORTS: [&str; 12] = [
    "-createdAt",
    "createdAt",
    "-updatedAt",
    "name",
    "-name",
    "nextFollowUpAt",
    "-lastFollowUpAt",
    "-createdAt,name",
    "name,-createdAt,updatedAt",
    "-nextFollowUpAt,-name",
    "lastFollowUpAt,-nextFollowUpAt,-updatedAt",
    "-updatedAt,createdAt,-name",
];

#[tokio::test]
async fn cursors_visit_every_row_once_and_in_order_whatever_the_sort() {
    let directory = stopped_with(150, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    for sort in SORTS {
        for sizes in [&[1][..], &[7, 2, 19], &[150], &[149, 1]] {
            if sizes == [1] && sort != "name,-createdAt,updatedAt" && sort != "-lastFollowUpAt" {
                continue; // 150 requests an order are enough for two of them
            }
            let all = walk(&client, &format!("sort={sort}"), sizes, async |_, _| {}).await;

            assert_eq!(all.len(), 150, "{sort} {sizes:?}");
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| compare(sort, a, b));
            assert_eq!(ids(&all), ids(&sorted), "{sort} {sizes:?}");
            assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>().len(), 150);
        }
    }
}

#[tokio::test]
async fn rows_inserted_between_pages_neither_repeat_nor_hide_others() {
    let directory = stopped_with(150, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let before: BTreeSet<_> = ids(&walk(&client, "", &[500], async |_, _| {}).await).into_iter().collect();
    let mut inserted = 0;
    for sort in SORTS {
        let all = walk(&client, &format!("sort={sort}"), &[11, 3, 20], async |client, page| {
            // A name next to those of this page, so that it falls before, between or after its rows.
            let near = page.last().map(|row| row["name"].as_str().expect("text").to_owned());
            let name = format!("{} {inserted}", near.unwrap_or_default());
            inserted += 1;
            client.create_customer(&name).await;
        })
        .await;

        let visited = ids(&all);
        let distinct: BTreeSet<_> = visited.iter().cloned().collect();
        assert_eq!(distinct.len(), visited.len(), "{sort}: a row twice");
        assert!(distinct.is_superset(&before), "{sort}: a row hidden");
    }
    assert!(inserted > 100);
}

#[tokio::test]
async fn rows_deleted_or_moved_between_pages_hide_no_other() {
    let directory = stopped_with(150, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let mut alive: BTreeSet<_> = ids(&walk(&client, "", &[500], async |_, _| {}).await).into_iter().collect();
    for (index, sort) in SORTS[..6].iter().enumerate() {
        let mut deleted = BTreeSet::new();
        let all = walk(&client, &format!("sort={sort}"), &[40], async |client, page| {
            // The row that the cursor stands on goes away.
            let last = ids(page).pop().expect("a row");
            client.delete(&format!("/customers/{last}")).await.expect(204);
            deleted.insert(last);
        })
        .await;

        let visited: BTreeSet<_> = ids(&all).into_iter().collect();
        assert_eq!(visited, alive, "{index} {sort}");
        alive = alive.difference(&deleted).cloned().collect();
    }
}

#[tokio::test]
async fn cursors_keep_to_the_filters() {
    let directory = stopped_with(150, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");

    let all = walk(&client, "status=2&ownerId=u1&sort=name,-createdAt", &[4], async |_, _| {}).await;

    assert_eq!(all.len(), 25);
    assert!(all.iter().all(|row| row["status"] == 2 && row["ownerId"] == "u1"));
}

#[tokio::test]
async fn a_cursor_goes_on_from_a_numbered_page_and_its_total_stays() {
    let directory = stopped_with(50, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let second = client.get("/customers?page=2&pageSize=10").await.expect(200).json();
    let cursor = second["nextCursor"].as_str().expect("a cursor");

    let by_cursor = client.get(&format!("/customers?pageSize=10&cursor={cursor}")).await;

    let by_number = client.get("/customers?page=3&pageSize=10").await;
    assert_eq!(column(&by_cursor, "customerId"), column(&by_number, "customerId"));
    assert_eq!(by_cursor.json()["total"], 50);
    assert_eq!(by_cursor.json()["page"], Value::Null);
}

#[tokio::test]
async fn size_count_language_and_blank_parameters_may_change_under_a_cursor() {
    let directory = stopped_with(50, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let first = client.get("/customers?status=1&pageSize=3").await.expect(200).json();
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    for rest in [
        "status=1&pageSize=9",
        "pageSize=3&status=1",
        "status=1&count=none",
        "status=1&lang=en",
        "status=1&level=&page=",
        "status=%31&_=123",
    ] {
        let answer = client.get(&format!("/customers?{rest}&cursor={cursor}")).await;
        answer.expect(200);
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_or_of_nobody_is_invalid() {
    let directory = stopped_with(50, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let cursor = async |client: &Client, query: &str| {
        let page = client.get(&format!("/customers?{query}")).await.expect(200).json();
        page["nextCursor"].as_str().expect("a cursor").to_owned()
    };
    let plain = cursor(&client, "").await;
    let filtered = cursor(&client, "status=1").await;
    let sorted = cursor(&client, "sort=name").await;
    let two_keys = cursor(&client, "sort=name,createdAt").await;
    let spoiled = format!("{}A{}", &plain[..20], &plain[21..]);
    let long = "A".repeat(6000);
    for (query, cursor) in [
        ("status=1", &*plain),
        ("status=2", &filtered),
        ("", &filtered),
        ("status=1&ownerId=u1", &filtered),
        ("ownerId=1", &filtered),
        ("sort=-name", &sorted),
        ("sort=createdAt", &sorted),
        ("sort=name,createdAt", &sorted),
        ("sort=name", &two_keys),
        ("sort=createdAt,name", &two_keys),
        ("", "x"),
        ("", "%00"),
        ("", "e30"),
        ("", "bnVsbA"),
        ("", &plain[..plain.len() - 2]),
        ("", &spoiled),
        ("", &long),
        ("", "../../etc/passwd"),
        ("", "' or 1=1 --"),
        ("", "客户"),
    ] {
        let answer = client.get(&format!("/customers?{query}&cursor={cursor}")).await;
        answer.expect_error(400, "INVALID_CURSOR");
    }
    let other = app.tenant("other");
    other.create_customer("B").await;
    let answer = other.get(&format!("/customers?cursor={plain}")).await;
    answer.expect_error(400, "INVALID_CURSOR");
    let nobody = app.tenant("nobody").get(&format!("/customers?cursor={plain}")).await;
    nobody.expect_error(400, "INVALID_CURSOR");
}

#[tokio::test]
async fn a_cursor_outlives_a_restart() {
    let directory = stopped_with(50, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let first = app.tenant("acme").get("/customers").await.expect(200).json();
    let second = app.tenant("acme").get("/customers?page=2").await;
    let directory = app.stop().await;
    let app = Setup::default().over(&directory).start().await;

    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let again = app.tenant("acme").get(&format!("/customers?cursor={cursor}")).await;

    assert_eq!(column(&again, "customerId"), column(&second, "customerId"));
}

#[tokio::test]
async fn a_page_and_a_cursor_together_are_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for query in ["page=1&cursor=x", "cursor=x&page=2"] {
        let answer = client.get(&format!("/customers?{query}")).await;
        answer.expect_error(400, "BAD_REQUEST");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_partition_the_rows_while_others_insert(
        sort in prop::sample::select(&["-createdAt", "createdAt", "name", "-name", "-updatedAt,name"][..]),
        sizes in prop::collection::vec(1..9_usize, 1..4),
        writers in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(partition(sort, &sizes, writers));
    }
}

/// Walks over the rows of a tenant into which `writers` insert all the time, before and behind the reader.
async fn partition(sort: &str, sizes: &[usize], writers: usize) {
    let directory = stopped_with(60, TIES.0, TIES.1).await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let before: BTreeSet<_> = ids(&walk(&client, "", &[500], async |_, _| {}).await).into_iter().collect();
    let inserting: Vec<_> = (0..writers)
        .map(|writer| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..200 {
                    client.create_customer(&format!("N{} {writer} {number}", number % 12)).await;
                }
            })
        })
        .collect();
    // The rows that are inserted keep the walk going; they come to an end, and so does it.
    let visited = ids(&walk(&client, &format!("sort={sort}"), sizes, async |_, _| {}).await);

    let distinct: BTreeSet<_> = visited.iter().cloned().collect();
    assert_eq!(distinct.len(), visited.len(), "{sort}: a row twice");
    assert!(distinct.is_superset(&before), "{sort}: a row hidden");
    for task in inserting {
        task.await.expect("no panic");
    }
    app.stop().await;
}
