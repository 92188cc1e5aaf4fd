//! Documents that would drift from the code: what they list is compared with what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// `RECORD_README=1 cargo test --test documents` writes it anew.
#[test]
fn the_readmes_table_of_settings_is_that_of_the_default_file() {
    let settings = settings_of_the_default_file();
    let rows: String = settings
        .iter()
        .map(|Setting { names, default, meaning }| format!("| {names} | {default} | {meaning} |\n"))
        .collect();
    let readme = read("README.md");
    let head = "| variable | default | meaning |\n|---|---|---|\n";
    let (before, after) = readme.split_once(head).expect("a table");
    let (table, after) = after.split_once("\n\n").expect("an end of the table");
    if std::env::var_os("RECORD_README").is_some() {
        fs::write(root().join("README.md"), format!("{before}{head}{rows}\n{after}")).expect("written");
    } else {
        assert_eq!(
            format!("{table}\n"),
            rows,
            "README.md is stale: RECORD_README=1 cargo test --test documents"
        );
    }
}

#[test]
fn the_chinese_readme_lists_the_same_settings_with_the_same_defaults() {
    let settings = settings_of_the_default_file().into_iter();
    let expected: Vec<_> = settings.map(|setting| vec![setting.names, setting.default]).collect();
    let listed = rows(&section(&read("README.zh-CN.md"), "## 配置"));
    assert_eq!(listed.iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>(), expected);
}

#[test]
fn the_readmes_show_the_same_commands_with_the_same_output() {
    let code = |readme: &str| -> Vec<String> {
        read(readme).split("```").skip(1).step_by(2).map(str::to_owned).collect()
    };
    let shown = code("README.md");
    assert!(shown.len() > 7, "{shown:?}");
    assert_eq!(shown, code("README.zh-CN.md"));
}

#[test]
fn every_documented_variable_is_named_where_its_setting_is() {
    let settings = read("src/config/settings.rs");
    for Setting { names, .. } in settings_of_the_default_file() {
        let first = names.split(", ").next().unwrap_or_default();
        assert!(settings.contains(&format!("/// {first}: ")), "{first} is not in src/config/settings.rs");
    }
}

#[test]
fn the_api_lists_every_code_of_an_error_with_its_status() {
    let source = read("src/http/error.rs");
    let codes = section(&source, "codes! {");
    let mut real = BTreeSet::new();
    for entry in codes.lines().filter_map(|line| line.split_once(" = ").map(|(_, entry)| entry)) {
        let (status, code) = entry.split_once(' ').expect("a status and a code");
        real.insert((number_of(status), code.trim_matches(|c| c == '"' || c == ',').to_owned()));
    }
    let listed: BTreeSet<_> = rows(&section(&read("docs/API.md"), "## Errors"))
        .into_iter()
        .map(|row| (row[0].parse().expect("a status"), row[1].trim_matches('`').to_owned()))
        .collect();
    assert!(real.len() > 15, "{real:?}");
    same(&listed, &real, "docs/API.md", "Code in src/http/error.rs");
}

#[test]
fn the_api_lists_every_problem_of_a_field() {
    let source = read("src/http/error.rs");
    let real: BTreeSet<_> =
        quoted(&section(&source, "fn problem_code")).into_iter().map(str::to_owned).collect();
    let text = section(&read("docs/API.md"), "## Errors");
    let line = text.lines().find(|line| line.starts_with("Codes of single fields:")).expect("a line");
    let listed: BTreeSet<_> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    same(&listed, &real, "docs/API.md", "problem_code in src/http/error.rs");
}

#[test]
fn the_operations_guide_lists_every_metric() {
    let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_') && *text != "crm";
    let app = read("src/app/readings.rs");
    let telemetry = read("src/telemetry/metrics.rs");
    let readings = section(&app, "pub(super) fn readings(");
    let counted = section(&telemetry, "pub fn new(readings");
    let process = read("src/telemetry/process.rs");
    let process = section(&process, "impl Collector for Process");
    let real: BTreeSet<_> = [quoted(&readings), quoted(&counted), quoted(&process)]
        .concat()
        .into_iter()
        .filter(is_name)
        .map(str::to_owned)
        .collect();
    let listed: BTreeSet<_> = rows(&section(&read("docs/OPERATIONS.md"), "## Watching"))
        .into_iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .map(|name| {
            let name = name.trim_matches('`').trim_start_matches("crm_");
            let name = name.split('{').next().unwrap_or_default();
            name.strip_suffix("_total").unwrap_or(name).to_owned()
        })
        .collect();
    assert!(real.len() > 10, "{real:?}");
    same(&listed, &real, "docs/OPERATIONS.md", "src/app/readings.rs and src/telemetry");
}

