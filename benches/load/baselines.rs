//! What the cell is compared with, as servers of their own: a hello-world of the same framework, and the usual pool code
//! over the same schema.
#![expect(clippy::disallowed_types, reason = "the usual code uses pools; that is what is compared")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use salvo::conn::tcp::TcpAcceptor;
use salvo::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use salvo::prelude::{Router, Server, StatusCode, handler};
use salvo::{Depot, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::net::TcpListener;

use crate::SECRET;

/// As long as the answer to a GET by id.
const HELLO: &str = concat!(
    r#"{"customerId":"0199","tenantId":"t0","name":"N000042","contactPhone":"","contactEmail":"","status":1,"createdAt":1,"#,
    r#""updatedAt":1,"ownerId":"u1","lifecycle":null,"level":null,"source":null,"industry":null,"region":null,"address":"#,
    r#"null,"website":null,"remark":null,"nextFollowUpAt":null,"lastFollowUpAt":null,"version":1}"#
);

/// Serves on a free port, which it prints, until the process is killed. `tenants` holds the tenants' files.
pub(crate) async fn serve(which: &str, tenants: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = match which {
        "hello" => Router::with_path("hello").get(hello),
        "naive" => {
            let naive = Arc::new(Naive::over(tenants));
            Router::with_path("customers")
                .post(Create(naive.clone()))
                .push(Router::with_path("{id}").get(Get(naive)))
        }
        other => anyhow::bail!("no baseline {other}"),
    };
    println!("http://{address}");
    Server::new(TcpAcceptor::try_from(listener)?).try_serve(router).await?;
    Ok(())
}

#[handler]
async fn hello(response: &mut Response) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let _written = response.write_body(HELLO);
}

/// One pool of five connections that read and one of a single connection that writes, for each tenant.
struct Naive {
    tenants: PathBuf,
    pools: Mutex<HashMap<String, Pools>>,
    key: DecodingKey,
    validation: Validation,
}

#[derive(Clone)]
struct Pools {
    reads: SqlitePool,
    writes: SqlitePool,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "tenantId")]
    tenant: String,
}

impl Naive {
    fn over(tenants: &Path) -> Self {
        Self {
            tenants: tenants.to_owned(),
            pools: Mutex::default(),
            key: DecodingKey::from_secret(SECRET.as_bytes()),
            validation: Validation::new(Algorithm::HS256),
        }
    }

    /// The caller, and the pools of the tenant that the token names.
    fn admit(&self, request: &Request) -> anyhow::Result<(Claims, Pools)> {
        let token = request.headers().get(AUTHORIZATION).context("a token")?.to_str()?;
        let token = token.strip_prefix("Bearer ").context("a bearer token")?;
        let claims: Claims = jsonwebtoken::decode(token, &self.key, &self.validation)?.claims;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pools) = pools.get(&claims.tenant) {
            return Ok((claims, pools.clone()));
        }
        let options = SqliteConnectOptions::new()
            .filename(self.tenants.join(format!("{}.db", claims.tenant)))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true);
        let opened = Pools {
            reads: SqlitePoolOptions::new().max_connections(5).connect_lazy_with(options.clone()),
            writes: SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options),
        };
        pools.insert(claims.tenant.clone(), opened.clone());
        Ok((claims, opened))
    }
}

/// The columns that the cell answers with as well.
#[derive(Serialize, sqlx::FromRow)]
struct Customer {
    id: String,
    name: String,
    contact_phone: String,
    contact_email: String,
    status: i64,
    lifecycle: Option<String>,
    level: Option<String>,
    source: Option<String>,
    industry: Option<String>,
    region: Option<String>,
    address: Option<String>,
    website: Option<String>,
    remark: Option<String>,
    owner_id: String,
    next_follow_up_at: Option<i64>,
    last_follow_up_at: Option<i64>,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

const COLUMNS: &str = "id, name, contact_phone, contact_email, status, lifecycle, level, source, industry, region, address, \
    website, remark, owner_id, next_follow_up_at, last_follow_up_at, version, created_at, updated_at";

struct Get(Arc<Naive>);

#[handler]
impl Get {
    async fn handle(&self, request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        answer(response, StatusCode::OK, self.get(request).await);
    }
}

impl Get {
    async fn get(&self, request: &Request) -> anyhow::Result<Value> {
        let (_, pools) = self.0.admit(request)?;
        let id = request.param::<&str>("id").context("an id")?;
        let sql = format!("select {COLUMNS} from customers where id = ? and deleted_at is null");
        let customer: Customer =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&pools.reads).await?;
        Ok(serde_json::to_value(customer)?)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewCustomer {
    name: String,
    contact_phone: String,
    contact_email: String,
}

struct Create(Arc<Naive>);

#[handler]
impl Create {
    async fn handle(&self, request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        answer(response, StatusCode::CREATED, self.create(request).await);
    }
}

impl Create {
    async fn create(&self, request: &mut Request) -> anyhow::Result<Value> {
        let (claims, pools) = self.0.admit(request)?;
        let key = request.headers().get("x-request-id").context("a request id")?.to_str()?.to_owned();
        let new: NewCustomer = request.parse_json().await?;
        let mut transaction = pools.writes.begin_with("BEGIN IMMEDIATE").await?;
        let earlier: Option<String> = sqlx::query_scalar("select response from idempotency where key = ?")
            .bind(&key)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(earlier) = earlier {
            return Ok(serde_json::from_str(&earlier)?);
        }
        let sql = format!(
            "insert into customers (id, name, name_key, contact_phone, contact_email, owner_id, created_at, updated_at) \
             values (?, ?, ?, ?, ?, ?, ?, ?) returning {COLUMNS}"
        );
        let now = 1_700_000_000_000_i64;
        let id = crate::record_id();
        let customer: Customer = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(&id)
            .bind(&new.name)
            .bind(new.name.to_lowercase())
            .bind(&new.contact_phone)
            .bind(&new.contact_email)
            .bind(&claims.sub)
            .bind(now)
            .bind(now)
            .fetch_one(&mut *transaction)
            .await?;
        let body = serde_json::to_value(&customer)?;
        sqlx::query(
            "insert into journal (at, actor, action, resource, record_id, version, request_id, changes) \
             values (?, ?, 'customer.create', 'customer', ?, 1, ?, ?)",
        )
        .bind(now)
        .bind(&claims.sub)
        .bind(&id)
        .bind(&key)
        .bind(json!({"name": [null, new.name], "contactPhone": [null, "138****1234"]}).to_string())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("insert into outbox (event_id, type, record_id, at, data) values (?, 'crm.customer.created', ?, ?, ?)")
            .bind(crate::record_id())
            .bind(&id)
            .bind(now)
            .bind(body.to_string())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("insert into idempotency (key, fingerprint, response, at) values (?, ?, ?, ?)")
            .bind(&key)
            .bind(&new.name)
            .bind(body.to_string())
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(body)
    }
}

fn answer(response: &mut Response, status: StatusCode, outcome: anyhow::Result<Value>) {
    let (status, body) = match outcome {
        Ok(body) => (status, body),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"message": format!("{error:#}")})),
    };
    response.status_code(status);
    response.render(salvo::writing::Json(body));
}
