//! Every row of the fixture, compared with what HTTP shows after the import.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteRow;

use super::{ETC, TENANTS, all, imported, lines, open, source_in, totals};
use crate::support::{Client, Setup, TestApp, db_select, token_with};

/// A row of the source with its columns by name.
type Row = BTreeMap<String, Value>;

async fn rows(sql: &'static str) -> Vec<Row> {
    use sqlx::{Column as _, Row as _};
    let directory = tempfile::tempdir().expect("a directory");
    let mut connection = open(&source_in(directory.path())).await;
    let rows: Vec<SqliteRow> = sqlx::query(sql).fetch_all(&mut connection).await.expect("rows");
    connection.close().await.expect("closed");
    let value = |row: &SqliteRow, column: usize| {
        let text = row.try_get::<Option<String>, _>(column).map(Value::from);
        row.try_get::<i64, _>(column).map(Value::from).or(text).expect("an integer or a text")
    };
    let object = |row: &SqliteRow| {
        let cells = row.columns().iter();
        cells.map(|column| (column.name().to_owned(), value(row, column.ordinal()))).collect()
    };
    rows.iter().map(object).collect()
}

fn id_here(tenant: &Value) -> &'static str {
    TENANTS.iter().find(|(old, _)| tenant == old).expect("a known tenant").1
}

/// An imported cell, serving.
async fn served() -> TestApp {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    source_in(directory.path());
    imported(directory.path(), &["crm_cell.db"]);
    Setup::default().over(&directory).start().await
}

fn admin(app: &TestApp, tenant: &str) -> Client {
    let claims = json!({"sub": "tester", "tenantId": tenant, "role": "admin", "exp": 4_000_000_000_u64});
    app.anonymous().with_token(&token_with(&claims)).with_tenant(tenant)
}

fn masked(phone: &Value) -> Value {
    let digits = phone.as_str().expect("a phone");
    match digits.len() {
        0 => "".into(),
        length => format!("{}****{}", &digits[..3], &digits[length - 4..]).into(),
    }
}

/// Compares the records of a list with the rows of a table, both ways, and each record with what its own path shows.
async fn compare(
    app: &TestApp,
    path: &str,
    id: &str,
    column: &str,
    table: Vec<Row>,
    expected: impl Fn(&Row) -> Option<Value>,
) {
    let mut expected_by_tenant = BTreeMap::<&str, BTreeMap<String, Value>>::new();
    for row in &table {
        let records = expected_by_tenant.entry(id_here(&row["tenant_id"])).or_default();
        if let Some(record) = expected(row) {
            records.insert(row[column].as_str().expect("an id").to_owned(), record);
        }
    }
    for (tenant, mut expected) in expected_by_tenant {
        let client = admin(app, tenant);
        let records = all(&client, path).await;
        for record in &records {
            let key = record[id].as_str().expect("an id");
            let wanted = expected.remove(key).unwrap_or_else(|| panic!("{path}/{key} has no row"));
            for (field, value) in wanted.as_object().expect("an object") {
                assert_eq!(&record[field], value, "{path}/{key} {field}");
            }
            assert_eq!(record["version"], 1);
            assert_eq!(record["tenantId"], tenant);
            let single = client.get(&format!("{path}/{key}")).await.expect(200).json();
            assert_eq!(&single, record, "{path}/{key}");
        }
        assert!(expected.is_empty(), "not imported into {tenant}: {expected:?}");
    }
}

