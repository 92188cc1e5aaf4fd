//! Twins at the same time.

use serde_json::json;

use super::assert_replays;
use crate::support::{Client, TestApp, db_open, eventually};

#[tokio::test]
async fn of_fifty_twins_at_once_one_is_done_and_all_are_answered_alike() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for round in 0..4 {
        let id = format!("r{round}");
        let body = json!({"name": format!("C{round}")});
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (client, id, body) = (client.clone(), id.clone(), body.clone());
                tokio::spawn(async move { client.post_as(&id, "/customers", &body).await })
            })
            .collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.expect("no panic").expect(201));
        }

        let done: Vec<_> =
            answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).collect();
        assert_eq!(done.len(), 1);
        for answer in &answers {
            assert_eq!(answer.text, done[0].text);
        }
    }
    assert_eq!(client.get("/customers").await.json()["total"], 4);
}

#[tokio::test]
async fn of_twins_with_different_bodies_one_body_wins() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let asked: Vec<_> = (0..40)
        .map(|index| {
            let (client, body) = (client.clone(), json!({"name": format!("C{}", index % 4)}));
            tokio::spawn(async move { client.post_as("r", "/customers", &body).await })
        })
        .collect();
    let mut created = 0;
    for answer in asked {
        let answer = answer.await.expect("no panic");
        if answer.status == 201 {
            created += 1;
        } else {
            answer.expect_error(409, "IDEMPOTENT_CONFLICT");
        }
    }

    assert_eq!(created, 10, "one done, nine replayed");
    assert_eq!(client.get("/customers").await.json()["total"], 1);
}

#[tokio::test]
async fn the_twin_of_a_request_that_hangs_is_told_to_come_back() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("A").await;
    // Somebody else holds the file's write lock, as a backup tool might.
    let mut other = db_open(app.directory().path(), "acme").await;
    sqlx::raw_sql("begin immediate").execute(&mut other).await.expect("locked");
    let post = |client: Client| async move { client.post_as("r", "/customers", &json!({"name": "B"})).await };
    let before = app.figure("statements").await;
    let first = tokio::spawn(post(client.clone()));
    eventually("the first one has asked for the lock", async || app.figure("statements").await > before)
        .await;

    let twin = post(client.clone()).await;

    let twin = twin.expect_error(409, "IDEMPOTENT_IN_PROGRESS");
    assert_eq!(twin.header("retry-after"), "1");
    sqlx::raw_sql("rollback").execute(&mut other).await.expect("unlocked");
    let first = first.await.expect("no panic").expect(201);
    assert_replays(&post(client).await, &first);
}
