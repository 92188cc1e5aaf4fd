//! Versions: nobody overwrites what they have not seen (contract §6).

use serde_json::{Value, json};

use crate::support::{Answer, Client, TestApp};

/// A customer at version 3, and its path.
async fn at_version_3(client: &Client) -> String {
    let id = client.create_customer("A").await;
    let path = format!("/customers/{id}");
    for level in ["second", "third"] {
        client.patch(&path, &json!({"level": level})).await.expect(200);
    }
    path
}

#[track_caller]
fn assert_stale(answer: Answer) {
    let answer = answer.expect_error(412, "VERSION_MISMATCH").json();
    assert_eq!(answer["message"], "记录已被修改，请刷新后重试");
}

#[tokio::test]
async fn each_change_adds_one_and_shows_in_body_and_etag() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;

    let answer = client.get(&path).await.expect(200);

    assert_eq!(answer.json()["version"], 3);
    assert_eq!(answer.header("etag"), "\"v3\"");
}

#[tokio::test]
async fn a_patch_with_the_present_version_passes_however_it_is_given() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;

    for (version, header) in [(3, "\"v3\""), (4, "v4"), (5, "5"), (6, "\"6\""), (7, "W/\"v7\""), (8, "*")] {
        let answer = client.clone().with("If-Match", header);
        let answer = answer.patch(&path, &json!({ "level": version })).await;
        answer.expect(400); // a number is not a level: the version alone must not change anything
        let answer = client.clone().with("If-Match", header);
        let answer = answer.patch(&path, &json!({"level": header})).await;
        assert_eq!(answer.expect(200).json()["version"], version + 1, "{header}");
    }
    let answer = client.patch(&path, &json!({"level": "by body", "ifVersion": 9})).await;
    assert_eq!(answer.expect(200).json()["version"], 10);
    let answer = client.patch(&path, &json!({"level": "by 1.0", "ifVersion": 10.0})).await;
    assert_eq!(answer.expect(200).json()["version"], 11);
    let answer = client.patch(&format!("{path}?ifVersion=11"), &json!({"level": "by query"})).await;
    assert_eq!(answer.expect(200).json()["version"], 12);
    let thrice = client.clone().with("If-Match", "\"v12\"");
    let thrice =
        thrice.patch(&format!("{path}?ifVersion=12"), &json!({"level": "all", "ifVersion": 12})).await;
    assert_eq!(thrice.expect(200).json()["version"], 13);
    let blank =
        client.patch(&format!("{path}?ifVersion="), &json!({"level": "none", "ifVersion": null})).await;
    assert_eq!(blank.expect(200).json()["version"], 14);
}

#[tokio::test]
async fn a_patch_or_delete_with_a_stale_or_future_version_is_refused_and_changes_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;
    let before = client.get(&path).await.json();
    let body = json!({"level": "Z"});

    for version in [0, 1, 2, 4, -3] {
        let header = client.clone().with("If-Match", &format!("\"v{version}\""));
        assert_stale(header.patch(&path, &body).await);
        assert_stale(header.delete(&path).await);
        let query = format!("{path}?ifVersion={version}");
        assert_stale(client.patch(&query, &body).await);
        assert_stale(client.delete(&query).await);
        assert_stale(client.patch(&path, &json!({"level": "Z", "ifVersion": version})).await);
    }

    assert_eq!(client.get(&path).await.json(), before);
}

#[tokio::test]
async fn a_stale_version_is_told_even_if_the_patch_would_change_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;

    assert_stale(client.patch(&path, &json!({"level": "third", "ifVersion": 2})).await);
    assert_stale(client.patch(&path, &json!({"ifVersion": 2})).await);
}

#[tokio::test]
async fn versions_that_disagree_are_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;
    let with_header = client.clone().with("If-Match", "\"v3\"");

    for answer in [
        with_header.patch(&path, &json!({"level": "Z", "ifVersion": 2})).await,
        with_header.patch(&format!("{path}?ifVersion=2"), &json!({"level": "Z"})).await,
        client.patch(&format!("{path}?ifVersion=3"), &json!({"level": "Z", "ifVersion": 2})).await,
        with_header.delete(&format!("{path}?ifVersion=2")).await,
        client.patch(&format!("{path}?ifVersion=3&ifVersion=2"), &json!({"level": "Z"})).await,
        client.patch(&format!("{path}?ifVersion=2&ifVersion=3"), &json!({"level": "Z"})).await,
        client.delete(&format!("{path}?ifVersion=2&ifVersion=3")).await,
        client.delete(&format!("{path}?ifVersion=3&ifVersion=2")).await,
    ] {
        answer.expect_error(400, "BAD_REQUEST");
    }
    let twice = app.wire("DELETE", &path).of("acme");
    let twice = twice.header("If-Match", "\"v3\"").header("If-Match", "\"v2\"");
    twice.send().await.expect_error(400, "BAD_REQUEST");
    assert_eq!(client.get(&path).await.json()["version"], 3);
}

