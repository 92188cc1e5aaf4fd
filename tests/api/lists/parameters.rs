//! Parameters of lists: known by name, given once, and never ignored (contract §2).

use crate::support::TestApp;

#[tokio::test]
async fn an_unknown_parameter_is_refused_and_the_nearest_known_one_named() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("A").await;
    for (unknown, nearest) in [
        ("statsu", "status"),
        ("Status", "status"),
        ("pagesize", "pageSize"),
        ("page_size", "pageSize"),
        ("created_from", "createdFrom"),
        ("owner", "ownerId"),
        ("customer_id", "customerId"),
        ("sortBy", "sort"),
        ("cursr", "cursor"),
    ] {
        for query in [format!("{unknown}=1"), format!("status=1&{unknown}=1&page=1")] {
            let answer = client.get(&format!("/customers?{query}")).await;
            let answer = answer.expect_error(400, "UNKNOWN_PARAMETER").json();
            let message = answer["message"].as_str().expect("text");
            assert!(message.contains(unknown) && message.contains(nearest), "{message}");
        }
    }
    // A tenant that does not exist is no reason to ignore one.
    let nobody = app.tenant("nobody").get("/customers?statsu=1").await;
    nobody.expect_error(400, "UNKNOWN_PARAMETER");
}

#[tokio::test]
async fn a_parameter_given_twice_is_refused_even_with_one_value() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for query in [
        "status=1&status=2",
        "status=1&status=1",
        "status=1&status=",
        "status=&status=",
        "status&status=1",
        "page=1&page=1",
        "level=a&status=1&level=b",
        "statu%73=1&status=1",
        "unknown=1&unknown=1",
    ] {
        let answer = client.get(&format!("/customers?{query}")).await;
        let answer = answer.expect_error(400, "BAD_REQUEST").json();
        let name =
            if query.contains("level") { "level" } else { query.split(['=', '&']).next().expect("a name") };
        let name = name.replace("%73", "s");
        assert!(answer["message"].as_str().expect("text").contains(&name), "{query}: {answer}");
    }
}

#[tokio::test]
async fn an_empty_value_is_absent_and_names_with_an_underscore_are_ignored() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("A").await;
    let plain = client.get("/customers").await.expect(200);
    for query in [
        "status=&level=&sort=&cursor=&page=&pageSize=&count=&createdFrom=&customerId=",
        "status",
        "status=%20&level=+",
        "_=1700000000000",
        "_x=1&_x=2&_status=9",
        "unknown=",
        "&&",
        "lang=en",
    ] {
        let answer = client.get(&format!("/customers?{query}")).await.expect(200);
        assert_eq!(answer.text, plain.text, "{query}");
    }
}
