//! The protected branch: who calls, in which tenant, and the context that gives a handler that tenant's data.

mod roles;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use chrono_tz::Tz;
use salvo::extract::Metadata;
use salvo::http::header::AUTHORIZATION;
use salvo::http::{HeaderMap, Method, Request, Response};
use salvo::{Depot, Extractible, FlowCtrl, Handler, Writer as _, async_trait};
use salvo_oapi::{Components, EndpointArgRegister, Operation, ParameterIn, SecurityRequirement};
use tokio::task::JoinSet;
use tracing::field::display;
use tracing::{Instrument as _, Span};

pub(super) use self::roles::{Manager, ReviewersOnly};
use super::conditions::RecordId;
use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::openapi;
use super::payload::RequestKey;
use super::recent::Caller;
use super::respond::{Replied, Reply};
use super::state::State;
use super::trace::RequestIds;
use crate::config::{Idempotency, PatchNull};
use crate::domain::{Allowed, Checker, Masking, Membership, Resource, Scope, TenantId, Timestamp, Violation};
use crate::identity::{Credentials, Principal, Role};
use crate::store::{self, Record};
use crate::tenancy::{
    Actor, Addition, Done, IdempotencyKey, LongRead, OpenError, PointRead, Read, StoreError, TenantDb, Unit,
    Write,
};

const SCOPES: Allowed = Allowed::Words(&["self", "all"]);
const LANGUAGES: Allowed = Allowed::Words(&["zh", "en"]);

/// The hoop of the protected branch: settles identity, then role and tenant. For a caller whom an identity binds it opens
/// nothing, and it creates nothing for anybody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protected;

/// Who calls, in which tenant: what the hoop leaves for [`TenantCtx`].
#[derive(Debug)]
struct Admitted {
    principal: Arc<Principal>,
    tenant: TenantId,
    scope: Scope,
}

#[async_trait]
impl Handler for Protected {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        let begun = Instant::now();
        match admit(request, depot).await {
            Ok((admitted, unbound)) => {
                name_in_log(&admitted.tenant);
                let Admitted { principal, tenant, scope } = &admitted;
                depot.insert_typed(Caller::of(principal, tenant, scope, unbound, begun.elapsed()));
                depot.insert_typed(admitted.tenant.clone()); // for the access log
                depot.insert_typed(admitted);
                ctrl.call_next(request, depot, response).await;
            }
            Err(error) => {
                error.write(request, depot, response).await;
                ctrl.skip_rest();
            }
        }
    }
}

/// From here on, what is logged of this request names the tenant.
fn name_in_log(tenant: &TenantId) {
    Span::current().record("tenant_id", display(tenant));
}

/// Says too whether the caller came in on `X-Tenant-Id` alone.
async fn admit(request: &Request, depot: &Depot) -> ApiResult<(Admitted, bool)> {
    let state = State::of(depot)?;
    let headers = request.headers();
    let credentials = Credentials {
        authorization: headers.get(AUTHORIZATION).map(|value| value.as_bytes()),
        // Names are not ASCII only; a header is UTF-8 where it is not.
        user_id: headers.get("x-user-id").and_then(|value| str::from_utf8(value.as_bytes()).ok()),
    };
    let principal = state.identity.authenticate(&credentials).await?;
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if writes && principal.role == Role::Readonly {
        return Err(ApiError::new(Code::Forbidden, Message::ReadOnlyRole));
    }
    let header = tenant_header(headers)?;
    let admission = state.identity.admit(&principal, header.as_ref())?;
    if admission.unbound {
        name_in_log(&admission.tenant);
        admit_unbound(state, &principal, &admission.tenant).await?;
    }
    let scope = scope(request, &principal)?;
    Ok((Admitted { principal, tenant: admission.tenant, scope }, admission.unbound))
}

