//! `/customers` (contract §6).

mod create;
mod deletion;
mod ledger;
mod masking;
mod names;
mod overview;
mod patch;
mod versions;

use serde_json::{Value, json};

/// A customer with a value in every field that clients write.
fn everything() -> Value {
    json!({
        "name": "华为技术有限公司",
        "contactPhone": "+86 138-1234-5678",
        "contactEmail": "li.lei@example.com",
        "status": 2,
        "ownerId": "han.meimei",
        "lifecycle": "prospect",
        "level": "A",
        "source": "展会",
        "industry": "通信",
        "region": "华南",
        "address": "深圳市龙岗区坂田",
        "website": "https://www.example.com/?a=1&b=2",
        "remark": "第一行\n第二行",
    })
}

/// The fields that a client may empty, each with a value.
fn optional_fields() -> [(&'static str, &'static str); 10] {
    [
        ("contactPhone", "13812345678"),
        ("contactEmail", "a@example.com"),
        ("lifecycle", "lead"),
        ("level", "A"),
        ("source", "web"),
        ("industry", "steel"),
        ("region", "north"),
        ("address", "1 Main Street"),
        ("website", "example.com"),
        ("remark", "a remark"),
    ]
}

/// What an optional field is when it is empty: the origin's strings are `""`, all others `null` (contract §3).
fn empty(field: &str) -> Value {
    if matches!(field, "contactPhone" | "contactEmail") { json!("") } else { Value::Null }
}
