//! Exports over HTTP (contract §9).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, clock_at, db_execute, eventually, raw, token, token_with};

const BOM: &str = "\u{feff}";
const RESOURCES: [&str; 4] = ["customers", "contacts", "opportunities", "follow-ups"];

async fn create(client: &Client, path: &str, body: Value) -> Value {
    client.post(path, &body).await.expect(201).json()
}

/// The lines after the headings.
fn lines(csv: &str) -> Vec<&str> {
    csv.strip_suffix("\r\n").expect("the last line ends too").split("\r\n").skip(1).collect()
}

/// A tenant's file gets so many customers, of about 200 bytes each in an export.
async fn fill(app: TestApp, customers: usize) -> TestApp {
    app.tenant("acme").create_customer("first").await;
    let directory = app.stop().await;
    let rows = format!(
        "insert into customers (id, name, name_key, remark, owner_id, created_at, updated_at) \
         with recursive n(n) as (select 1 union all select n + 1 from n where n < {customers} - 1) \
         select 'c' || n, 'n' || n, 'n' || n, printf('%0100d', n), 'tester', n, n from n"
    );
    db_execute(directory.path(), "acme", &rows).await;
    Setup::default().over(&directory).start().await
}

#[tokio::test]
async fn csv_is_what_spreadsheets_read() {
    let app = Setup::default().at(clock_at("2026-11-22T16:00:00Z")).start().await;
    let client = app.tenant("acme");
    let everything = create(
        &client,
        "/customers",
        json!({
            "name": "华为, \"技术\"", "contactPhone": "13812345678", "contactEmail": "a@example.com", "level": "A",
            "remark": "第一行\n第二行", "lifecycle": "lead",
        }),
    )
    .await;
    let bare = create(&client, "/customers", json!({"name": "中兴", "status": 2})).await;

    let answer = client.get("/export/customers").await.expect(200);

    assert_eq!(answer.header("Content-Type"), "text/csv; charset=utf-8");
    // The day of the configured zone.
    assert_eq!(answer.header("Content-Disposition"), "attachment; filename=\"customers-20261123.csv\"");
    let headings = "客户ID,名称,联系电话,邮箱,状态,创建时间,更新时间,负责人,生命周期,级别,来源,行业,地区,地址,网站,备注,下次跟进时间,最近跟进时间,版本";
    let now = "2026-11-22T16:00:00.000Z";
    let id = |record: &Value| record["customerId"].as_str().expect("an id").to_owned();
    let expected = format!(
        "{BOM}{headings}\r\n\
         {},中兴,,,2,{now},{now},tester,,,,,,,,,,,1\r\n\
         {},\"华为, \"\"技术\"\"\",138****5678,a@example.com,1,{now},{now},tester,lead,A,,,,,,\"第一行\n第二行\",,,1\r\n",
        id(&bare),
        id(&everything),
    );
    assert_eq!(answer.text, expected);
    app.stop().await;
}

#[tokio::test]
async fn the_columns_of_every_resource_begin_with_the_origins() {
    let app = TestApp::start().await;
    let client = app.tenant("nobody");
    for (resource, headings) in [
        ("customers", "客户ID,名称,联系电话,邮箱,状态,创建时间,"),
        ("contacts", "联系人ID,客户ID,姓名,电话,邮箱,主联系人,创建时间,"),
        ("opportunities", "商机ID,客户ID,标题,金额(分),币种,阶段,状态,创建时间,"),
        ("follow-ups", "跟进记录ID,客户ID,商机ID,联系人ID,内容,类型,创建时间,"),
    ] {
        for path in [format!("/export/{resource}"), format!("/{resource}/export?format=csv")] {
            let csv = client.get(&path).await.expect(200).text;
            assert!(csv.starts_with(&format!("{BOM}{headings}")), "{csv}");
            assert_eq!(lines(&csv), [""; 0], "a tenant that does not exist is empty");
        }
    }
    assert_eq!(std::fs::read_dir(app.tenants()).expect("a directory").count(), 0, "nothing is created");
    app.stop().await;
}

#[tokio::test]
async fn no_cell_is_a_formula() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for name in ["=1+1", "+x", "-x", "@SUM(A1)", "'=quoted", "'quoted", "a=b"] {
        client.create_customer(name).await;
    }
    let csv = client.get("/export/customers?sort=createdAt").await.expect(200).text;
    let names: Vec<_> =
        lines(&csv).into_iter().map(|line| line.split(',').nth(1).expect("a name").to_owned()).collect();
    assert_eq!(names, ["'=1+1", "'+x", "'-x", "'@SUM(A1)", "''=quoted", "'quoted", "a=b"]);
    let json = client.get("/customers/export?sort=createdAt").await.json();
    assert_eq!(json["data"][0]["name"], "=1+1", "JSON is no spreadsheet");
    app.stop().await;
}

