//! A page costs the same however many rows there are (contract §7).

use std::time::{Duration, Instant};

use super::stopped_with;
use crate::support::{Client, Setup};

/// The best of several, so that what else the machine does counts little.
async fn fastest(client: &Client, path: &str) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..6 {
        let start = Instant::now();
        client.get(path).await.expect(200);
        fastest = fastest.min(start.elapsed());
    }
    fastest
}

#[tokio::test]
async fn a_page_of_a_hundred_thousand_rows_is_found_by_an_index_in_every_order() {
    let directory = stopped_with(
        100_000,
        "name, owner_id, created_at, updated_at, next_follow_up_at, last_follow_up_at",
        "printf('N%06d', i * 7919 % 100003), 'u', 1700000000000 + i * 1000, 1700000000000 + i * 37 % 99991, \
         nullif(i % 1000, 0), nullif(i % 333, 0)",
    )
    .await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    let measure = async |query: &str| fastest(&client, &format!("/customers?count=none&{query}")).await;
    let default = measure("").await;
    for query in [
        "sort=createdAt",
        "sort=updatedAt",
        "sort=-updatedAt",
        "sort=name",
        "sort=-name",
        "sort=nextFollowUpAt",
        "sort=-nextFollowUpAt",
        "sort=lastFollowUpAt",
        "sort=-lastFollowUpAt",
        "sort=-createdAt,name",
        "sort=name,-createdAt",
        "sort=-updatedAt,name,createdAt",
        "sort=lastFollowUpAt,-name",
        "sort=nextFollowUpAt,-lastFollowUpAt,name",
        "sort=createdAt,name&createdFrom=2023-11-15T16:00:00Z",
        "sort=-createdAt,name&createdTo=2023-11-14T23:00:00Z",
    ] {
        let took = measure(query).await;
        assert!(
            took < default * 4 + Duration::from_millis(5),
            "{query}: {took:?}, the default order: {default:?}"
        );
    }
}
