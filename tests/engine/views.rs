//! The views `v1_*` of a tenant's file say what the domain says: masks, moments, figures (docs/SCHEMA.md).

use crm_cell::domain::{AMOUNT_MAX, Masking, Stage, Timestamp, weigh};
use proptest::prelude::*;
use rusqlite::types::FromSql;
use rusqlite::{Connection, StatementStatus, params};
use serde_json::{Value, json};

/// The years 0001 to 9999: what a `Timestamp` can be.
const MOMENTS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;
const BOTH: Masking = Masking { email: true };

/// A copy of a tenant's file in memory, as the cell opens it: functions that could do harm are refused in views.
fn file() -> Connection {
    let file = Connection::open_in_memory().expect("opened");
    for migration in sqlx::migrate!().iter() {
        file.execute_batch(migration.sql.as_str()).expect("migrated");
    }
    file.execute_batch(include_str!("../../src/tenancy/views.sql")).expect("views");
    file.execute_batch(
        "pragma trusted_schema = off; insert into meta (id, tenant_id, created_at) values (1, 'acme', 1)",
    )
    .expect("named");
    file
}

fn add_customer(file: &Connection, id: &str, phone: &str, email: &str, at: i64) {
    let sql = "insert into customers (id, name, name_key, contact_phone, contact_email, owner_id, created_at, updated_at) \
        values (?1, ?1, ?1, ?2, ?3, 'me', ?4, ?4)";
    file.execute(sql, params![id, phone, email, at]).expect("added");
}

