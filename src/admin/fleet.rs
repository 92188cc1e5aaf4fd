//! What concerns all tenants: checks, drills, the catalog, freezing, the operators' log.

use std::convert::Infallible;
use std::time::Duration;

use salvo::http::{Request, Response};
use salvo::{Depot, handler};
use serde::Deserialize;
use serde_json::json;

use super::desk::{self, Desk, body, query};
use super::error::{Answer, Refusal};
use super::stream;
use crate::domain::TenantId;
use crate::tenancy::{Finding, FleetError};

/// Most entries of the log that are shown at once.
const ENTRIES: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Absent: all.
    tenants: Option<Vec<TenantId>>,
}

#[handler]
pub(super) async fn check(
    request: &mut Request,
    depot: &mut Depot,
    response: &mut Response,
) -> Result<(), Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Named { tenants } = body(request).await?;
    desk.tenants.check_known(tenants.as_deref().unwrap_or_default())?;
    stream::answer(response, move |steps| async move {
        let mut tenants = tenants.unwrap_or_else(|| desk.tenants.all());
        tenants.sort();
        let of = tenants.len();
        let check_one = async |tenant| {
            let Finding { problems, unchecked, .. } = desk.tenants.check(&tenant).await;
            Ok((problems.is_empty(), json!({ "problems": problems, "unchecked": unchecked })))
        };
        let unsound = steps.each(tenants, check_one).await?;
        Ok(json!({ "checked": of, "unsound": unsound }))
    });
    Ok(())
}

#[handler]
pub(super) async fn drill(
    request: &mut Request,
    depot: &mut Depot,
    response: &mut Response,
) -> Result<(), Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Named { tenants } = body(request).await?;
    desk.tenants.check_known(tenants.as_deref().unwrap_or_default())?;
    stream::answer(response, move |steps| async move {
        let mut tenants = tenants.unwrap_or_else(|| desk.tenants.all());
        tenants.sort();
        let of = tenants.len();
        let drill_one = async |tenant| {
            let error = match desk.tenants.drill(&tenant).await {
                Ok(true) => None,
                Ok(false) => Some("it was deleted meanwhile, or is written to all the time".to_owned()),
                Err(error) => Some(Refusal::internal(&error).message().to_owned()),
            };
            Ok((error.is_none(), json!({ "error": error })))
        };
        let failed = steps.each(tenants, drill_one).await?;
        Ok(json!({ "drilled": of - failed, "failed": failed }))
    });
    Ok(())
}

#[handler]
pub(super) async fn rebuild_catalog(depot: &mut Depot, response: &mut Response) -> Result<(), Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    stream::answer(response, move |steps| async move {
        let tenants = desk.tenants.clone();
        let rebuilt = desk.logged(&operator, "catalog.rebuild", None, json!({}), async move {
            let tell = |done, of| steps.tell(&json!({ "done": done, "of": of }));
            tenants.rebuild_catalog(tell).await
        });
        let failed = rebuilt.await?;
        Ok(json!({ "failed": failed }))
    });
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Freeze {
    seconds: u64,
}

#[handler]
pub(super) async fn freeze(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let Freeze { seconds } = body(request).await?;
    let tenants = desk.tenants.clone();
    let frozen = async move { tenants.freeze(Duration::from_secs(seconds)).await };
    desk::answer(&desk.logged(&operator, "freeze", None, json!({ "seconds": seconds }), frozen).await?)
}

#[handler]
pub(super) async fn thaw(depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let tenants = desk.tenants.clone();
    let thawed = async move { Ok::<_, Infallible>(tenants.thaw()) };
    let was_frozen = desk.logged(&operator, "thaw", None, json!({}), thawed).await?;
    desk::answer(&json!({ "wasFrozen": was_frozen }))
}

#[handler]
pub(super) async fn doctor(depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let remarks = desk.tenants.survey().await.map_err(FleetError::from)?;
    desk::answer(&json!({ "remarks": remarks }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    tenant: Option<TenantId>,
    limit: Option<usize>,
}

#[handler]
pub(super) async fn log(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Entries { tenant, limit } = query(request)?;
    let items = desk.tenants.logged(tenant, limit.unwrap_or(50).min(ENTRIES)).await?;
    desk::answer(&json!({ "items": items }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    head: Option<String>,
}

#[handler]
pub(super) async fn verify(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Head { head } = query(request)?;
    desk::answer(&desk.tenants.verify_log(head).await?)
}
