//! The rules: rows that are fine come through unchanged, and whatever else comes in, what comes out is sound.

use std::collections::HashSet;

use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::map::{Mapper, Record, UNOWNED, Verdict};
use super::rule::{Rule, join};
use super::source::SourceRow;
use crate::domain::{AMOUNT_MAX, DealStatus, Timestamp};

fn row(cells: Value) -> SourceRow {
    let Value::Object(cells) = cells else { panic!("an object") };
    SourceRow { key: "key".to_owned(), tenant: Some("t".to_owned()), cells }
}

fn customer(id: &str, name: &str) -> SourceRow {
    row(json!({
        "customer_id": id, "tenant_id": "t", "name": name, "contact_phone": "13812345678", "contact_email": "a@b.c",
        "status": 1, "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-02T00:00:00.000Z",
    }))
}

fn deal(cells: &Value) -> SourceRow {
    let mut whole = json!({
        "opportunity_id": "o", "tenant_id": "t", "customer_id": "c", "title": "项目", "amount_cents": 100,
        "currency": "CNY", "stage": 1, "status": 1, "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-02T00:00:00.000Z",
    });
    for (column, value) in cells.as_object().expect("an object") {
        whole[column] = value.clone();
    }
    row(whole)
}

/// A tenant with the customer `c`.
fn with_a_customer() -> Mapper {
    let mut mapper = Mapper::default();
    assert!(matches!(mapper.map("customers", &customer("c", "华为")), Verdict::Record(..)));
    mapper
}

