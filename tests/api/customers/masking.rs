//! Phones leave the service masked (contract §6).

use serde_json::json;

use crate::support::{Setup, TestApp, db_select};

const PHONE: &str = "13812345678";
const MASK: &str = "138****5678";

#[tokio::test]
async fn a_phone_shows_its_first_three_and_last_four_digits() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (index, (phone, mask)) in [
        (PHONE, MASK),
        ("+86 138-1234-5678", "861****5678"),
        ("(010) 6234 5678", "010****5678"),
        ("12345678", "123****5678"),
        ("1234567", "***"),
        ("110", "***"),
        ("分机", "***"),
        ("１３８１２３４５６７８", "***"),
        ("", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"name": format!("C{index}"), "contactPhone": phone});
        let created = client.post("/customers", &body).await.expect(201).json();
        assert_eq!(created["contactPhone"], mask, "{phone}");
    }
}

#[tokio::test]
async fn no_answer_event_or_journal_row_holds_a_phone() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "contactPhone": PHONE});
    let created = client.post_as("r", "/customers", &body).await.expect(201);
    let path = format!("/customers/{}", created.json()["customerId"].as_str().expect("an id"));

    let answers = [
        created,
        client.post_as("r", "/customers", &body).await.expect(201),
        client.get(&path).await.expect(200),
        client.get("/customers").await.expect(200),
        client.patch(&path, &json!({"level": "A"})).await.expect(200),
        client.patch(&path, &json!({"contactPhone": "13987654321"})).await.expect(200),
        client.patch(&path, &json!({"contactPhone": PHONE})).await.expect(200),
        client.post("/customers", &json!({"name": "A", "contactPhone": PHONE})).await.expect(400),
    ];

    for answer in answers {
        for digits in [PHONE, "12345678", "13987654321", "87654321"] {
            assert!(!answer.text.contains(digits), "{}", answer.text);
        }
    }
    let directory = app.stop().await;
    let told = db_select(
        directory.path(),
        "acme",
        "select changes as told from journal union all select data from outbox union all select response from idempotency",
    )
    .await;
    assert!(told.len() >= 8, "{told:?}");
    for row in told {
        let row = row.to_string();
        assert!(!row.contains(PHONE) && !row.contains("13987654321"), "{row}");
    }
    let stored = db_select(directory.path(), "acme", "select contact_phone from customers").await;
    assert_eq!(stored, [json!({"contact_phone": PHONE})], "the file itself keeps the phone");
}

#[tokio::test]
async fn writing_back_the_mask_leaves_the_phone_and_changing_it_does_not_keep_the_mask() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "contactPhone": PHONE});
    let created = client.post("/customers", &body).await.expect(201).json();
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));

    let same = client.patch(&path, &json!({"contactPhone": MASK})).await.expect(200).json();
    let with_another = json!({"contactPhone": MASK, "level": "A"});
    let another = client.patch(&path, &with_another).await.expect(200).json();

    assert_eq!(same, created);
    assert_eq!((&another["version"], &another["contactPhone"]), (&json!(2), &json!(MASK)));
    let directory = app.stop().await;
    let stored = db_select(directory.path(), "acme", "select contact_phone from customers").await;
    assert_eq!(stored, [json!({"contact_phone": PHONE})]);
}

#[tokio::test]
async fn any_other_value_with_an_asterisk_is_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "contactPhone": PHONE});
    let created = client.post("/customers", &body).await.expect(201).json();
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));
    for wrong in ["139****5678", "138****5679", "138***5678", "***", "*", "13812345678*"] {
        let patched = client.patch(&path, &json!({"contactPhone": wrong})).await;
        let answer = patched.expect_error(400, "MASKED_VALUE").json();
        assert_eq!(answer["errors"][0]["field"], "contactPhone", "{wrong}");
        assert_eq!(answer["errors"][0]["code"], "MASKED");
    }
    for wrong in [MASK, "***", "*"] {
        let created = client.post("/customers", &json!({"name": "B", "contactPhone": wrong})).await;
        created.expect_error(400, "MASKED_VALUE");
    }
    let unchanged = client.get(&path).await.json();
    assert_eq!(unchanged, created);
}

#[tokio::test]
async fn the_mask_of_another_customers_phone_is_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.post("/customers", &json!({"name": "A", "contactPhone": PHONE})).await.expect(201);
    let id = client.create_customer("B").await;

    let answer = client.patch(&format!("/customers/{id}"), &json!({"contactPhone": MASK})).await;

    answer.expect_error(400, "MASKED_VALUE");
}

#[tokio::test]
async fn e_mail_is_plain_by_default_and_may_hold_an_asterisk() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (index, email) in ["li.lei@example.com", "a*b@example.com"].into_iter().enumerate() {
        let body = json!({"name": format!("C{index}"), "contactEmail": email});
        let created = client.post("/customers", &body).await.expect(201).json();
        assert_eq!(created["contactEmail"], email);
    }
}

#[tokio::test]
async fn e_mail_is_masked_everywhere_if_so_configured() {
    let app = Setup::default().with("CRM_MASK_EMAIL", "1").start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "contactEmail": "li.lei@example.com"});
    let created = client.post("/customers", &body).await.expect(201).json();
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));

    let same = client.patch(&path, &json!({"contactEmail": "l***@example.com"})).await.expect(200);
    let wrong = client.patch(&path, &json!({"contactEmail": "x***@example.com"})).await;
    let list = client.get("/customers").await.expect(200).json();

    assert_eq!(created["contactEmail"], "l***@example.com");
    assert_eq!(same.json(), created);
    wrong.expect_error(400, "MASKED_VALUE");
    assert_eq!(list["data"][0]["contactEmail"], "l***@example.com");
    let directory = app.stop().await;
    let told = "select changes as told from journal union all select data from outbox";
    for row in db_select(directory.path(), "acme", told).await {
        assert!(!row.to_string().contains("li.lei"), "{row}");
    }
    let stored = db_select(directory.path(), "acme", "select contact_email from customers").await;
    assert_eq!(stored, [json!({"contact_email": "li.lei@example.com"})]);
}
