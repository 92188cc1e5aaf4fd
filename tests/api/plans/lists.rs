//! Every list as the API document describes it, and what it can be asked for.

use serde_json::Value;

use crate::battery::table::TABLE;
use crate::battery::world::World;
use crate::support::Client;

const NO_FILTERS: [&str; 7] = ["page", "pageSize", "cursor", "count", "lang", "scope", "sort"];

#[derive(Debug)]
pub(super) struct ListOf {
    pub(super) path: &'static str,
    pub(super) sort_keys: Vec<String>,
    pub(super) filters: Vec<Filter>,
}

/// A parameter that selects rows, with a value that it takes.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    value: String,
}

/// A request for a list.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) list: &'static str,
    /// What narrows it: a filter, the `scope`, or both; `all` if nothing does.
    pub(super) narrowed_by: Vec<String>,
    pub(super) path: String,
}

/// All lists of the document.
pub(super) async fn lists(world: &World, client: &Client) -> Vec<ListOf> {
    let mut lists = Vec::new();
    for row in TABLE.iter().filter(|row| row.is_list()) {
        let record = client.get(row.path).await.expect(200).json()["data"][0].clone();
        let operation = &world.document["paths"][row.documented_path()]["get"];
        let parameters = operation["parameters"].as_array().expect("parameters");
        let of_the_query = || parameters.iter().filter(|parameter| parameter["in"] == "query");
        let name_of = |parameter: &Value| parameter["name"].as_str().expect("a name").to_owned();
        let sort = of_the_query().find(|parameter| name_of(parameter) == "sort").expect("an order");
        let keys = sort["description"].as_str().expect("the keys").split(" (").next().unwrap_or_default();
        let filters = of_the_query().filter(|parameter| !NO_FILTERS.contains(&name_of(parameter).as_str()));
        let filter = |parameter: &Value| {
            let name = name_of(parameter);
            Filter { value: value_of(&name, &parameter["schema"], &record), name }
        };
        lists.push(ListOf {
            path: row.path,
            sort_keys: keys.split(", ").map(str::to_owned).collect(),
            filters: filters.map(filter).collect(),
        });
    }
    assert!(lists.len() >= 6, "the document has only {} lists", lists.len());
    lists
}

/// A value that the filter takes. How a statement is run does not depend on it.
fn value_of(name: &str, schema: &Value, record: &Value) -> String {
    if let Some(word) = schema.pointer("/enum/0") {
        return word.to_string().trim_matches('"').to_owned();
    }
    let ends_with = |end: &str| name.to_ascii_lowercase().ends_with(end);
    match (ends_with("from"), ends_with("to"), record[name].as_str()) {
        (true, ..) => "2000-01-01".to_owned(),
        (_, true, _) => "2100-01-01".to_owned(),
        (.., Some(text)) if !text.is_empty() => text.to_owned(),
        _ => "x".to_owned(),
    }
}

impl ListOf {
    /// Requests in every order, with every filter, and in every order of one key with every filter; by page and by cursor;
    /// of all rows and of the caller's own.
    pub(super) async fn requests(&self, client: &Client) -> Vec<Asked> {
        let mut requests = Vec::new();
        for scope in ["all", "self"] {
            let base = format!("{}?scope={scope}", self.path);
            let mut ask = |path: String, filter: Option<&Filter>| {
                let mut narrowed_by: Vec<_> = filter.map(|filter| filter.name.clone()).into_iter().collect();
                if scope == "self" {
                    narrowed_by.push("scope".to_owned());
                } else if filter.is_none() {
                    narrowed_by.push("all".to_owned());
                }
                requests.push(Asked { list: self.path, narrowed_by, path });
            };
            ask(base.clone(), None);
            for order in self.orders() {
                let sorted = format!("{base}&sort={order}&pageSize=1");
                let cursor = client.get(&sorted).await.expect(200).json()["nextCursor"].clone();
                ask(format!("{sorted}&page=2&count=exact"), None);
                match cursor.as_str() {
                    Some(cursor) => ask(format!("{sorted}&cursor={cursor}"), None),
                    // Nobody's own.
                    None => {
                        assert!(scope == "self" && self.path.starts_with("/events/"), "two rows at least");
                    }
                }
            }
            for filter in &self.filters {
                let Filter { name, value } = filter;
                let filtered = format!("{base}&{name}={value}");
                ask(filtered.clone(), Some(filter));
                for key in &self.sort_keys {
                    ask(format!("{filtered}&sort={key}"), Some(filter));
                    ask(format!("{filtered}&sort=-{key}"), Some(filter));
                }
            }
        }
        requests
    }

    /// One key in either direction, and every two of them.
    pub(super) fn orders(&self) -> Vec<String> {
        let single = self.sort_keys.iter().flat_map(|key| [key.clone(), format!("-{key}")]);
        let pairs = self.sort_keys.iter().flat_map(|first| {
            let others = self.sort_keys.iter().filter(move |second| *second != first);
            others.flat_map(move |second| [format!("{first},{second}"), format!("-{first},{second}")])
        });
        single.chain(pairs).collect()
    }
}
