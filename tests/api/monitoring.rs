//! `deploy/monitoring/`: what its alerts and its dashboard ask for is what a running cell says of itself.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::TestApp;

/// What Prometheus says itself of every target.
const OF_PROMETHEUS: [&str; 2] = ["up", "scrape_duration_seconds"];

fn file(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(&file("deploy/monitoring/alerts.yaml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Every `expr` below `value`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The metrics that an expression selects: every one here is followed by its labels.
fn metrics_of(expression: &str) -> impl Iterator<Item = &str> {
    let before_labels = expression.split('{').collect::<Vec<_>>();
    let count = before_labels.len() - 1;
    let words = before_labels.into_iter().take(count).map(|text| {
        let start = text.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        &text[start..]
    });
    words.filter(|word| !word.is_empty()) // `${1}`
}

/// The samples of a running cell: their names, and the buckets of its histogram.
async fn samples() -> (BTreeSet<String>, BTreeSet<String>) {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("华为").await;
    let text = app.anonymous().get("/metrics?format=prometheus").await.expect(200).text;
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let names = lines().filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect();
    let bounds = lines().filter_map(|line| line.split("le=\"").nth(1)?.split('"').next());
    (names, bounds.map(str::to_owned).collect())
}

#[tokio::test]
async fn every_metric_that_an_alert_or_the_dashboard_asks_for_is_there() {
    let (names, bounds) = samples().await;
    let mut asked = Vec::new();
    expressions(&Value::Array(alerts()), &mut asked);
    let of_alerts = asked.len();
    assert!(of_alerts > 20, "{asked:?}");
    let dashboard = serde_json::from_str(&file("deploy/monitoring/dashboard.json")).expect("JSON");
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > of_alerts + 30, "{asked:?}");
    for expression in &asked {
        let mut metrics = metrics_of(expression).peekable();
        assert!(metrics.peek().is_some(), "it asks for nothing: {expression}");
        for metric in metrics {
            assert!(names.contains(metric) || OF_PROMETHEUS.contains(&metric), "no {metric}: {expression}");
        }
        for bound in expression.split("le=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(bounds.contains(bound), "no bucket {bound}: {expression}");
        }
    }
}

#[tokio::test]
async fn every_metric_is_on_the_dashboard() {
    let (names, _) = samples().await;
    let dashboard = file("deploy/monitoring/dashboard.json");
    let ours = names.iter().filter(|name| name.starts_with("crm_"));
    let unseen: Vec<_> = ours.filter(|name| !dashboard.contains(&format!("{name}{{"))).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_its_runbook() {
    let guide = file("docs/OPERATIONS.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        let link = format!("docs/OPERATIONS.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], link);
        let heading = format!("\n### {name}\n");
        let section = guide.split_once(&heading).unwrap_or_else(|| panic!("no section {name}")).1;
        let section = section.split("\n##").next().unwrap_or_default();
        assert!(section.trim().len() > 40, "{name}: {section}");
        assert!(matches!(alert["labels"]["severity"].as_str(), Some("page" | "ticket")), "{alert}");
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].as_str().is_some_and(|text| text.len() > 10), "{alert}");
        }
    }
}
