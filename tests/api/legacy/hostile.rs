//! A source that holds whatever SQLite lets a column hold.

use std::path::Path;

use serde_json::{Value, json};

use super::rows::sound;
use super::{execute, imported, lines, source_in, totals};
use crate::support::{Cell, db_select};

const ROWS: &str = "
    insert into customers values
        ('d1', 't', '重名', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d2', 't', ' 重名 ', null, null, null, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d3', 't', '重名 (2)', '', '', 2, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d4', 't', 'ＡＢＣ', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d5', 't', 'abc', '', '', 7, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d6', 't', '', printf('%060d', 1), printf('%0300d', 1), 1, 'yesterday', '2026-01-02T00:00:00.000Z'),
        ('d7', 't', printf('%0300d', 1), '', '', 1, null, null),
        ('d8', 't', x'ff00', 13812345678, '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('d9', 't', char(27, 65, 13, 10, 66), '', '', 1, '2026-01-01 08:00:00', '2026-01-01T08:00:00.123456'),
        ('not/an id', 't', '够不着', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        (null, 't', '没有主键', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        (null, 't', '也没有主键', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z');
    alter table contacts add column wechat text;
    insert into customer_owner values
        ('d1', 't', 'zhang', '2026-01-01T00:00:00.000Z'),
        ('d2', 't', '', '2026-01-01T00:00:00.000Z'),
        ('ghost', 't', 'li', '2026-01-01T00:00:00.000Z'),
        ('d1', 'other', 'wang', '2026-01-01T00:00:00.000Z');
    insert into contacts values
        ('k1', 't', 'd1', '甲', '138****5678', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z', null),
        ('k2', 't', 'd1', '乙', '13812345678', '', 2, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z', 'yi-wechat'),
        ('k3', 'other', 'd1', '丙', '', '', 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z', null);
    insert into opportunities values
        ('o1', 't', 'd1', '赢', 100, 'usd', 5, 1, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('o2', 't', 'd1', '输', 1.5, 'RMB', 3, 3, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('o3', 't', 'd1', '', 'viel', 'BTC', 2, 9, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('o4', 't', 'd1', '空', null, null, null, null, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z');
    insert into follow_ups values
        ('f1', 't', '', 'o1', '', '只有商机', '上门 拜访!', '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('f2', 't', 'd2', 'o1', 'ghost', '对不上', '', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:00.000Z'),
        ('f3', 't', '', '', '', '什么都不是', null, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
        ('f4', 't', 'ghost', 'k1', '', '对象都没了', 'call', '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z');
    insert into audit_log (log_id, tenant_id, user_id, operation_type, occurred_at) values
        (9000, 't', 'zhang', 'customer.create', 'some day'),
        (9001, 't', 'zhang', 'customer.create', '2026-01-01T00:00:00.000Z');
    create table leads (code text, tenant_id text, score real, primary key (code, tenant_id)) without rowid;
    insert into leads values ('=1+1', 't', 0.5);
    create table pairs (a text, b text, primary key (a, b));
    insert into pairs values ('x/y', 'z'), ('x', 'y/z'), (null, 'z');
    create table notes (text);
    insert into notes values ('nobody''s'), (x'00ff');
";

fn hostile(directory: &Path) -> std::path::PathBuf {
    source_in(directory)
}

async fn one(directory: &Path, sql: &str) -> Value {
    let rows = db_select(directory, "t", sql).await;
    let [row] = rows.as_slice() else { panic!("{sql}: {rows:?}") };
    row.clone()
}

#[tokio::test]
async fn whatever_a_row_holds_it_becomes_a_sound_record_or_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    execute(&hostile(path), ROWS).await;

    let printed = imported(path, &["crm_cell.db", "--report", "report.csv"]);

    let of = |table: &str| totals(&printed, table);
    assert_eq!(of("customers"), [616, 605, 8, 3, 616]);
    assert_eq!(of("customer_owner"), [4, 1, 0, 3, 4]);
    assert_eq!(of("leads"), [1, 0, 0, 1, 1]);
    assert_eq!(of("notes"), [2, 0, 0, 2, 2]);
    sound(path, "t").await;

    let customer = async |id: &str| {
        let columns = "name, contact_phone, status, owner_id, created_at, updated_at";
        one(path, &format!("select {columns} from customers where id = '{id}'")).await
    };
    assert_eq!(customer("d1").await["owner_id"], "zhang");
    let day = 1_767_225_600_000_i64;
    let second = customer("d2").await;
    assert_eq!((second["name"].as_str(), second["owner_id"].as_str()), (Some("重名 (3)"), Some("system")));
    assert_eq!(customer("d3").await["name"], "重名 (2)", "a name that somebody has is not given away");
    assert_eq!(
        customer("d5").await,
        json!({"name": "abc (2)", "contact_phone": "", "status": 1,
        "owner_id": "system", "created_at": day, "updated_at": day + 86_400_000})
    );
    let sixth = customer("d6").await;
    assert_eq!((&sixth["name"], &sixth["contact_phone"]), (&json!("(无名称)"), &json!("")));
    assert_eq!(sixth["created_at"], sixth["updated_at"]);
    let seventh = customer("d7").await;
    assert_eq!(seventh["name"].as_str().map(str::len), Some(200));
    assert_eq!(seventh["created_at"], 0);
    assert_eq!(customer("d8").await["contact_phone"], "13812345678");
    let ninth = customer("d9").await;
    assert_eq!((&ninth["name"], &ninth["created_at"]), (&json!("A\nB"), &json!(day + 8 * 3_600_000)));
    assert_eq!(ninth["updated_at"], day + 8 * 3_600_000 + 123);

    let contacts =
        db_select(path, "t", "select id, phone, is_primary, owner_id from contacts order by id").await;
    assert_eq!(
        contacts,
        [
            json!({"id": "k1", "phone": "", "is_primary": 1, "owner_id": "zhang"}),
            json!({"id": "k2", "phone": "13812345678", "is_primary": 0, "owner_id": "zhang"}),
        ]
    );
    let deals = "select id, title, amount_cents, currency, stage, last_open_stage, closed_at \
                 from opportunities order by id";
    let closed = day + 86_400_000;
    assert_eq!(
        db_select(path, "t", deals).await,
        [
            json!({"id": "o1", "title": "赢", "amount_cents": 100, "currency": "USD", "stage": 5, "last_open_stage": 1, "closed_at": closed}),
            json!({"id": "o2", "title": "输", "amount_cents": 0, "currency": "CNY", "stage": 6, "last_open_stage": 3, "closed_at": closed}),
            json!({"id": "o3", "title": "(无标题)", "amount_cents": 0, "currency": "XXX", "stage": 2, "last_open_stage": 2, "closed_at": null}),
            json!({"id": "o4", "title": "空", "amount_cents": 0, "currency": "CNY", "stage": 1, "last_open_stage": 1, "closed_at": null}),
        ]
    );
    let follow_ups = "select id, customer_id, opportunity_id, contact_id, follow_up_type, owner_id \
                      from follow_ups order by id";
    assert_eq!(
        db_select(path, "t", follow_ups).await,
        [
            json!({"id": "f1", "customer_id": "d1", "opportunity_id": "o1", "contact_id": null, "follow_up_type": "上门_拜访", "owner_id": "zhang"}),
            json!({"id": "f2", "customer_id": "d2", "opportunity_id": null, "contact_id": null, "follow_up_type": "call", "owner_id": "system"}),
            json!({"id": "f3", "customer_id": null, "opportunity_id": null, "contact_id": null, "follow_up_type": "call", "owner_id": "system"}),
        ]
    );

    let why = |table: &str, key: &str| {
        let lines = lines(&path.join("report.csv"));
        let line = lines.iter().find(|line| line[0] == table && line[1] == key);
        line.unwrap_or_else(|| panic!("{table} {key}")).clone()[4..].join(" ")
    };
    for (table, key, expected) in [
        ("customers", "not/an id", "kept id-unusable"),
        ("customers", "d2", "repaired text-cleaned:name status-unknown:status name-taken:name"),
        (
            "customers",
            "d6",
            "repaired time-unreadable:createdAt placeholder:name text-dropped:contactPhone text-dropped:contactEmail",
        ),
        ("customers", "d8", "repaired placeholder:name name-taken:name text-dropped:name"),
        ("customer_owner", "ghost", "kept owner-not-applied"),
        ("customer_owner", "d2", "kept owner-not-applied"),
        ("contacts", "k1", "repaired phone-masked:phone"),
        ("contacts", "k2", "repaired second-primary:isPrimary column-unknown:wechat"),
        ("contacts", "k3", "kept customer-missing"),
        ("opportunities", "o1", "repaired currency-assumed:currency stage-decides:status"),
        (
            "opportunities",
            "o2",
            "repaired currency-assumed:currency status-decides:stage amount-unusable:amountCents",
        ),
        ("follow_ups", "f1", "repaired reference-filled:customerId type-unusable:followUpType"),
        (
            "follow_ups",
            "f2",
            "repaired reference-missing:opportunityId reference-missing:contactId type-unusable:followUpType",
        ),
        ("follow_ups", "f4", "kept subject-missing"),
        ("audit_log", "9000", "kept time-unreadable:occurredAt"),
        ("leads", "'=1+1", "kept no-resource"),
    ] {
        assert_eq!(why(table, key), expected, "{table} {key}");
    }
    let bytes =
        one(path, "select row from legacy_rows where source_table = 'customers' and source_key = 'd8'").await;
    let row: Value = serde_json::from_str(bytes["row"].as_str().expect("text")).expect("JSON");
    assert_eq!(row["name"], json!({"hex": "ff00"}), "bytes are kept too");
    let notes =
        db_select(path, "default", "select source_key from legacy_rows where source_table = 'notes'").await;
    assert_eq!(notes.len(), 2, "what belongs to no tenant is the default tenant's");
    let pairs = "select source_key as k from legacy_rows where source_table = 'pairs' order by 1";
    let keys = [json!({"k": r#"["x","y/z"]"#}), json!({"k": r#"["x/y","z"]"#}), json!({"k": "rowid:3"})];
    assert_eq!(db_select(path, "default", pairs).await, keys);

    // What was imported can be written back: it breaks no rule of this cell.
    let cell = Cell::start(path);
    let client = cell.tenant("t");
    for (list, id) in [
        ("customers", "customerId"),
        ("contacts", "contactId"),
        ("opportunities", "opportunityId"),
        ("follow-ups", "followUpId"),
    ] {
        let page = client.get(&format!("/{list}?pageSize=500")).await.expect(200).json();
        for record in page["data"].as_array().expect("a list") {
            let path = format!("/{list}/{}", record[id].as_str().expect("an id"));
            let answer = client.patch(&path, record).await.expect(200).json();
            assert_eq!(&answer, record, "{path}: written back as it was read");
        }
    }
}