#[tokio::test]
async fn a_malformed_version_is_refused_and_never_ignored() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;
    for header in ["\"vx\"", "\"\"", "v", "\"v3\", \"v2\"", "3.5", "\"v99999999999999999999\""] {
        let sent = client.clone().with("If-Match", header);
        sent.patch(&path, &json!({"level": "Z"})).await.expect_error(400, "BAD_REQUEST");
        sent.delete(&path).await.expect_error(400, "BAD_REQUEST");
    }
    for query in ["x", "3.0", "v3x", "99999999999999999999"] {
        let target = format!("{path}?ifVersion={query}");
        client.patch(&target, &json!({"level": "Z"})).await.expect_error(400, "BAD_REQUEST");
        client.delete(&target).await.expect_error(400, "BAD_REQUEST");
    }
    for body in [json!("3"), json!(3.5), json!(true), json!([3]), json!({"v": 3})] {
        let answer = client.patch(&path, &json!({"level": "Z", "ifVersion": body})).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        assert_eq!(answer["errors"][0]["field"], "ifVersion");
    }
    assert_eq!(client.get(&path).await.json()["level"], "third");
}

#[tokio::test]
async fn of_many_that_saw_the_same_version_one_changes_it() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = at_version_3(&client).await;

    let asked: Vec<_> = (0..30)
        .map(|index| {
            let (client, path) = (client.clone(), path.clone());
            tokio::spawn(async move {
                let body = json!({"level": format!("L{index}"), "ifVersion": 3});
                client.patch(&path, &body).await
            })
        })
        .collect();
    let mut changed = Vec::new();
    for answer in asked {
        let answer = answer.await.expect("no panic");
        if answer.status == 200 {
            changed.push(answer.json());
        } else {
            assert_stale(answer);
        }
    }

    assert_eq!(changed.len(), 1);
    assert_eq!(client.get(&path).await.json(), changed[0]);
    assert_eq!(changed[0]["version"], Value::from(4));
}

#[tokio::test]
async fn a_patch_on_an_older_version_goes_through_unless_its_fields_have_been_altered_since() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);
    for patch in [json!({"level": "B"}), json!({"region": "华东", "contactPhone": "13800135678"})] {
        client.patch(&path, &patch).await.expect(200);
    }
    let patch = async |body: Value| client.patch(&path, &body).await;

    let merged = patch(json!({"baseVersion": 1, "industry": "通信"})).await.expect(200).json();
    assert_eq!((&merged["version"], &merged["level"]), (&json!(4), &json!("B")));
    // A field that is not altered is not written, whatever happened to it.
    patch(json!({"baseVersion": 1, "level": "B", "source": "展会"})).await.expect(200);
    let refused = patch(json!({"baseVersion": 1, "level": "C", "region": "华南", "remark": "x"})).await;
    let refused = refused.expect_error(409, "FIELD_CONFLICT").json();
    assert_eq!(refused["conflict"], json!({"version": 5, "fields": ["level", "region"]}));
    // As of version 2 the level is known, the region is not.
    patch(json!({"baseVersion": 2, "level": "C"})).await.expect(200);
    patch(json!({"baseVersion": 2, "region": "华南"})).await.expect_error(409, "FIELD_CONFLICT");
    // Behind the same mask another phone.
    patch(json!({"baseVersion": 2, "contactPhone": "13811115678"})).await.expect_error(409, "FIELD_CONFLICT");
    for (base, status, code) in [
        (json!(0), 412, "VERSION_MISMATCH"),
        (json!(7), 412, "VERSION_MISMATCH"),
        (json!("1"), 400, "VALIDATION_FAILED"),
    ] {
        patch(json!({"baseVersion": base, "level": "D"})).await.expect_error(status, code);
    }
    patch(json!({"baseVersion": 6, "ifVersion": 5, "level": "D"}))
        .await
        .expect_error(412, "VERSION_MISMATCH");
    patch(json!({"baseVersion": 6, "ifVersion": 6, "level": "D"})).await.expect(200);
    patch(json!({"baseVersion": null, "level": "E"})).await.expect(200);
}

#[tokio::test]
async fn of_many_patches_on_one_version_each_field_is_won_by_one() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);
    let patches = (0..40).map(|number| {
        let (client, path) = (client.clone(), path.clone());
        let field = ["level", "source", "region", "industry"][number % 4];
        async move { client.patch(&path, &json!({"baseVersion": 1, field: format!("{number}")})).await }
    });
    let answers = futures_util::future::join_all(patches).await;

    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!((1..=4).contains(&won.len()), "{}", won.len());
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.clone().expect_error(409, "FIELD_CONFLICT");
    }
    let version = client.get(&path).await.json()["version"].as_u64().expect("a version");
    assert_eq!(version, 1 + u64::try_from(won.len()).expect("few"));
}
