//! Reports that count records by the values of a field.

use serde_json::{Value, json};

use super::{column, report};
use crate::support::{Client, TestApp, token_with};

async fn customer(client: &Client, name: &str, fields: Value) {
    let mut body = json!({ "name": name });
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    client.post("/customers", &body).await.expect(201);
}

#[tokio::test]
async fn customers_are_counted_by_a_field_the_commonest_value_first() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    customer(&client, "one", json!({"level": "B", "region": "华南", "lifecycle": "lead"})).await;
    customer(&client, "two", json!({"level": "A", "region": "华南"})).await;
    customer(&client, "three", json!({"level": "A", "ownerId": "li"})).await;
    customer(&client, "four", json!({})).await;

    let by_level = report(&client, "/reports/customer-analysis").await;

    let expected = json!({
        "series": [{"name": "A", "value": 2}, {"name": "未填写", "value": 1}, {"name": "B", "value": 1}],
        "dimensions": ["level"],
        "metrics": ["count"],
        "rows": [{"level": "A", "count": 2}, {"level": "未填写", "count": 1}, {"level": "B", "count": 1}],
    });
    assert_eq!(by_level, expected);
    for (query, names, counts) in [
        ("dimension=region", vec!["未填写", "华南"], vec![2, 2]),
        ("dimension=lifecycle", vec!["未填写", "lead"], vec![3, 1]),
        ("dimension=owner", vec!["tester", "li"], vec![3, 1]),
        ("dimension=source", vec!["未填写"], vec![4]),
        ("dimension=industry&level=A", vec!["未填写"], vec![2]),
        ("startDate=2020-01-01&endDate=2020-12-31", vec![], vec![]),
    ] {
        let analysis = report(&client, &format!("/reports/customer-analysis?{query}")).await;
        assert_eq!(column(&analysis["series"], "name"), names, "{query}");
        assert_eq!(column(&analysis["series"], "value"), counts, "{query}");
    }
    let wrong = client.get("/reports/customer-analysis?dimension=name").await;
    wrong.expect_error(400, "VALIDATION_FAILED");
    app.stop().await;
}

#[tokio::test]
async fn values_that_are_too_many_to_show_are_counted_together() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for n in 0..104 {
        customer(&client, &format!("c{n:03}"), json!({"source": format!("s{n:03}")})).await;
    }
    customer(&client, "again", json!({"source": "s103"})).await;

    let analysis = report(&client, "/reports/customer-analysis?dimension=source").await;

    let (names, counts) = (column(&analysis["series"], "name"), column(&analysis["series"], "value"));
    assert_eq!((names.len(), &names[0], &counts[0]), (101, &&json!("s103"), &&json!(2)));
    assert_eq!((&names[1], &names[99]), (&&json!("s000"), &&json!("s098")));
    assert_eq!((&names[100], &counts[100]), (&&json!("其他"), &&json!(4)));
    app.stop().await;
}

#[tokio::test]
async fn follow_ups_are_counted_by_type_in_the_callers_scope() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (kind, owner) in [("call", "tester"), ("visit", "tester"), ("call", "li"), ("拜访", "tester")] {
        let body = json!({"content": "c", "followUpType": kind, "ownerId": owner});
        client.post("/follow-ups", &body).await.expect(201);
    }
    let stats = report(&client, "/reports/activity-stats").await;
    let activity = |kind: &str, count: u64| json!({"activityType": kind, "count": count});
    let expected = json!({"data": [activity("call", 2), activity("visit", 1), activity("拜访", 1)]});
    assert_eq!(stats, expected);
    assert_eq!(
        report(&client, "/reports/activity-stats?followUpType=call&ownerId=li").await,
        json!({"data": [activity("call", 1)]})
    );
    let claims = json!({"sub": "li", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let li = app.anonymous().with_token(&token_with(&claims));
    assert_eq!(report(&li, "/reports/activity-stats").await, json!({"data": [activity("call", 1)]}));
    assert_eq!(report(&app.tenant("other"), "/reports/activity-stats").await, json!({"data": []}));
    app.stop().await;
}