#[test]
fn the_schema_lists_every_column_of_every_view_in_its_place_with_its_type() {
    let text = read("docs/SCHEMA.md");
    let mut listed = Vec::new();
    for part in text.split("\n### ") {
        let name = part.lines().next().unwrap_or_default();
        let has_version =
            name.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        for row in rows(part).into_iter().filter(|_| has_version) {
            listed.push([name.to_owned(), row[0].trim_matches('`').to_owned(), row[1].clone()]);
        }
    }
    let mut real = Vec::new();
    let file = file_with_rows();
    for view in texts(
        &file,
        "select name from sqlite_master where type = 'view' and name glob 'v[0-9]*' order by rowid",
    ) {
        for column in texts(&file, &format!("select name from pragma_table_info('{view}') order by cid")) {
            let types =
                format!("select distinct typeof({column}) as type from {view} order by type = 'null', type");
            let types = texts(&file, &types).join(" or ");
            real.push([view.clone(), column, types]);
        }
    }
    assert!(real.len() > 80, "{real:?}");
    let place = listed.iter().zip(&real).take_while(|(listed, real)| listed == real).count();
    assert_eq!(
        listed.get(place),
        real.get(place),
        "the first difference of docs/SCHEMA.md (left) from src/tenancy/views.sql (right)"
    );
}

#[test]
fn every_call_of_the_platforms_clients_names_a_test_that_exists() {
    let rows = rows(&section(&read("docs/API.md"), "## The platform's clients and tools"));
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in &rows {
        let shown_by = row.last().expect("a column");
        let mut words = shown_by.split('`').skip(1).step_by(2);
        let (first, second) = (words.next().expect("a test or a file"), words.next());
        let (test, file) = match second {
            Some(file) => (Some(first), file),
            None if first.contains('/') => (None, first),
            None => (Some(first), "tests/api/platform.rs"),
        };
        let tests = read(file);
        assert!(test.is_none_or(|test| tests.contains(&format!("fn {test}()"))), "{shown_by}");
    }
}