/// The one value that a query selects.
fn value<T: FromSql>(file: &Connection, sql: &str) -> T {
    file.query_one(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Any text that can be in a file: the API takes no control characters, and SQLite's functions take U+0000 for its end.
fn text() -> impl Strategy<Value = String> {
    let any = any::<String>().prop_map(|text| text.replace('\0', ""));
    prop_oneof![any, "[0-9]{0,14}", "[-+() 0-9０-９٠-٩分机]{0,40}", "[a-z@.李é*]{0,9}@?[a-z@.例]{0,9}"]
}

proptest! {
    #[test]
    fn masks_are_those_of_the_domain_for_every_text(phone in text(), email in text(), before in text()) {
        let file = file();
        add_customer(&file, "c1", &phone, &email, 0);
        let contact = "insert into contacts (id, customer_id, name, phone, email, owner_id, created_at, updated_at) \
            values ('k1', 'c1', '李雷', ?1, ?2, 'me', 0, 0)";
        file.execute(contact, [&phone, &email]).expect("added");
        let changes = json!({
            "name": [null, before], "contactEmail": [before, email], "email": [null, email], "n": [1, [2, {}]], "of old": before,
        });
        let entry = "insert into journal (at, actor, action, resource, record_id, version, changes) \
            values (0, 'me', 'customer.update', 'customer', 'c1', 2, ?1)";
        file.execute(entry, [changes.to_string()]).expect("added");

        for sql in ["select contact_phone from v1_customers", "select phone from v1_contacts"] {
            prop_assert_eq!(value::<String>(&file, sql), BOTH.phone(&phone), "{} of {:?}", sql, phone);
        }
        for sql in ["select contact_email from v1_customers", "select email from v1_contacts"] {
            prop_assert_eq!(value::<String>(&file, sql), BOTH.email(&email), "{} of {:?}", sql, email);
        }
        let shown: Value =
            serde_json::from_str(&value::<String>(&file, "select changes from v1_journal")).expect("JSON");
        let mut masked = changes;
        masked["contactEmail"] = json!([BOTH.email(&before), BOTH.email(&email)]);
        masked["email"] = json!([null, BOTH.email(&email)]);
        prop_assert_eq!(shown, masked);
    }

    #[test]
    fn moments_are_written_as_the_domain_writes_them(millis in MOMENTS, soon in 0..=4_000_000_000_000_i64) {
        let file = file();
        for (id, millis) in [("c1", millis), ("c2", soon)] {
            add_customer(&file, id, "", "", millis);
            let sql = format!("select created_at from v1_customers where customer_id = '{id}'");
            prop_assert_eq!(value::<String>(&file, &sql), Timestamp::from_millis(millis).to_string());
        }
    }

    #[test]
    fn a_deals_weight_is_that_of_the_domain(amount in 0..=AMOUNT_MAX, percent in 0..=100_i64) {
        let file = file();
        add_deal(&file, 1, amount, percent);
        prop_assert_eq!(value::<i64>(&file, "select weighted_cents from v1_opportunities"), weigh(amount, percent));
    }
}

fn add_deal(file: &Connection, stage: i64, amount: i64, percent: i64) {
    file.execute_batch("pragma foreign_keys = off").expect("set");
    let sql = "insert into opportunities (id, customer_id, title, amount_cents, stage, probability_pct, owner_id, \
        created_at, updated_at) values (?1, 'c1', '项目', ?2, ?1, ?3, 'me', 0, 0)";
    file.execute(sql, [stage, amount, percent]).expect("added");
}

#[test]
fn moments_at_the_ends_of_a_second_and_of_time_are_written_as_the_domain_writes_them() {
    let file = file();
    let (first, last) = (*MOMENTS.start(), *MOMENTS.end());
    let moments = [first, first + 1, -1, 0, 1, 999, 1000, 59_999, 60_000, 86_399_999, last - 1, last];
    for (id, millis) in moments.into_iter().enumerate() {
        add_customer(&file, &id.to_string(), "", "", millis);
        let sql = format!("select created_at from v1_customers where customer_id = '{id}'");
        assert_eq!(value::<String>(&file, &sql), Timestamp::from_millis(millis).to_string());
    }
}

#[test]
fn every_stage_has_the_name_that_the_domain_gives_it() {
    let file = file();
    for stage in Stage::ALL {
        add_deal(&file, stage.code(), 0, 0);
        let sql = format!("select stage_name from v1_opportunities where stage = {}", stage.code());
        assert_eq!(value::<String>(&file, &sql), stage.name());
    }
}

/// How many rows a query selects, and in how many steps of SQLite's machine.
fn run(file: &Connection, sql: &str) -> (usize, i32) {
    let mut statement = file.prepare(sql).expect("prepared");
    let rows = statement.query_map([], |_| Ok(())).expect("run").count();
    (rows, statement.get_status(StatementStatus::VmStep))
}

fn add_customers(file: &Connection, ids: std::ops::Range<i32>) {
    for id in ids {
        add_customer(file, &format!("{id:05}"), "+86 138-1234-5678", "li.lei@example.com", 0);
    }
}

#[test]
fn the_first_rows_of_a_view_cost_the_same_however_many_there_are() {
    let file = file();
    let first =
        ["select * from v1_customers limit 100", "select * from v1_customers order by customer_id limit 100"];
    add_customers(&file, 0..100);
    let few = first.map(|sql| run(&file, sql));
    add_customers(&file, 100..3000);
    for (few, sql) in few.into_iter().zip(first) {
        let many = run(&file, sql);
        assert_eq!((few.0, many.0), (100, 100));
        assert!(many.1 <= few.1 + 100, "{sql}: {few:?} of 100 rows, {many:?} of 3000");
    }
}

#[test]
fn masks_are_made_only_for_those_who_select_them() {
    let file = file();
    add_customers(&file, 0..1000);
    let (_, names) = run(&file, "select name from v1_customers");
    let (_, phones) = run(&file, "select contact_phone from v1_customers");
    let (_, emails) = run(&file, "select contact_email from v1_customers");
    assert!(names < 10 * 1000, "{names} steps for 1000 names");
    assert!(
        names < phones.min(emails),
        "{names} steps for names, {phones} for phones, {emails} for addresses"
    );
}

#[test]
fn the_cells_members_and_the_tenant_itself_are_shown() {
    let file = file();
    file.execute_batch("insert into members (user_id, added_at) values ('zhang', 1795359600000)")
        .expect("added");
    let row = |sql| -> Vec<String> {
        file.query_one(sql, [], |row| (0..row.as_ref().column_count()).map(|n| row.get(n)).collect())
            .expect(sql)
    };
    assert_eq!(row("select * from v1_members"), ["zhang", "acme", "2026-11-22T15:00:00.000Z"]);
    assert_eq!(row("select * from v1_tenant"), ["acme", "1970-01-01T00:00:00.001Z"]);
}
