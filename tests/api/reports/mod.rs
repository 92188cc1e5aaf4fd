//! Reports over HTTP (contract §9). How sums are made is proven in `domain::report`.

mod deals;
mod groups;
mod model;

use serde_json::{Value, json};

use crate::support::Client;

/// Creates a deal and returns its id.
async fn deal(client: &Client, customer: &str, fields: Value) -> String {
    let mut body = json!({"customerId": customer, "title": "5G 基站"});
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let created = client.post("/opportunities", &body).await.expect(201).json();
    created["opportunityId"].as_str().expect("an id").to_owned()
}

/// The answer to a report.
async fn report(client: &Client, path: &str) -> Value {
    client.get(path).await.expect(200).json()
}

/// The values of a key in each of the objects.
fn column<'a>(rows: &'a Value, key: &str) -> Vec<&'a Value> {
    rows.as_array().expect("an array").iter().map(|row| &row[key]).collect()
}