/// Holds a caller whom no identity binds against the tenant's members: the one case in which a file is opened before the
/// caller is in.
async fn admit_unbound(state: &State, principal: &Principal, tenant: &TenantId) -> ApiResult<()> {
    let membership = match state.tenants.find(tenant).await {
        Ok(Some(db)) => db.membership(&principal.user),
        // Whoever may not enter does not learn whether there is such a tenant.
        Ok(None) | Err(OpenError::Unknown | OpenError::Deleted) => Membership::NoMembers,
        Err(OpenError::Suspended(members)) => members.membership(&principal.user),
        Err(error) => return Err(error.into()),
    };
    state.identity.admit_unbound(principal, membership)?;
    if membership == Membership::NoMembers {
        state.metrics.identity_unbound.inc();
    }
    Ok(())
}

/// The rows that the caller is confined to: by their identity, or by `X-Data-Scope` or `?scope=`, which can only narrow.
fn scope(request: &Request, principal: &Principal) -> ApiResult<Scope> {
    // All of them: a gateway may have added its own to a client's.
    let headers = request.headers().get_all("x-data-scope").iter().map(|value| value.to_str().unwrap_or("?"));
    let queries = request.queries().get_vec("scope").into_iter().flatten().map(String::as_str);
    let mut own = principal.own_rows_only;
    for asked in headers.chain(queries).map(str::trim).filter(|asked| !asked.is_empty()) {
        if asked.eq_ignore_ascii_case("self") {
            own = true;
        } else if !asked.eq_ignore_ascii_case("all") {
            return Err(ApiError::bad_request(Message::ScopeInvalid));
        }
    }
    Ok(if own { Scope::Own(principal.user.clone()) } else { Scope::All })
}

/// `X-Tenant-Id`; blank is absent, two are none.
fn tenant_header(headers: &HeaderMap) -> ApiResult<Option<TenantId>> {
    let invalid = || ApiError::new(Code::InvalidTenantId, Message::TenantIdInvalid);
    let mut values = headers.get_all("x-tenant-id").iter();
    let (value, second) = (values.next(), values.next());
    let Some(value) = value else { return Ok(None) };
    if second.is_some() {
        return Err(invalid());
    }
    let text = value.to_str().map_err(|_| invalid())?.trim();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| invalid()) }
}

/// How records are shown: what an answer needs besides the record.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) tenant: TenantId,
    pub(super) masking: Masking,
}

/// An authenticated request in its tenant: the only way from a handler to data, and only to that tenant's.
///
/// Not `Clone`, and consumed by [`TenantCtx::write`]: a unit that wrote from inside itself would wait for itself for
/// ever.
pub(super) struct TenantCtx {
    state: Arc<State>,
    admitted: Admitted,
    ids: RequestIds,
    key: Option<IdempotencyKey>,
}

impl fmt::Debug for TenantCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCtx").field("tenant", &self.admitted.tenant).finish_non_exhaustive()
    }
}

impl<'ex> Extractible<'ex> for TenantCtx {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("TenantCtx");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(_request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let state = State::of(depot)?.clone();
        // Outside the protected branch there is nothing to find: a misplaced route fails closed.
        let Ok(admitted) = depot.remove_typed::<Admitted>() else {
            return Err(ApiError::new(Code::Unauthorized, Message::Unauthorized));
        };
        let key = depot.remove_typed::<RequestKey>().ok().map(|key| key.of_user(&admitted.principal.user));
        Ok(Self { state, admitted, ids: RequestIds::of(depot).clone(), key })
    }
}

impl EndpointArgRegister for TenantCtx {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        operation.securities = Some(vec![SecurityRequirement::new(openapi::BEARER, [""; 0])]);
        let tenant = openapi::text().max_length(64).pattern("^[A-Za-z0-9_][A-Za-z0-9._:@~-]{0,63}$");
        let parameters = [
            openapi::parameter("X-Tenant-Id", ParameterIn::Header, false, tenant)
                .description("The tenant; that of the caller if absent."),
            openapi::parameter("X-Data-Scope", ParameterIn::Header, false, openapi::values(Some(SCOPES)))
                .description("`self` narrows the request to the caller's own records."),
            openapi::parameter("scope", ParameterIn::Query, false, openapi::values(Some(SCOPES)))
                .description("As `X-Data-Scope`."),
            openapi::parameter("lang", ParameterIn::Query, false, openapi::values(Some(LANGUAGES)))
                .description("The language of messages."),
        ];
        for parameter in parameters {
            operation.parameters.insert(parameter);
        }
        let codes = [
            Code::BadRequest,
            Code::InvalidTenantId,
            Code::Unauthorized,
            Code::Forbidden,
            Code::TenantMismatch,
            Code::TenantSuspended,
            Code::SignatureInvalid,
            Code::TenantNotFound,
            Code::TenantUnavailable,
            Code::RateLimit,
            Code::InternalError,
            Code::AuthUnavailable,
            Code::ServiceUnavailable,
        ];
        openapi::errors(operation, &codes);
    }
}

