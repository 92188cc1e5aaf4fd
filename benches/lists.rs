//! What a list costs in a tenant with 100,000 customers, against one with 200: ratios of medians over HTTP, taken in
//! interleaved rounds of one run.
//!
//! `cargo bench --bench lists`

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use crm_cell::app::{App, Parts};
use crm_cell::config::{Config, Sources};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SMALL: (&str, u32) = ("small", 200);
const LARGE: (&str, u32) = ("large", 100_000);
const ROUNDS: usize = 9;
const REQUESTS_A_ROUND: usize = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cell = Cell::start(directory.path()).await?;
    for (tenant, _) in [SMALL, LARGE] {
        cell.create(tenant).await?;
    }
    cell.stop().await?;
    for (tenant, rows) in [SMALL, LARGE] {
        fill(&directory.path().join(format!("crm_cell/tenants/{tenant}.db")), rows).await?;
    }
    let cell = Cell::start(directory.path()).await?;
    println!("{:<28}{:>12}{:>12}{:>8}   medians of {ROUNDS} rounds", "", SMALL.0, LARGE.0, "ratio");
    for Scenario { name, paths, after_a_write } in scenarios(&cell).await? {
        let mut medians: [Vec<Duration>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for ((tenant, path), medians) in [SMALL.0, LARGE.0].into_iter().zip(&paths).zip(&mut medians) {
                medians.push(cell.median(tenant, path, after_a_write).await?);
            }
        }
        let [small, large] = medians.map(median);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        println!("{name:<28}{small:>12.1?}{large:>12.1?}{ratio:>8.2}");
    }
    cell.stop().await
}

struct Scenario {
    name: &'static str,
    /// What is asked of the small tenant and of the large one.
    paths: [String; 2],
    /// A customer is changed before each request: what was counted is not known any more.
    after_a_write: bool,
}

async fn scenarios(cell: &Cell) -> anyhow::Result<Vec<Scenario>> {
    let of = |name, paths| Scenario { name, paths, after_a_write: false };
    let both = |name, path: &str| of(name, [path.to_owned(), path.to_owned()]);
    let mut deep = [String::new(), String::new()];
    for (path, (tenant, page)) in deep.iter_mut().zip([(SMALL.0, 5), (LARGE.0, 4000)]) {
        let body = cell.get(tenant, &format!("/customers?page={page}")).await?;
        let cursor = body["nextCursor"].as_str().context("a cursor")?;
        *path = format!("/customers?cursor={cursor}");
    }
    Ok(vec![
        both("list page", "/customers"),
        Scenario { after_a_write: true, ..both("list page after a write", "/customers") },
        both("list page, count=none", "/customers?count=none"),
        both("list page by name", "/customers?sort=name"),
        both("keyword: one has it", "/customers?keyword=n091879"),
        both("keyword: nobody has it", "/customers?keyword=q091879"),
        both("keyword: half have it", "/customers?keyword=7"),
        Scenario { after_a_write: true, ..both("half have it, after a write", "/customers?keyword=7") },
        // Hundreds of 100,000 rows, and of 200 one or none: what is costliest to find.
        both("keyword: one in 250 has it", "/customers?keyword=777"),
        both("keyword: one in 3,300 has it", "/customers?keyword=7777"),
        both("list page of one owner", "/customers?ownerId=u7"),
        both("list page of a status", "/customers?status=2"),
        of("deep cursor", deep),
        both("detail", "/customers/c00100"),
    ])
}

/// A tenant of so many customers, of whom one in ten is disabled; each of 20 owners has as many.
async fn fill(file: &std::path::Path, rows: u32) -> anyhow::Result<()> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    let sql = format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows} - 1) \
         insert into customers (id, name_key, name, search, owner_id, status, created_at, updated_at) \
         select printf('c%05d', i), printf('key %05d', i), printf('N%06d', i * 7919 % 100003), \
         char(10) || ' n ' || (select group_concat(substr(printf('%06d', i * 7919 % 100003), value, 1), ' ') \
         from json_each('[1, 2, 3, 4, 5, 6]')) || ' ' || char(10), 'u' || (i % 20), \
         1 + (i % 10 = 0), 1700000000000 + i * 1000, 1700000000000 + i * 37 % 99991 from n"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A cell over a data root, that takes any token.
struct Cell {
    client: reqwest::Client,
    base: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Cell {
    async fn start(directory: &std::path::Path) -> anyhow::Result<Self> {
        let variables = [("PORT", "0"), ("CRM_AUTH_STRICT", "0")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = Config::load(&Sources::new(variables, directory))?;
        let app = App::build(config, Parts::of_process(directory)?).await?;
        let base = format!("http://{}", app.address());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        Ok(Self { client, base, stop, running })
    }

    async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        self.running.await?
    }

    fn request(&self, method: reqwest::Method, tenant: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.bearer_auth("any").header("X-Tenant-Id", tenant).header("X-Request-ID", "bench")
    }

    async fn create(&self, tenant: &str) -> anyhow::Result<()> {
        let body = json!({"name": "first"}).to_string();
        let request = self.request(reqwest::Method::POST, tenant, "/customers");
        request.header("Content-Type", "application/json").body(body).send().await?.error_for_status()?;
        Ok(())
    }

    async fn get(&self, tenant: &str, path: &str) -> anyhow::Result<Value> {
        let answer = self.request(reqwest::Method::GET, tenant, path).send().await?;
        ensure!(answer.status().is_success(), "{path} answered {}", answer.status());
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    async fn change(&self, tenant: &str) -> anyhow::Result<()> {
        static CHANGES: AtomicU64 = AtomicU64::new(0);
        let number = CHANGES.fetch_add(1, Ordering::Relaxed);
        let body = json!({"level": format!("L{number}")}).to_string();
        let request = self.request(reqwest::Method::PATCH, tenant, "/customers/c00050");
        let request = request.header("Idempotency-Key", format!("change-{number}"));
        request.header("Content-Type", "application/json").body(body).send().await?.error_for_status()?;
        Ok(())
    }

    async fn median(&self, tenant: &str, path: &str, after_a_write: bool) -> anyhow::Result<Duration> {
        let mut times = Vec::with_capacity(REQUESTS_A_ROUND);
        for _ in 0..REQUESTS_A_ROUND {
            if after_a_write {
                self.change(tenant).await?;
            }
            let start = Instant::now();
            self.get(tenant, path).await?;
            times.push(start.elapsed());
        }
        Ok(median(times))
    }
}