#[tokio::test]
async fn json_is_a_page_of_the_list_however_deep() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    for n in 0..5 {
        create(
            &client,
            "/contacts",
            json!({"customerId": customer, "name": format!("n{n}"), "phone": "13812345678"}),
        )
        .await;
        create(&client, "/opportunities", json!({"customerId": customer, "title": format!("t{n}")})).await;
        create(&client, "/follow-ups", json!({"customerId": customer, "content": format!("c{n}")})).await;
    }
    for resource in RESOURCES {
        let list = client.get(&format!("/{resource}")).await.expect(200).json();
        let rows = list["data"].as_array().expect("rows");
        let export = client.get(&format!("/{resource}/export")).await.expect(200);
        assert_eq!(export.header("Content-Type"), "application/json; charset=utf-8");
        assert_eq!(export.header("Content-Disposition"), "");
        let expected = json!({"data": rows, "total": rows.len(), "page": 1, "pageSize": 1000});
        assert_eq!(export.json(), expected, "{resource}");
        assert_eq!(
            client.get(&format!("/export/{resource}?format=json")).await.json(),
            expected,
            "{resource}"
        );
    }
    let page = client.get("/contacts/export?page=2&pageSize=2&sort=name").await.expect(200).json();
    assert_eq!((&page["data"][0]["name"], &page["data"][1]["name"]), (&json!("n2"), &json!("n3")));
    assert_eq!((&page["total"], &page["page"], &page["pageSize"]), (&json!(5), &json!(2), &json!(2)));
    let deep = client.get("/contacts/export?page=4294967295&pageSize=5000").await.expect(200).json();
    assert_eq!((&deep["data"], &deep["total"]), (&json!([]), &json!(5)));
    let csv = client.get("/export/contacts?page=3&pageSize=2&sort=name").await.expect(200).text;
    assert_eq!(lines(&csv).len(), 1, "a page of CSV, if one is asked for");
    for wrong in ["pageSize=5001", "pageSize=0", "page=0", "page=x", "page=4294967296"] {
        client.get(&format!("/contacts/export?{wrong}")).await.expect_error(400, "BAD_REQUEST");
    }
    for wrong in ["format=xml", "sort=nothing", "isPrimary=maybe"] {
        client.get(&format!("/contacts/export?{wrong}")).await.expect_error(400, "VALIDATION_FAILED");
    }
    for unknown in ["cursor=x", "count=exact"] {
        client.get(&format!("/contacts/export?{unknown}")).await.expect_error(400, "UNKNOWN_PARAMETER");
    }
    app.stop().await;
}