#[track_caller]
fn record(verdict: Verdict) -> (Record, String) {
    match verdict {
        Verdict::Record(record, reasons) => (*record, join(&reasons)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ordinary_row_comes_through_as_it_was() {
    let mut mapper = Mapper::default();
    mapper.owners.insert("c".to_owned(), "zhang".to_owned());
    let (Record::Customer(customer), reasons) = record(mapper.map("customers", &customer("c", "华为")))
    else {
        panic!("a customer")
    };
    assert_eq!(reasons, "");
    assert_eq!(
        (customer.id.as_str(), customer.name.as_str(), customer.owner_id.as_str()),
        ("c", "华为", "zhang")
    );
    assert_eq!((customer.contact_phone.as_str(), customer.contact_email.as_str()), ("13812345678", "a@b.c"));
    assert_eq!(customer.created_at.to_string(), "2026-01-01T00:00:00.000Z");
    assert_eq!(customer.updated_at.to_string(), "2026-01-02T00:00:00.000Z");
    let owner = row(json!({"customer_id": "c", "owner_id": "zhang"}));
    assert_eq!(mapper.map("customer_owner", &owner), Verdict::Absorbed);
}

#[test]
fn amounts_currencies_and_stages_are_put_right() {
    for (cells, amount, currency, stage, reasons) in [
        (json!({}), 100, "CNY", 1, ""),
        (json!({"amount_cents": -500}), 0, "CNY", 1, "amount-unusable:amountCents"),
        (json!({"amount_cents": i64::MAX}), 0, "CNY", 1, "amount-unusable:amountCents"),
        (json!({"amount_cents": AMOUNT_MAX}), AMOUNT_MAX, "CNY", 1, ""),
        (json!({"currency": ""}), 100, "CNY", 1, "currency-assumed:currency"),
        (json!({"currency": "usd"}), 100, "USD", 1, "currency-assumed:currency"),
        (json!({"currency": "￥"}), 100, "CNY", 1, "currency-assumed:currency"),
        (json!({"currency": "DOGE"}), 100, "XXX", 1, "currency-unknown:currency"),
        (json!({"stage": 99}), 100, "CNY", 1, "stage-unknown:stage"),
        (json!({"stage": 99, "status": 2}), 100, "CNY", 5, "stage-unknown:stage status-decides:stage"),
        (json!({"stage": 4}), 100, "CNY", 4, ""),
        (json!({"stage": 5, "status": 2}), 100, "CNY", 5, ""),
        (json!({"stage": 6}), 100, "CNY", 6, "stage-decides:status"),
        (json!({"stage": 5, "status": 3}), 100, "CNY", 5, "stage-decides:status"),
        (json!({"stage": 2, "status": 3}), 100, "CNY", 6, "status-decides:stage"),
    ] {
        let (Record::Opportunity(deal), why) = record(with_a_customer().map("opportunities", &deal(&cells)))
        else {
            panic!("a deal")
        };
        let found = (deal.amount_cents, deal.currency.code(), deal.standing.stage.code(), why.as_str());
        assert_eq!(found, (amount, currency, stage, reasons), "{cells}");
        let closed = (deal.standing.status() != DealStatus::Open).then_some(deal.updated_at);
        assert_eq!(deal.standing.closed_at, closed, "{cells}");
    }
}

#[test]
fn a_duplicate_takes_the_next_number_that_nobody_has() {
    let source_names = ["华为", "华为 (2)"].into_iter().map(str::to_owned).collect();
    let mut mapper = Mapper { source_names, ..Mapper::default() };
    let named = |mapper: &mut Mapper, id: &str, name: &str| match record(
        mapper.map("customers", &customer(id, name)),
    ) {
        (Record::Customer(customer), _) => customer.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&mut mapper, "a", "华为"), "华为");
    assert_eq!(named(&mut mapper, "b", "华为"), "华为 (3)");
    assert_eq!(named(&mut mapper, "c", "华为 (2)"), "华为 (2)");
    assert_eq!(named(&mut mapper, "d", &"长".repeat(200)).chars().count(), 200);
    let cut = named(&mut mapper, "e", &"长".repeat(200));
    assert!(cut.ends_with("长 (2)") && cut.chars().count() == 200, "{cut}");
}

#[test]
fn numbers_of_the_log_stay_while_they_grow() {
    let mut mapper = Mapper::default();
    mapper.held.last_log = 5;
    let entry = |id: i64| {
        row(json!({"log_id": id, "tenant_id": "t", "user_id": "u", "operation_type": "o",
            "occurred_at": "2026-01-01T00:00:00.000Z"}))
    };
    let mut numbers = Vec::new();
    for id in [3, 5, 9, 9, 20] {
        match record(mapper.map("audit_log", &entry(id))) {
            (Record::Log(entry), why) => numbers.push((entry.seq, why.is_empty())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, [(6, false), (7, false), (9, true), (10, false), (20, true)]);
}

#[test]
fn other_tables_are_kept() {
    for (table, rule) in
        [("contracts", Rule::NoResource), ("idempotent", Rule::NoAnswer), ("whatever", Rule::NoResource)]
    {
        let Verdict::Keep(reason) = Mapper::default().map(table, &row(json!({}))) else { panic!("{table}") };
        assert_eq!(reason.rule, rule);
    }
}

prop_compose! {
    /// What a column may hold.
    fn cell()(value in prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        (-3..10_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[ \t\n\r\0a-c]{0,8}".prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
        prop::sample::select(vec![50, 51, 200, 201, 500, 501]).prop_map(|length| Value::from("长".repeat(length))),
        Just(json!({"hex": "ff"})),
        Just(json!("138****5678")),
        Just(json!("2026-01-01T00:00:00.000Z")),
    ]) -> Value { value }
}

fn any_row() -> impl Strategy<Value = (&'static str, SourceRow)> {
    let tables: [(&str, &[&str]); 4] = [
        ("customers", &["customer_id", "name", "contact_phone", "contact_email", "status"]),
        ("contacts", &["contact_id", "customer_id", "name", "phone", "email", "is_primary"]),
        (
            "opportunities",
            &["opportunity_id", "customer_id", "title", "amount_cents", "currency", "stage", "status"],
        ),
        (
            "follow_ups",
            &["follow_up_id", "customer_id", "opportunity_id", "contact_id", "content", "follow_up_type"],
        ),
    ];
    let id = prop_oneof![4 => "[a-e]".prop_map(Value::from), 1 => cell()];
    let cells = prop::collection::vec((option::weighted(0.9, cell()), id), 9);
    (prop::sample::select(tables.to_vec()), cells).prop_map(|((table, columns), cells)| {
        let columns = columns.iter().copied().chain(["created_at", "updated_at"]);
        let mut whole = Map::new();
        for (column, (cell, id)) in columns.zip(cells) {
            let value = if column.ends_with("_id") { Some(id) } else { cell };
            if let Some(value) = value {
                whole.insert(column.to_owned(), value);
            }
        }
        (table, row(Value::Object(whole)))
    })
}

fn text_fits(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.chars().count())
        && text == text.trim()
        && !text.chars().any(|c| c.is_control() && c != '\t' && c != '\n')
}

proptest! {
    #[test]
    fn whatever_comes_in_what_comes_out_is_sound(rows in prop::collection::vec(any_row(), 0..60)) {
        let (mut mapper, mut again) = (Mapper::default(), Mapper::default());
        let (mut customers, mut names, mut primaries) = (HashSet::new(), HashSet::new(), HashSet::new());
        let (mut contacts, mut deals, mut follow_ups) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (table, row) in rows {
            let verdict = mapper.map(table, &row);
            prop_assert_eq!(&verdict, &again.map(table, &row), "the same rows come out the same");
            let Verdict::Record(record, reasons) = verdict else { continue };
            match *record {
                Record::Customer(c) => {
                    prop_assert!(text_fits(&c.name, 200) && names.insert(c.name_key()) && customers.insert(c.id.clone()));
                    prop_assert!(!c.contact_phone.contains('*') && c.contact_phone.chars().count() <= 50);
                    prop_assert_eq!(&c.owner_id, UNOWNED);
                    if reasons.is_empty() {
                        prop_assert_eq!(&row.text("name"), &c.name);
                        prop_assert_eq!(&row.text("contact_phone"), &c.contact_phone);
                        prop_assert_eq!(row.integer("status"), Some(c.status.code()));
                        prop_assert_eq!(Timestamp::parse_rfc3339(&row.text("created_at")), Some(c.created_at));
                    }
                }
                Record::Contact(k) => {
                    prop_assert!(customers.contains(&k.customer_id) && contacts.insert(k.id.clone()));
                    prop_assert!(text_fits(&k.name, 200) && !k.phone.contains('*'));
                    prop_assert!(!k.is_primary || primaries.insert(k.customer_id.clone()));
                }
                Record::Opportunity(o) => {
                    prop_assert!(customers.contains(&o.customer_id) && deals.insert((o.id.clone(), o.customer_id.clone())));
                    prop_assert!(text_fits(&o.title, 500) && (0..=AMOUNT_MAX).contains(&o.amount_cents));
                    prop_assert_eq!(o.standing.closed_at.is_some(), o.standing.status() != DealStatus::Open);
                    prop_assert_eq!(o.standing.last_open_stage.status(), DealStatus::Open);
                    if reasons.is_empty() {
                        prop_assert_eq!(row.integer("amount_cents"), Some(o.amount_cents));
                        prop_assert_eq!(row.integer("stage"), Some(o.standing.stage.code()));
                        prop_assert_eq!(row.integer("status"), Some(o.standing.status().code()));
                    }
                }
                Record::FollowUp(f) => {
                    prop_assert!(text_fits(&f.content, 20_000) && follow_ups.insert(f.id.clone()));
                    prop_assert!(text_fits(&f.follow_up_type, 32));
                    let customer = f.customer_id.clone().unwrap_or_default();
                    prop_assert!(customer.is_empty() || customers.contains(&customer));
                    if let Some(deal) = f.opportunity_id {
                        prop_assert!(deals.contains(&(deal, customer)));
                    }
                }
                Record::Log(_) => {}
            }
        }
    }
}