#[test]
fn links_and_named_files_exist() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document.to_string_lossy());
        let beside = document.parent().expect("a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let target = if path.is_empty() { document.clone() } else { beside.join(path) };
            if !root().join(&target).exists() {
                broken.push(format!("{}: {link}", document.display()));
            } else if !anchor.is_empty() && !anchors(&target).contains(anchor) {
                broken.push(format!("{}: {link} has no such heading", document.display()));
            }
        }
        let words = text.split(|c: char| c.is_whitespace() || "`|()".contains(c));
        for word in words.map(|word| word.trim_end_matches(['.', ',', ':', ';'])) {
            let is_ours = ["src/", "tests/", "suites/", "config/", "deploy/", ".ci/", ".cargo/"]
                .iter()
                .any(|part| word.starts_with(part));
            let is_there =
                || [Path::new(""), beside].iter().any(|from| root().join(from).join(word).exists());
            if is_ours && !word.contains(['<', '*']) && !is_there() {
                broken.push(format!("{}: there is no {word}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// A row with a value in every column that a view shows, and one with nulls wherever there may be any.
const FULL_AND_BARE_ROWS: &str = "
    insert into meta (id, tenant_id, created_at) values (1, 'acme', 1);
    insert into customers (id, name, name_key, lifecycle, level, source, industry, region, address, website, remark, owner_id,
        next_follow_up_at, last_follow_up_at, created_at, updated_at)
        values ('c1', 'a', 'a', 'lead', 'A', 's', 'i', 'r', 'a', 'w', 'r', 'o', 1, 1, 1, 1);
    insert into customers (id, name, name_key, owner_id, created_at, updated_at) values ('c2', 'b', 'b', 'o', 1, 1);
    insert into contacts (id, customer_id, name, title, department, role, owner_id, created_at, updated_at)
        values ('k1', 'c1', 'a', 't', 'd', 'r', 'o', 1, 1);
    insert into contacts (id, customer_id, name, owner_id, created_at, updated_at) values ('k2', 'c1', 'b', 'o', 1, 1);
    insert into opportunities (id, customer_id, title, probability_pct, expected_close_date, closed_at, lost_reason, owner_id,
        created_at, updated_at) values ('o1', 'c1', 'a', 10, '2026-11-22', 1, 'l', 'o', 1, 1);
    insert into opportunities (id, customer_id, title, probability_pct, owner_id, created_at, updated_at)
        values ('o2', 'c1', 'b', 10, 'o', 1, 1);
    insert into follow_ups (id, customer_id, opportunity_id, contact_id, content, occurred_at, next_follow_up_at, owner_id,
        created_at, updated_at) values ('f1', 'c1', 'o1', 'k1', 'a', 1, 1, 'o', 1, 1);
    insert into follow_ups (id, content, occurred_at, owner_id, created_at, updated_at) values ('f2', 'b', 1, 'o', 1, 1);
    insert into journal (at, actor, action, resource, record_id, version, trace_id, changes)
        values (1, 'u', 'a', 'r', 'c1', 1, 't', '{}'), (1, 'u', 'a', 'r', 'c1', 2, null, '{}');
    insert into outbox (event_id, type, record_id, at, data, not_before, failure, trace_id)
        values ('e1', 't', 'c1', 1, '{}', 1, 'f', 't'), ('e2', 't', 'c1', 1, '{}', null, null, null);
    insert into inbox (event_id, type, at, data, state, subject, reason, record_id, retry_at, trace_id)
        values ('e1', 't', 1, '{}', 'applied', 's', 'r', 'o1', 1, 't'), ('e2', 't', 1, '{}', 'applied', null, null, null, null, null);
    insert into members (user_id, added_at) values ('u', 1);
";

/// A copy of a tenant's file of today with these rows.
fn file_with_rows() -> Connection {
    let file = Connection::open_in_memory().expect("opened");
    for migration in sqlx::migrate!().iter() {
        file.execute_batch(migration.sql.as_str()).expect("migrated");
    }
    file.execute_batch(include_str!("../src/tenancy/views.sql")).expect("views");
    file.execute_batch(FULL_AND_BARE_ROWS).expect("filled");
    file
}

/// The texts that a query selects.
fn texts(file: &Connection, sql: &str) -> Vec<String> {
    let mut statement = file.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let texts = statement.query_map([], |row| row.get(0)).expect("run");
    texts.collect::<Result<_, _>>().expect("texts")
}

/// Fails with what only one of two places has.
#[track_caller]
fn same<T: Ord + std::fmt::Debug>(listed: &BTreeSet<T>, real: &BTreeSet<T>, document: &str, source: &str) {
    let only_listed: Vec<_> = listed.difference(real).collect();
    let only_real: Vec<_> = real.difference(listed).collect();
    assert!(
        only_listed.is_empty() && only_real.is_empty(),
        "only in {document}: {only_listed:?}; only in {source}: {only_real:?}"
    );
}

/// The variables that `config/default.toml` documents, as the README writes them, with their defaults.
struct Setting {
    names: String,
    default: String,
    meaning: String,
}

/// The settings that have variables of their own, in their order.
fn settings_of_the_default_file() -> Vec<Setting> {
    let mut found = Vec::new();
    let mut comment: Option<(String, String)> = None;
    for line in read("config/default.toml").lines() {
        if let Some(text) = line.strip_prefix("# ") {
            let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let named = text.split_once(": ").filter(|(list, _)| list.split(", ").all(is_name));
            match (named, &mut comment) {
                (Some((names, meaning)), _) => comment = Some((names.to_owned(), meaning.to_owned())),
                (None, Some((_, meaning))) => *meaning += &format!(" {text}"),
                (None, None) => {}
            }
        } else if let Some((names, meaning)) = comment.take() {
            let quoted: Vec<_> = names.split(", ").map(|name| format!("`{name}`")).collect();
            let default = match line.split_once(" = ") {
                Some((key, value)) if !key.starts_with('#') => format!("`{}`", value.trim_matches('"')),
                _ => "–".to_owned(),
            };
            let (first, rest) = meaning.split_at(1);
            let meaning = format!("{}{}", first.to_uppercase(), rest.trim_end_matches('.'));
            found.push(Setting { names: quoted.join(", "), default, meaning });
        }
    }
    assert!(found.len() > 15, "only {}", found.len());
    found
}

/// The rows of the tables in a text, without their headings.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut in_a_table = false;
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_a_table = false;
            continue;
        };
        if row.chars().all(|c| "-|: ".contains(c)) {
            in_a_table = true;
        } else if in_a_table {
            rows.push(row.split('|').map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// From the line that contains `start` to the end of that item: the next heading of its level, or the closing brace of its
/// indentation.
fn section(text: &str, start: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.contains(start));
    let first = lines.next().unwrap_or_else(|| panic!("there is no {start:?}"));
    let indent = &first[..first.len() - first.trim_start().len()];
    let end = format!("{indent}}}");
    let body = lines
        .take_while(|line| if first.starts_with("## ") { !line.starts_with("## ") } else { *line != end });
    body.collect::<Vec<_>>().join("\n")
}

/// The string literals in Rust code that has no escapes.
fn quoted(code: &str) -> Vec<&str> {
    code.split('"').skip(1).step_by(2).collect()
}

fn number_of(name: &str) -> u16 {
    match name {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "CONFLICT" => 409,
        "PRECONDITION_FAILED" => 412,
        "PAYLOAD_TOO_LARGE" => 413,
        "UNSUPPORTED_MEDIA_TYPE" => 415,
        "UNPROCESSABLE_ENTITY" => 422,
        "LOCKED" => 423,
        "TOO_MANY_REQUESTS" => 429,
        "INTERNAL_SERVER_ERROR" => 500,
        "SERVICE_UNAVAILABLE" => 503,
        other => panic!("give {other} its number here"),
    }
}

/// The anchors of a document's headings, as Markdown renderers make them.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = read(&document.to_string_lossy());
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// All documents, relative to the repository.
fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for directory in ["", "docs", "docs/adr", "deploy/kubernetes", "deploy/monitoring", "deploy/platform"] {
        for entry in fs::read_dir(root().join(directory)).expect("readable") {
            let path = Path::new(directory).join(entry.expect("readable").file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    assert!(documents.len() > 5, "{documents:?}");
    documents
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
