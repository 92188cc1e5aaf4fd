//! `/backups` and `/copies`: what tenants' files are restored from.

use std::path::PathBuf;

use salvo::http::{Request, Response};
use salvo::{Depot, handler};
use serde::Deserialize;
use serde_json::json;

use super::desk::{self, Desk, body, query};
use super::error::{Answer, Refusal};
use super::stream;
use crate::domain::TenantId;
use crate::tenancy::{BackupOrder, CopyError, FleetError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    directory: Option<PathBuf>,
    tenant: Option<TenantId>,
}

#[handler]
pub(super) async fn list(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Wanted { directory, tenant } = query(request)?;
    desk.check_path(directory.is_some())?;
    desk::answer(&json!({ "items": desk.tenants.backups(directory, tenant).await? }))
}

#[handler]
pub(super) async fn back_up(
    request: &mut Request,
    depot: &mut Depot,
    response: &mut Response,
) -> Result<(), Refusal> {
    let (desk, operator) = Desk::of(depot)?;
    let order: BackupOrder = body(request).await?;
    desk.check_path(order.directory.is_some())?;
    let detail = json!({ "tenants": &order.tenants, "directory": &order.directory, "keep": order.keep });
    stream::answer(response, move |steps| async move {
        let tenants = desk.tenants.clone();
        let backed_up = desk.logged(&operator, "backup", None, detail, async move {
            let tell = |step| steps.tell(&step);
            steps.while_heard(tenants.back_up(order, tell)).await
        });
        serde_json::to_value(backed_up.await?).map_err(|error| Refusal::internal(&error))
    });
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copies {
    /// Absent: all whose copies may lack a change.
    tenants: Option<Vec<TenantId>>,
}

#[handler]
pub(super) async fn copy(
    request: &mut Request,
    depot: &mut Depot,
    response: &mut Response,
) -> Result<(), Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let Copies { tenants } = body(request).await?;
    desk.tenants.check_known(tenants.as_deref().unwrap_or_default())?;
    stream::answer(response, move |steps| async move {
        let tenants = match tenants {
            Some(named) => named,
            None => desk.tenants.behind_copies().await.map_err(FleetError::from)?,
        };
        let of = tenants.len();
        let copy_one = async |tenant| {
            let copied = desk.tenants.copy(&tenant).await;
            let error = match copied {
                Ok(Some(_)) => None,
                Ok(None) => Some(FleetError::NoSuchTenant(tenant.clone()).to_string()),
                Err(CopyError::LowSpace(low)) => return Err(FleetError::from(low).into()),
                Err(error) => Some(Refusal::internal(&error).message().to_owned()),
            };
            Ok((error.is_none(), json!({ "error": error })))
        };
        let failed = steps.each(tenants, copy_one).await?;
        Ok(json!({ "copied": of - failed, "failed": failed }))
    });
    Ok(())
}