#[tokio::test]
async fn every_row_of_the_source_is_what_http_shows() {
    let app = served().await;
    let follow_ups = rows("select * from follow_ups").await;

    compare(&app, "/customers", "customerId", "customer_id", rows("select * from customers").await, |row| {
        let id = row["customer_id"].as_str().expect("an id");
        let last =
            follow_ups.iter().filter(|f| f["customer_id"] == id).map(|f| f["created_at"].as_str()).max();
        let mut record = json!({
            "name": row["name"], "contactEmail": row["contact_email"], "status": row["status"],
            "createdAt": row["created_at"], "updatedAt": row["updated_at"], "ownerId": "system",
            "lastFollowUpAt": last.flatten(), "nextFollowUpAt": null, "remark": null,
        });
        match id {
            "93d99a0dbf9d48db" => record["contactPhone"] = "".into(), // 139****1111: the number was lost
            "85ca4524277a483a" => record["name"] = "改名前客户 (2)".into(),
            _ => record["contactPhone"] = masked(&row["contact_phone"]),
        }
        Some(record)
    })
    .await;

    compare(&app, "/contacts", "contactId", "contact_id", rows("select * from contacts").await, |row| {
        let id = row["contact_id"].as_str().expect("an id");
        let mut record = json!({
            "customerId": row["customer_id"], "name": row["name"], "phone": masked(&row["phone"]),
            "email": row["email"], "isPrimary": row["is_primary"] == 1, "ownerId": "system",
            "createdAt": row["created_at"], "updatedAt": row["updated_at"],
        });
        match id {
            "19a616e1dc4f4534" => return None, // of a customer that does not exist
            "de3a9340ccd6442b" => record["name"] = "(无名称)".into(),
            "e64901243d244e83" | "99b1693267f14ddd" => record["isPrimary"] = false.into(),
            _ => {}
        }
        Some(record)
    })
    .await;

    let opportunities = rows("select * from opportunities").await;
    compare(&app, "/opportunities", "opportunityId", "opportunity_id", opportunities, |row| {
        let id = row["opportunity_id"].as_str().expect("an id");
        let mut record = json!({
            "customerId": row["customer_id"], "title": row["title"], "amountCents": row["amount_cents"],
            "currency": row["currency"], "stage": row["stage"], "status": row["status"], "ownerId": "system",
            "createdAt": row["created_at"], "updatedAt": row["updated_at"], "closedAt": null,
        });
        match id {
            "b6ec8f891bf04ff4" => return None, // of a customer that was deleted
            "837feac3bba94491" | "7b83886e2b39459a" => record["amountCents"] = 0.into(),
            "edcbfd531ad0447b" => (record["stage"], record["currency"]) = (1.into(), "CNY".into()),
            _ => {}
        }
        Some(record)
    })
    .await;

    compare(&app, "/follow-ups", "followUpId", "follow_up_id", follow_ups.clone(), |row| {
        let id = row["follow_up_id"].as_str().expect("an id");
        (id != "0798ef34ef224fda").then(|| {
            json!({
                "customerId": row["customer_id"], "opportunityId": row["opportunity_id"],
                "contactId": row["contact_id"], "content": row["content"],
                "followUpType": row["follow_up_type"], "occurredAt": row["created_at"], "ownerId": "system",
                "createdAt": row["created_at"], "updatedAt": row["updated_at"], "nextFollowUpAt": null,
            })
        })
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn the_audit_log_is_the_sources() {
    let app = served().await;
    for (old, tenant) in TENANTS {
        let expected: Vec<_> = rows("select * from audit_log order by log_id desc")
            .await
            .into_iter()
            .filter(|row| row["tenant_id"] == old)
            .map(|row| {
                json!({
                    "logId": row["log_id"].to_string(), "tenantId": tenant, "userId": row["user_id"],
                    "operationType": row["operation_type"], "resourceType": row["resource_type"],
                    "resourceId": row["resource_id"], "traceId": row["trace_id"],
                    "occurredAt": row["occurred_at"], "changes": {},
                })
            })
            .collect();
        assert_eq!(all(&admin(&app, tenant), "/audit-logs").await, expected, "{tenant}");
    }
    // The next change comes after all of them.
    let client = admin(&app, "acme");
    client.create_customer("新客户").await;
    let newest = client.get("/audit-logs?pageSize=2").await.expect(200).json();
    assert_eq!(newest["data"][0]["userId"], "tester");
    assert_eq!(newest["data"][1]["userId"], "system");
    app.stop().await;
}

#[tokio::test]
async fn filters_find_the_rows_that_the_source_has() {
    let app = served().await;
    let found = async |tenant: &str, path: String, id: &str| -> BTreeSet<String> {
        let records = all(&admin(&app, tenant), &path).await;
        records.iter().map(|record| record[id].as_str().expect("an id").to_owned()).collect()
    };
    for (table, key, path, id) in [
        ("contacts", "contact_id", "/contacts", "contactId"),
        ("opportunities", "opportunity_id", "/opportunities", "opportunityId"),
        ("follow_ups", "follow_up_id", "/follow-ups", "followUpId"),
    ] {
        let sql = match table {
            "contacts" => "select * from contacts where tenant_id = 'acme'",
            "opportunities" => "select * from opportunities where tenant_id = 'acme'",
            _ => "select * from follow_ups where tenant_id = 'acme'",
        };
        let mut by_filter = BTreeMap::<String, BTreeSet<String>>::new();
        for row in rows(sql).await {
            let key = row[key].as_str().expect("an id").to_owned();
            let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
            let mut filters = vec![format!("customerId={}", text("customer_id"))];
            match table {
                "contacts" => filters.push(format!("isPrimary={}", row["is_primary"] == 1)),
                "opportunities" => filters.push(format!("stage={}", row["stage"])),
                _ => {
                    filters.push(format!("followUpType={}", text("follow_up_type")));
                    filters.push(format!("opportunityId={}", text("opportunity_id")));
                }
            }
            for filter in filters {
                by_filter.entry(filter).or_default().insert(key.clone());
            }
        }
        assert!(by_filter.len() > 100, "{table}");
        for (filter, expected) in by_filter {
            assert_eq!(found("acme", format!("{path}?{filter}"), id).await, expected, "{path}?{filter}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn the_report_accounts_for_every_row_and_what_no_record_holds_is_kept_verbatim() {
    let directory = tempfile::tempdir().expect("a directory");
    source_in(directory.path());
    let printed = imported(directory.path(), &["crm_cell.db", "--report", "report.csv"]);
    let lines = lines(&directory.path().join("report.csv"));

    let mut kept = BTreeMap::new();
    for (_, tenant) in TENANTS {
        let sql = "select source_table, source_key, outcome, reasons, row from legacy_rows";
        for trail in db_select(directory.path(), tenant, sql).await {
            let text = |field: &str| trail[field].as_str().unwrap_or_default().to_owned();
            let key = (text("source_table"), text("source_key"));
            assert!(kept.insert(key, (tenant, text("outcome"), text("reasons"), text("row"))).is_none());
        }
    }
    let mut sum = [0; 5];
    for (table, sql, key) in [
        ("customers", "select * from customers", "customer_id"),
        ("contacts", "select * from contacts", "contact_id"),
        ("opportunities", "select * from opportunities", "opportunity_id"),
        ("follow_ups", "select * from follow_ups", "follow_up_id"),
        ("audit_log", "select * from audit_log", "log_id"),
        ("contracts", "select * from contracts", "contract_id"),
        ("payment_records", "select * from payment_records", "payment_id"),
        ("idempotent", "select * from idempotent", "request_id"),
    ] {
        let source = rows(sql).await;
        let [count, imported, repaired, in_table_only, new] = totals(&printed, table);
        assert_eq!((count, new), (source.len() as u64, count), "{table}");
        assert_eq!(imported + repaired + in_table_only, count, "{table}");
        for (at, number) in [count, imported, repaired, in_table_only, new].into_iter().enumerate() {
            sum[at] += number;
        }
        let of_table: Vec<_> = lines.iter().filter(|line| line[0] == table).collect();
        assert_eq!(of_table.len() as u64, repaired + in_table_only, "{table}");
        for row in source {
            let key = row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
            let (tenant, outcome, reasons, json) = &kept[&(table.to_owned(), key.clone())];
            let line = of_table.iter().find(|line| line[1] == key);
            assert_eq!(line.is_none(), outcome == "imported", "{table} {key}");
            let Some([_, _, old, id, action, why]) = line else { continue };
            assert_eq!((id.as_str(), action, why), (*tenant, outcome, reasons), "{table} {key}");
            assert!(!why.is_empty());
            if let Some(named) = row.get("tenant_id") {
                assert_eq!((named.as_str(), id_here(named)), (Some(old.as_str()), *tenant));
            }
            let verbatim: Row = serde_json::from_str(json).expect("JSON");
            assert_eq!(verbatim, row, "{table} {key}");
        }
    }
    assert_eq!(totals(&printed, "total"), sum);
    assert_eq!(sum[0], kept.len() as u64);
    assert!(printed.contains(&format!("\"../../etc\" is no tenant id here, or was mapped: it is {ETC} now")));
}

#[tokio::test]
async fn the_files_satisfy_what_the_code_expects_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    source_in(directory.path());
    imported(directory.path(), &["crm_cell.db"]);
    for (_, tenant) in TENANTS {
        sound(directory.path(), tenant).await;
    }
}

/// The invariants of a tenant's file that its own constraints do not hold up.
pub(super) async fn sound(directory: &std::path::Path, tenant: &str) {
    for (what, sql) in [
        (
            "integrity",
            "select integrity_check as bad from pragma_integrity_check where integrity_check <> 'ok'",
        ),
        ("references", "select \"table\" as bad from pragma_foreign_key_check"),
        ("closing", "select id as bad from opportunities where (status = 1) <> (closed_at is null)"),
        ("stages", "select id as bad from opportunities where status = 1 and stage <> last_open_stage"),
        ("masks", "select id as bad from customers where contact_phone like '%*%'"),
        ("blanks", "select id as bad from customers where trim(name) = '' or owner_id = ''"),
        (
            "follow-ups",
            "select id as bad from customers c where last_follow_up_at is not \
             (select max(occurred_at) from follow_ups where customer_id = c.id and deleted_at is null)",
        ),
        ("events", "select event_id as bad from outbox"),
    ] {
        assert_eq!(db_select(directory, tenant, sql).await, Vec::<Value>::new(), "{what} of {tenant}");
    }
    let keys = db_select(directory, tenant, "select name, name_key from customers").await;
    for row in keys {
        let name = row["name"].as_str().expect("a name");
        assert_eq!(row["name_key"], crm_cell::domain::fold_name(name));
    }
}
