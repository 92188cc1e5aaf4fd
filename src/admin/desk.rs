//! What all of an operator's requests share, and who may make them.

use std::sync::Arc;

use salvo::http::header::AUTHORIZATION;
use salvo::http::{Request, Response};
use salvo::{Depot, FlowCtrl, Handler, Writer as _, async_trait};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Instrument as _;

use super::error::{Answer, Refusal};
use crate::domain::{Clock, TenantId};
use crate::http::State;
use crate::identity::{Credentials, Role, SourceKind};
use crate::tenancy::{Deed, Tenants};

/// Longest body of an operator's request.
const BODY_MAX: usize = 4 << 20;
/// Longest name that an operator gives.
const NAME_MAX: usize = 64;

/// How operators' requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By the socket of a running cell.
    Socket,
    /// By TCP.
    Tcp,
    /// From a command that has the data root for itself.
    Offline,
}

impl Via {
    fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Tcp => "tcp",
            Self::Offline => "offline",
        }
    }
}

/// What operators' requests are answered from.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// The running cell, if there is one.
    pub cell: Option<Arc<State>>,
    /// How requests come in.
    pub via: Via,
}

/// Who asks.
#[derive(Debug, Clone)]
struct Operator(String);

#[async_trait]
impl Handler for Desk {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        match self.admit(request).await {
            Ok(operator) => {
                depot.insert_typed(operator);
                depot.insert_typed(self.clone());
                ctrl.call_next(request, depot, response).await;
            }
            Err(refusal) => {
                refusal.write(request, depot, response).await;
                ctrl.skip_rest();
            }
        }
    }
}

impl Desk {
    async fn admit(&self, request: &Request) -> Result<Operator, Refusal> {
        let said = request.headers().get("x-operator").and_then(|name| str::from_utf8(name.as_bytes()).ok());
        let said: String =
            said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
        if self.via != Via::Tcp {
            return Ok(Operator(if said.is_empty() { "unnamed".to_owned() } else { said }));
        }
        let cell = self.cell.as_ref().ok_or_else(Refusal::forbidden)?;
        let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        let credentials = Credentials { authorization, user_id: None };
        let principal =
            cell.identity.authenticate(&credentials).await.map_err(|_| Refusal::unauthorized())?;
        // A user's token never is enough, whatever its role: that is one in a tenant.
        let is_operator = principal.source == SourceKind::ServiceToken
            && principal.role == Role::Admin
            && principal.tenants.is_unbound();
        if is_operator { Ok(Operator(principal.user.to_string())) } else { Err(Refusal::forbidden()) }
    }

    /// The desk that the hoop left.
    pub(super) fn of(depot: &Depot) -> Result<(Self, String), Refusal> {
        let desk = depot.get_typed::<Self>().map_err(|_| Refusal::forbidden())?;
        let operator = depot.get_typed::<Operator>().map_err(|_| Refusal::forbidden())?;
        Ok((desk.clone(), operator.0.clone()))
    }

    /// Paths of the machine are for those who are on it.
    pub(super) fn check_path(&self, names_a_path: bool) -> Result<(), Refusal> {
        if names_a_path && self.via == Via::Tcp {
            return Err(Refusal::invalid("a path can be named on the cell's machine only"));
        }
        Ok(())
    }

    /// Does what changes something, with its entries in the operators' log: in a task of its own, since who hangs up must not leave
    /// files moved by half.
    pub(super) async fn logged<T, E, F>(
        &self,
        operator: &str,
        action: &'static str,
        tenant: Option<&TenantId>,
        detail: Value,
        work: F,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        E: Send,
        Refusal: From<E>,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (desk, operator, tenant) = (self.clone(), operator.to_owned(), tenant.cloned());
        let work = async move { desk.do_logged(&operator, action, tenant.as_ref(), detail, work).await };
        let done = tokio::spawn(work.in_current_span()).await;
        done.unwrap_or_else(|panic| Err(Refusal::internal(&panic)))
    }

    async fn do_logged<T, E, F>(
        &self,
        operator: &str,
        action: &str,
        tenant: Option<&TenantId>,
        detail: Value,
        work: F,
    ) -> Result<T, Refusal>
    where
        Refusal: From<E>,
        F: Future<Output = Result<T, E>>,
    {
        let deed = Deed {
            at: self.clock.now(),
            operator: operator.to_owned(),
            via: self.via.as_str().to_owned(),
            action: action.to_owned(),
            tenant: tenant.cloned(),
            detail,
            outcome: "begun".to_owned(),
        };
        let begun = self.tenants.log(deed.clone()).await?;
        let done = work.await.map_err(Refusal::from);
        let outcome = match &done {
            Ok(_) => "done".to_owned(),
            Err(refusal) => format!("failed: {}", refusal.message()),
        };
        let detail = serde_json::json!({ "of": begun });
        let ended = Deed { at: self.clock.now(), detail, outcome, ..deed };
        if let Err(error) = self.tenants.log(ended).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the operators' log lacks how an operation ended"
            );
        }
        done
    }
}

/// The tenant that the path names.
pub(super) fn tenant_of(request: &Request) -> Result<TenantId, Refusal> {
    let id: String = request.param("tenant").unwrap_or_default();
    id.parse().map_err(|error: crate::domain::InvalidTenantId| Refusal::invalid(&error.to_string()))
}

/// The body as JSON; nothing is an empty object.
pub(super) async fn body<T: DeserializeOwned>(request: &mut Request) -> Result<T, Refusal> {
    let bytes = request.payload_with_max_size(BODY_MAX).await;
    let bytes = bytes.map_err(|error| Refusal::invalid(&format!("the body cannot be read: {error}")))?;
    let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|error| Refusal::invalid(&format!("the body: {error}")))
}

/// The query as a value.
pub(super) fn query<T: DeserializeOwned>(request: &mut Request) -> Result<T, Refusal> {
    request.parse_queries().map_err(|error| Refusal::invalid(&format!("the query: {error}")))
}

/// A value as an answer.
pub(super) fn answer<T: Serialize>(value: &T) -> Result<Answer, Refusal> {
    serde_json::to_value(value).map(Answer).map_err(|error| Refusal::internal(&error))
}
