//! What the platform's delivery gate asks of the folder `cells/crm` is in `deploy/platform`, and is true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/platform")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(file: &str) -> Value {
    serde_norway::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_file_that_the_gate_asks_for_is_there() {
    for file in [
        "delivery.package",
        "completion.manifest",
        "cell_profile.md",
        "api_contract.yaml",
        "auto_healing.yaml",
        "src/app.py",
        "Dockerfile",
        "README.md",
        "dist/PACKAGE.md",
    ] {
        assert!(!text(file).trim().is_empty(), "{file}");
    }
}

#[test]
fn the_package_is_of_this_cell_and_this_version() {
    let package = yaml("delivery.package");
    let keys: BTreeSet<&str> = package.as_object().expect("keys").keys().map(String::as_str).collect();
    let asked = ["cell_name", "status", "version", "last_gap_at", "last_evolution_at", "completion_manifest"];
    assert_eq!(keys, BTreeSet::from(asked));
    assert_eq!(package["cell_name"], "crm");
    let manifest = yaml(package["completion_manifest"].as_str().expect("a file"));
    for version in [&package["version"], &manifest["version"]] {
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
    for file in ["Dockerfile", "dist/PACKAGE.md"] {
        assert!(text(file).contains(concat!("crm-cell:", env!("CARGO_PKG_VERSION"))), "{file}");
    }
    assert!(folder().join(manifest["contract"].as_str().expect("a file")).exists());
}

#[test]
fn the_rules_of_healing_are_those_that_the_platform_looks_for_and_name_metrics_that_exist() {
    let healing = yaml("auto_healing.yaml");
    assert_eq!(healing["cell"], "crm");
    let rules = healing["rules"].as_array().expect("rules");
    let ids: Vec<_> = rules.iter().filter_map(|rule| rule["id"].as_str()).collect();
    for id in ["api_error_rate_high", "connection_pool_exhausted"] {
        assert!(ids.contains(&id), "{id}");
    }
    // Which lists every metric: see `documents`.
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    for rule in rules {
        let metric = rule["metric"].as_str().expect("a metric");
        assert!(rule["condition"].as_str().is_some_and(|condition| condition.contains(metric)), "{rule}");
        let condition = rule["condition"].as_str().expect("a condition");
        let words = condition.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for named in words.filter(|word| word.starts_with("crm_") || word.starts_with("http_")) {
            let is_listed =
                [format!("`{named}`"), format!("`{named}{{")].iter().any(|name| guide.contains(name));
            assert!(is_listed, "there is no metric {named}");
        }
        let (file, anchor) = rule["runbook"].as_str().and_then(|link| link.split_once('#')).expect("a link");
        assert_eq!(file, "docs/OPERATIONS.md");
        let is_heading = |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase() == anchor;
        assert!(guide.lines().any(|line| line.starts_with("##") && is_heading(line)), "no heading {anchor}");
    }
}

#[test]
fn the_contract_file_describes_what_the_cell_serves() {
    let mut document = serde_json::to_value(crm_cell::http::document()).expect("JSON");
    drop_examples(&mut document);
    let generated = "# The API document of the cell, without its examples. Generated: RECORD_CONTRACT=1 cargo test --test delivery\n"
        .to_owned()
        + &serde_norway::to_string(&document).expect("YAML");
    if std::env::var_os("RECORD_CONTRACT").is_some() {
        std::fs::write(folder().join("api_contract.yaml"), &generated).expect("written");
    }
    let is_current = text("api_contract.yaml") == generated;
    assert!(is_current, "api_contract.yaml is out of date: RECORD_CONTRACT=1 cargo test --test delivery");
    assert_eq!(yaml("api_contract.yaml"), document, "read again, it is the same document");
}

/// Examples are half of the document, and for its readers.
fn drop_examples(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_media_type = object.contains_key("schema");
            object.retain(|key, _| !(is_media_type && key == "example"));
            object.values_mut().for_each(drop_examples);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_examples),
        _ => {}
    }
}