#[tokio::test]
async fn exports_keep_to_the_tenant_the_scope_and_the_filters_and_leave_the_trash_out() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    create(&client, "/customers", json!({"name": "one", "level": "A"})).await;
    create(&client, "/customers", json!({"name": "two", "ownerId": "li"})).await;
    let gone = client.create_customer("gone").await;
    client.delete(&format!("/customers/{gone}")).await.expect(204);
    app.tenant("other").create_customer("theirs").await;
    let claims = json!({"sub": "li", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let li = app.anonymous().with_token(&token_with(&claims));

    let names = async |client: &Client, query: &str| {
        let csv = client.get(&format!("/export/customers?sort=name{query}")).await.expect(200).text;
        let page = client.get(&format!("/customers/export?sort=name{query}")).await.expect(200).json();
        let rows = page["data"].as_array().expect("rows").iter();
        let of_json: Vec<_> = rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
        let of_csv: Vec<_> =
            lines(&csv).iter().map(|line| line.split(',').nth(1).expect("a name").to_owned()).collect();
        assert_eq!(of_json, of_csv);
        assert_eq!(page["total"], of_json.len());
        of_json
    };
    assert_eq!(names(&client, "").await, ["one", "two"]);
    assert_eq!(names(&client, "&level=A").await, ["one"]);
    assert_eq!(names(&client, "&scope=self").await, ["one"]);
    assert_eq!(names(&li, "").await, ["two"]);
    assert_eq!(names(&li, "&scope=all").await, ["two"]);
    assert_eq!(names(&client, "&createdFrom=2100-01-01").await, [""; 0]);
    assert_eq!(names(&app.tenant("other"), "").await, ["theirs"]);
    app.stop().await;
}

#[tokio::test]
async fn a_body_is_chunked_and_its_headers_are_those_of_every_answer() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("华为").await;
    for (target, media_type) in [
        ("/export/customers", "text/csv; charset=utf-8"),
        ("/customers/export", "application/json; charset=utf-8"),
    ] {
        let answer =
            app.wire("GET", target).of("acme").header("Accept-Encoding", "gzip").send().await.expect(200);
        assert_eq!(answer.header("Content-Type"), Some(media_type));
        assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(answer.header("Content-Length"), None);
        assert_eq!(answer.header("Content-Encoding"), None);
        assert_eq!(answer.header("Cache-Control"), Some("private, no-store"));
        assert!(answer.header("X-Response-Time").is_some() && answer.header("X-Request-Id").is_some());
        assert!(answer.body.contains("华为"), "{answer:?}");
    }
    let head = app.tenant("acme").send(Method::HEAD, "/export/customers", None).await.expect(200);
    assert_eq!((head.text.as_str(), head.header("Content-Type")), ("", "text/csv; charset=utf-8"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_export_is_whole_and_in_order() {
    const ROWS: usize = 30_000;
    let app = fill(TestApp::start().await, ROWS).await;
    let client = app.tenant("acme");

    let csv = client.get("/export/customers").await.expect(200).text;

    assert!(csv.len() > 50 * 64 * 1024, "many pieces: {}", csv.len());
    let lines = lines(&csv);
    assert_eq!(lines.len(), ROWS);
    for (n, line) in lines.iter().skip(1).enumerate() {
        let n = ROWS - 1 - n;
        assert!(line.starts_with(&format!("c{n},n{n},,,1,")), "{line}");
    }
    let page = client.get("/customers/export?pageSize=5000&page=6").await.expect(200).json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(5000));
    assert_eq!((&page["total"], &page["data"][4999]["customerId"]), (&json!(ROWS), &json!("c1")));
    app.stop().await;
}

/// A client that asks for an export and reads no more than its beginning.
fn begin_export(app: &TestApp) -> TcpStream {
    let request = format!(
        "GET /export/customers HTTP/1.1\r\nHost: cell\r\nAuthorization: Bearer {}\r\n\r\n",
        token("acme", "tester")
    );
    let mut stream = TcpStream::connect(app.address()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer begins");
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_keeps_nobody_waiting_and_one_that_goes_away_ends_its_export() {
    // More than the sockets' buffers hold.
    let app = fill(TestApp::start().await, 100_000).await;
    let client = app.tenant("acme");

    let slow = begin_export(&app);
    let created = client.create_customer("meanwhile").await;
    client.get(&format!("/customers/{created}")).await.expect(200);
    client.get("/customers?count=none").await.expect(200);
    client.get("/reports/customer-analysis").await.expect(200);
    let second = client.get("/export/customers?pageSize=1").await;
    assert_eq!(
        second.expect_error(429, "RATE_LIMIT").header("Retry-After"),
        "1",
        "one at a time in a tenant"
    );

    drop(slow);
    eventually("the export has ended", async || {
        client.get("/export/customers?pageSize=1").await.status == 200
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_fails_on_its_way_breaks_off() {
    let app = fill(TestApp::start().await, 5_000).await;
    let directory = app.stop().await;
    let unreadable = "update customers set name = cast(x'ff' as text) where id = 'c100'";
    db_execute(directory.path(), "acme", unreadable).await;
    let app = Setup::default().over(&directory).start().await;
    let request = |target: &str| {
        let token = token("acme", "tester");
        format!(
            "GET {target} HTTP/1.1\r\nHost: cell\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
    };

    for target in ["/export/customers", "/export/customers?format=json&pageSize=5000"] {
        let (address, request) = (app.address().to_owned(), request(target));
        let answer = tokio::task::spawn_blocking(move || raw(&address, request)).await.expect("sent");

        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: most of it was fine");
        assert!(answer.contains("n2000"), "{target}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{target}: nobody takes it for whole");
        let whole = app.tenant("acme").try_send(Method::GET, target, None).await;
        assert!(whole.is_err(), "{target}: a client's library says so");
    }
    app.tenant("acme").get("/customers?pageSize=1").await.expect(200);
    app.stop().await;
}