impl TenantCtx {
    /// The tenant, for the `tenantId` of what is answered.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.admitted.tenant
    }

    /// The caller.
    pub(super) fn user(&self) -> &str {
        &self.admitted.principal.user
    }

    /// Whether the caller sees and changes only their own records.
    pub(super) fn is_confined(&self) -> bool {
        self.admitted.scope.owner().is_some()
    }

    /// The zone of dates without an offset.
    pub(super) fn time_zone(&self) -> Tz {
        self.state.api.time_zone
    }

    /// What checks the fields of a PATCH.
    pub(super) fn patch_checker(&self) -> Checker {
        Checker::for_patch(self.state.api.patch_null == PatchNull::Keep)
    }

    /// How records are shown to this caller.
    pub(super) fn view(&self) -> View {
        View { tenant: self.tenant().clone(), masking: self.state.masking() }
    }

    /// Runs a unit that reads. A tenant that does not exist reads as an empty one.
    pub(super) async fn read<T, F>(&self, unit: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        Ok(self.db_or_empty().await?.read_in(self.admitted.scope.clone(), unit).await?)
    }

    /// Runs a unit that reads very many rows, so that nobody else waits for it. A tenant that does not exist reads as an
    /// empty one.
    pub(super) async fn report<T, F>(&self, unit: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        let db = self.db_or_empty().await?;
        Ok(db.read_aside(LongRead::Report, self.admitted.scope.clone(), unit).await?)
    }

    /// Starts a unit that hands very many rows on to somebody who takes them at their own pace; nobody else waits for it. It
    /// ends when what is returned is dropped. A tenant that does not exist reads as an empty one.
    pub(super) async fn export<F>(&self, unit: F) -> ApiResult<JoinSet<Result<(), StoreError>>>
    where
        F: AsyncFnOnce(&mut Read) -> Result<(), StoreError> + for<'a> Unit<'a, Read, ()> + Send + 'static,
    {
        let (db, scope) = (self.db_or_empty().await?, self.admitted.scope.clone());
        let made = async move {
            let made = db.read_aside(LongRead::Export, scope, unit).await;
            made.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "an export was not finished");
            })
        };
        let mut making = JoinSet::new();
        making.spawn(made.in_current_span());
        Ok(making)
    }

    /// Reads one record by its id: together with others that are asked for, unless the caller is confined to their own.
    pub(super) async fn get<R: Record + PointRead + Send + 'static>(&self, id: RecordId) -> ApiResult<R> {
        let db = self.db_or_empty().await?;
        let record = match &self.admitted.scope {
            Scope::All => db.point_read(id.0).await?,
            own @ Scope::Own(_) => {
                db.read_in(own.clone(), async move |read| store::get(read, &id.0).await).await?
            }
        };
        record.ok_or_else(|| ApiError::not_found(R::RESOURCE))
    }

    /// What all requests share.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The present moment.
    pub(super) fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    /// Whether there is such a tenant.
    pub(super) async fn tenant_exists(&self) -> ApiResult<bool> {
        Ok(self.state.tenants.find(self.tenant()).await?.is_some())
    }

    /// Refuses an import while the disk is nearly full: single writes shall fit still.
    pub(super) fn check_room_for_many(&self) -> ApiResult<()> {
        Ok(self.state.tenants.check_room_for_many()?)
    }

    /// Runs a unit that writes, in a tenant that is created if there is none.
    pub(super) async fn write<A, F>(self, unit: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        F: AsyncFnOnce(&mut Write) -> Result<Reply<A>, StoreError>
            + for<'a> Unit<'a, Write, Reply<A>>
            + Send
            + 'static,
    {
        let db = self.state.tenants.find_or_create(self.tenant()).await?;
        self.write_to(&db, unit).await
    }

    /// Runs a unit that adds a record to one that must be there: in a tenant that does not exist it is not, and none is
    /// created.
    pub(super) async fn write_child<A, F>(self, parent: Resource, unit: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        F: AsyncFnOnce(&mut Write) -> Result<Reply<A>, StoreError>
            + for<'a> Unit<'a, Write, Reply<A>>
            + Send
            + 'static,
    {
        match self.state.tenants.find(self.tenant()).await? {
            Some(db) => self.write_to(&db, unit).await,
            None => Err(StoreError::Violation(Violation::NoSuch(parent)).into()),
        }
    }

    /// Runs a unit that changes a record: in a tenant that does not exist there is none, and none is created.
    pub(super) async fn write_existing<A, F>(self, resource: Resource, unit: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        F: AsyncFnOnce(&mut Write) -> Result<Reply<A>, StoreError>
            + for<'a> Unit<'a, Write, Reply<A>>
            + Send
            + 'static,
    {
        match self.state.tenants.find(self.tenant()).await? {
            Some(db) => self.write_to(&db, unit).await,
            None => Err(ApiError::not_found(resource)),
        }
    }

    /// Runs a unit that changes what is kept of an event: in a tenant that does not exist there is none, and none is
    /// created.
    pub(super) async fn write_to_event<A, F>(self, unit: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        F: AsyncFnOnce(&mut Write) -> Result<Reply<A>, StoreError>
            + for<'a> Unit<'a, Write, Reply<A>>
            + Send
            + 'static,
    {
        // Events are nobody's own.
        let db = match &self.admitted.scope {
            Scope::All => self.state.tenants.find(self.tenant()).await?,
            Scope::Own(_) => None,
        };
        match db {
            Some(db) => self.write_to(&db, unit).await,
            None => Err(StoreError::Violation(Violation::NoSuchEvent).into()),
        }
    }

    /// Adds a record, in a tenant that is created if there is none; answers with what `reply` makes of it.
    pub(super) async fn add<A, N, F>(self, new: N, reply: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        N: Addition,
        F: FnOnce(N::Record) -> Result<Reply<A>, StoreError> + Clone + Send + 'static,
    {
        let db = self.state.tenants.find_or_create(self.tenant()).await?;
        let (state, actor, key) = self.into_parts();
        replied(&state, db.add(actor, key, new, reply).await?)
    }

    async fn write_to<A, F>(self, db: &TenantDb, unit: F) -> ApiResult<Replied<A>>
    where
        A: 'static,
        F: AsyncFnOnce(&mut Write) -> Result<Reply<A>, StoreError>
            + for<'a> Unit<'a, Write, Reply<A>>
            + Send
            + 'static,
    {
        let (state, actor, key) = self.into_parts();
        replied(&state, db.write(actor, key, unit).await?)
    }

    /// Who writes, and under which key.
    fn into_parts(self) -> (Arc<State>, Actor, Option<IdempotencyKey>) {
        let Self { state, admitted, ids, key } = self;
        let RequestIds { request_id, trace_id } = ids;
        let Admitted { principal, tenant: _, scope } = admitted;
        (state, Actor { user: principal.user.clone(), request_id: Some(request_id), trace_id, scope }, key)
    }

    async fn db_or_empty(&self) -> ApiResult<Arc<TenantDb>> {
        let tenants = &self.state.tenants;
        match tenants.find(self.tenant()).await? {
            Some(db) => Ok(db),
            None => Ok(tenants.empty().await?),
        }
    }
}

fn replied<A>(state: &State, done: Done<Reply<A>>) -> ApiResult<Replied<A>> {
    let Done { value, replayed } = done;
    if replayed && state.api.idempotency == Idempotency::Conflict {
        return Err(StoreError::KeyReused.into());
    }
    Ok(Replied { reply: value, replayed })
}
