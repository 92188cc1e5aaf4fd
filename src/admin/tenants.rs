//! `/tenants`: the list, and what is done to one of them.

use std::sync::Arc;

use salvo::http::Request;
use salvo::{Depot, Router, handler};
use serde::Deserialize;
use serde_json::json;

use super::desk::{self, Desk, body, query, tenant_of};
use super::error::{Answer, Refusal};
use crate::domain::TenantId;
use crate::identity;
use crate::store;
use crate::tenancy::{Actor, FleetError, RosterQuery, Source, State, Write};

/// Longest reason.
const REASON_MAX: usize = 500;

pub(super) fn routes() -> Router {
    Router::with_path("{tenant}")
        .get(show)
        .put(create)
        .delete(delete)
        .push(Router::with_path("state").put(set_state))
        .push(Router::with_path("protection").put(set_protected))
        .push(Router::with_path("undelete").post(undelete))
        .push(Router::with_path("purge").post(purge))
        .push(Router::with_path("restore").post(restore))
        .push(Router::with_path("members").get(show_members).patch(change_members))
}

#[handler]
pub(super) async fn list(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let wanted: RosterQuery = query(request)?;
    desk::answer(&desk.tenants.roster(&wanted).await?)
}

#[handler]
async fn show(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    desk::answer(&desk.tenants.show(&tenant_of(request)?).await?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    /// Of which tenant it is made; absent: of none.
    of: Option<TenantId>,
    /// Of what of that tenant; absent: as it is now.
    source: Option<Source>,
}

#[handler]
async fn create(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let Create { of, source } = body(request).await?;
    let source = source.unwrap_or(Source::Live);
    desk.check_path(source.names_a_path())?;
    let detail = json!({ "of": &of, "source": of.as_ref().map(|_| &source) });
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let made = async move {
        match &of {
            Some(of) => tenants.create_from(&id, of, &source).await,
            None => tenants.create(&id).await,
        }
    };
    desk::answer(&desk.logged(&operator, "tenant.create", Some(&tenant), detail, made).await?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

fn checked(reason: Option<String>) -> Result<Option<String>, Refusal> {
    match &reason {
        Some(text) if text.chars().count() > REASON_MAX || text.chars().any(char::is_control) => {
            Err(Refusal::invalid("a reason has at most 500 characters, in one line"))
        }
        _ => Ok(reason.filter(|reason| !reason.trim().is_empty())),
    }
}

#[handler]
async fn delete(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let Why { reason } = body(request).await?;
    let reason = checked(reason)?;
    let detail = json!({ "reason": &reason });
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let deleted = async move { tenants.delete(&id, reason).await };
    desk::answer(&desk.logged(&operator, "tenant.delete", Some(&tenant), detail, deleted).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetState {
    state: State,
    reason: Option<String>,
}

#[handler]
async fn set_state(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let SetState { state, reason } = body(request).await?;
    let reason = checked(reason)?;
    let action = match state {
        State::Active => "tenant.resume",
        State::ReadOnly => "tenant.read-only",
        State::Suspended => "tenant.suspend",
    };
    let detail = json!({ "reason": &reason });
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let set = async move { tenants.set_state(&id, state, reason).await };
    desk::answer(&desk.logged(&operator, action, Some(&tenant), detail, set).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetProtected {
    protected: bool,
}

#[handler]
async fn set_protected(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let SetProtected { protected } = body(request).await?;
    let action = if protected { "tenant.protect" } else { "tenant.unprotect" };
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let set = async move { tenants.set_protected(&id, protected).await };
    desk::answer(&desk.logged(&operator, action, Some(&tenant), json!({}), set).await?)
}

#[handler]
async fn undelete(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let back = async move { tenants.undelete(&id).await };
    desk::answer(&desk.logged(&operator, "tenant.undelete", Some(&tenant), json!({}), back).await?)
}

#[handler]
async fn purge(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let purged = async move { tenants.purge(&id).await };
    desk::answer(&desk.logged(&operator, "tenant.purge", Some(&tenant), json!({}), purged).await?)
}

#[handler]
pub(super) async fn trash(depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let items = desk.tenants.trash().await.map_err(FleetError::from)?;
    desk::answer(&json!({ "items": items }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    source: Source,
    #[serde(default)]
    preview: bool,
}

#[handler]
async fn restore(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let Restore { source, preview } = body(request).await?;
    desk.check_path(source.names_a_path())?;
    if preview {
        return desk::answer(&desk.tenants.restore(&tenant, &source, true).await?);
    }
    let detail = json!({ "source": &source });
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let restored = async move { tenants.restore(&id, &source, false).await };
    desk::answer(&desk.logged(&operator, "tenant.restore", Some(&tenant), detail, restored).await?)
}

#[handler]
async fn show_members(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    list_members(&desk, &tenant_of(request)?).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChangeMembers {
    add: Vec<String>,
    remove: Vec<String>,
}

#[handler]
async fn change_members(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenant = tenant_of(request)?;
    let ChangeMembers { add, remove } = body(request).await?;
    let users = |names: &[String]| -> Result<Vec<Arc<str>>, Refusal> {
        let user = |name: &String| identity::user_name(name).ok_or_else(|| Refusal::invalid(USER_NAMES));
        names.iter().map(user).collect()
    };
    let detail = json!({ "add": &add, "remove": &remove });
    let (add, remove) = (users(&add)?, users(&remove)?);
    // The tenant's own people read its journal: who the operator is, is in the operators' log.
    let actor = Actor { user: OPERATOR.into(), ..Actor::default() };
    let (tenants, id) = (desk.tenants.clone(), tenant.clone());
    let changed = async move {
        let change = async move |tx: &mut Write| {
            store::members::add(tx, &add).await?;
            store::members::remove(tx, &remove).await
        };
        tenants.change_books(&id, actor, change).await
    };
    desk.logged(&operator, "tenant.members", Some(&tenant), detail, changed).await?;
    list_members(&desk, &tenant).await
}

/// Who the tenant's journal says that an operator's changes are by.
const OPERATOR: &str = "operator";

/// What is wrong with a name that no user can have.
const USER_NAMES: &str = "a user has 1 to 128 characters, is not blank, and has no control characters";

async fn list_members(desk: &Desk, tenant: &TenantId) -> Result<Answer, Refusal> {
    let members = desk.tenants.read_books(tenant, store::members::list).await?;
    desk::answer(&json!({ "tenant": tenant, "members": members }))
}
