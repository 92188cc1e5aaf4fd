//! `/events`: events of other systems, and what came of them (contract §10).

use std::fmt;
use std::sync::atomic::Ordering;

use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible, Router, Writer as _};
use salvo_oapi::schema::{AdditionalProperties, OneOf};
use salvo_oapi::{
    Array, BasicType, Components, Content, EndpointArgRegister, Object, Operation, RefOr, RequestBody,
    Schema, ToSchema, endpoint,
};
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument as _;

use super::body::{Body, BodyType};
use super::conditions::{EVENT, EventId};
use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::openapi;
use super::payload::{CLOUD_EVENTS, JsonBody, Payload};
use super::protected::{ReviewersOnly, TenantCtx};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::{Accepted, Acted, PageBody, Replied, Reply};
use super::router::RouterExt as _;
use crate::domain::{
    Allowed, FieldError, FieldRule, Invalid, MalformedEvent, Problem, ReceivedEvent, ReceivedKind,
    ResolutionFields, TenantId, Timestamp,
};
use crate::flows::inbox::{self as flow, Received};
use crate::store::inbox::{self, InboxEvent, InboxFilter, InboxKey, InboxState};

/// Events that come at once at most.
const MOST: usize = 100;
const EVENT_IDS: Allowed = Allowed::Form { said: "1–200 letters, digits, . _ : @ ~ -", format: None };
const EVENT_TYPES: Allowed = Allowed::Form { said: "1–200 characters", format: None };
const OBJECTS: Allowed = Allowed::Form { said: "a JSON object", format: None };
const STATES: Allowed = Allowed::Words(InboxState::WORDS);

pub(super) fn routes() -> Router {
    let inbox = Router::with_path("inbox").read(list_inbox).push(
        Router::with_path(EVENT)
            .push(Router::with_path("resolve").hoop(Payload::ACTION).post(resolve_event))
            .push(Router::with_path("retry").hoop(Payload::ACTION).post(retry_event)),
    );
    Router::with_path("events")
        .hoop(ReviewersOnly)
        .push(Router::new().hoop(Payload::EVENTS).post(receive_events))
        .push(inbox)
        .push(super::outbox::routes())
}

/// One event or several, as they came.
struct Events {
    events: Vec<ReceivedEvent>,
    is_batch: bool,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events") // the content is the sender's
    }
}

impl<'ex> Extractible<'ex> for Events {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Events");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(_request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let Ok(JsonBody(json)) = depot.remove_typed::<JsonBody>() else {
            return Err(ApiError::bad_request(Message::BodyNotJson));
        };
        let (events, is_batch) = match json.0 {
            Value::Array(events) if events.len() > MOST => {
                return Err(ApiError::bad_request(Message::TooManyEvents));
            }
            Value::Array(events) => (events, true),
            event => (vec![event], false),
        };
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        for (index, event) in events.into_iter().enumerate() {
            match ReceivedEvent::read(event) {
                Ok(event) => read.push(event),
                Err(malformed) => errors.push(malformed_field(malformed, is_batch.then_some(index))),
            }
        }
        if errors.is_empty() { Ok(Self { events: read, is_batch }) } else { Err(Invalid { errors }.into()) }
    }
}

/// What is wrong with an event, by the place of its member in the body.
fn malformed_field(MalformedEvent(member): MalformedEvent, index: Option<usize>) -> FieldError {
    let field = match index {
        Some(index) if member.is_empty() => format!("[{index}]"),
        Some(index) => format!("[{index}].{member}"),
        None => member.to_owned(),
    };
    let allowed = match member {
        "eventId" | "id" => EVENT_IDS,
        "eventType" | "type" => EVENT_TYPES,
        _ => OBJECTS,
    };
    FieldError { field, problem: Problem::NotOneOf(allowed) }
}

impl EndpointArgRegister for Events {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        let id = || openapi::text().min_length(1).max_length(200).pattern("^[A-Za-z0-9._:@~-]{1,200}$");
        let kind = || openapi::text().min_length(1).max_length(200).pattern(openapi::NOT_BLANK);
        let free = || Object::new().additional_properties(AdditionalProperties::FreeForm(true));
        let event = free()
            .description("The platform's envelope.")
            .property("eventId", id())
            .property("eventType", kind())
            .property("data", free())
            .required("eventId")
            .required("eventType");
        let cloud_event = free()
            .description("CloudEvents 1.0, structured.")
            .property("specversion", openapi::text())
            .property("id", id())
            .property("type", kind())
            .property("data", free())
            .required("specversion")
            .required("id")
            .required("type");
        let one = || OneOf::new().item(event.clone()).item(cloud_event.clone());
        let several = Array::new().items(RefOr::Type(Schema::OneOf(one()))).max_items(MOST);
        let body = OneOf::new().item(event.clone()).item(cloud_event.clone()).item(several);
        let media_types = [openapi::JSON].into_iter().chain(CLOUD_EVENTS);
        let body = media_types.fold(RequestBody::new(), |request, media_type| {
            request.add_content(media_type, Content::new(RefOr::Type(Schema::OneOf(body.clone()))))
        });
        operation.request_body = Some(body);
        let codes =
            [Code::BadRequest, Code::ValidationFailed, Code::PayloadTooLarge, Code::UnsupportedMediaType];
        openapi::errors(operation, &codes);
    }
}

/// What came of one event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedOut {
    event_id: String,
    state: String,
    reason: Option<String>,
    /// It came before; this is what came of it then.
    duplicate: bool,
}

impl From<Received> for ReceivedOut {
    fn from(received: Received) -> Self {
        let Received { event_id, state, reason, is_duplicate } = received;
        Self { event_id, state, reason, duplicate: is_duplicate }
    }
}

/// What came of what was sent: an object for one event, an array for several.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ReceivedBody {
    One(ReceivedOut),
    Several(Vec<ReceivedOut>),
}

impl ReceivedBody {
    fn new(mut received: Vec<ReceivedOut>, is_batch: bool) -> Self {
        match received.pop() {
            Some(only) if !is_batch => Self::One(only),
            last => {
                received.extend(last);
                Self::Several(received)
            }
        }
    }
}

impl ToSchema for ReceivedBody {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        let reason =
            Object::with_type(salvo_oapi::SchemaType::Array(vec![BasicType::String, BasicType::Null]));
        let one = Object::new()
            .property("eventId", openapi::text())
            .property("state", openapi::values(Some(STATES)))
            .property("reason", reason.description("A word; null if there is nothing to say."))
            .property(
                "duplicate",
                Object::with_type(BasicType::Boolean)
                    .description("It came before: this is what came of it then."),
            )
            .required("eventId")
            .required("state");
        let several = Array::new().items(one.clone());
        RefOr::Type(Schema::OneOf(OneOf::new().item(one).item(several)))
    }
}

/// An event of another system.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = ReceivedEvent))]
struct InboxEventOut {
    event_id: String,
    tenant_id: TenantId,
    event_type: String,
    subject: Option<String>,
    state: String,
    reason: Option<String>,
    resource_id: Option<String>,
    candidate_ids: Vec<String>,
    received_at: Timestamp,
    retry_at: Option<Timestamp>,
    trace_id: Option<String>,
}

impl InboxEventOut {
    fn new(event: InboxEvent, tenant: &TenantId) -> Self {
        let InboxEvent {
            event_id,
            kind,
            subject,
            trace_id,
            at,
            state,
            reason,
            record_id,
            candidates,
            retry_at,
        } = event;
        Self {
            event_id,
            tenant_id: tenant.clone(),
            event_type: kind,
            subject,
            state,
            reason,
            resource_id: record_id,
            candidate_ids: candidates,
            received_at: at,
            retry_at,
            trace_id,
        }
    }
}

impl BodyType for ResolutionFields {
    const NAME: &'static str = "Resolution";
    const READ_ONLY: &'static [&'static str] = &[];
    const IS_OF_ACTION: bool = true;

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

impl ListFilter for InboxFilter {
    type Key = InboxKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[("receivedAt", InboxKey)];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
            state: query.choice("state", STATES, InboxState::from_word)?,
            kind: query.text("eventType"),
            subject: query.text("subject"),
            from: query.moment("from")?,
            to: query.moment("to")?,
        })
    }
}

/// Takes in events of other systems.
#[endpoint(tags("events"))]
async fn receive_events(ctx: TenantCtx, sent: Events) -> ApiResult<Replied<Accepted<ReceivedBody>>> {
    if ctx.is_confined() {
        return Err(ApiError::new(Code::Forbidden, Message::ConfinedSender));
    }
    let Events { events, is_batch } = sent;
    let tally = &ctx.state().tally;
    tally.received.fetch_add(events.len() as u64, Ordering::Relaxed);
    // What is not for this tenant, or has no effect here, touches no file.
    let mut sorted = Vec::with_capacity(events.len());
    for event in events {
        let settled = |state: InboxState, reason: &str| {
            Err(ReceivedOut {
                event_id: event.event_id.clone(),
                state: state.word().to_owned(),
                reason: Some(reason.to_owned()),
                duplicate: false,
            })
        };
        let is_wanted =
            ReceivedKind::from_word(&event.kind).is_some_and(|kind| ctx.state().subscribed.contains(&kind));
        sorted.push(match event.tenant() {
            Some(tenant) if tenant != ctx.tenant().as_str() => settled(InboxState::Failed, "tenant-mismatch"),
            _ if !is_wanted => settled(InboxState::Ignored, "not-subscribed"),
            _ => Ok(event),
        });
    }
    if sorted.iter().all(Result::is_err) {
        let received = sorted.into_iter().filter_map(Result::err).collect();
        let reply = Reply::accepted(&ReceivedBody::new(received, is_batch))?;
        return Ok(Replied { reply, replayed: false });
    }
    let (zone, state, tenant) = (ctx.time_zone(), ctx.state().clone(), ctx.tenant().clone());
    let write = async move {
        let replied = ctx
            .write(async move |tx| {
                let mut received = Vec::with_capacity(sorted.len());
                for event in sorted {
                    received.push(match event {
                        Ok(event) => flow::receive(tx, event, zone).await?.into(),
                        Err(settled) => settled,
                    });
                }
                Reply::accepted(&ReceivedBody::new(received, is_batch))
            })
            .await?;
        // Some may have to be tried again, also by the next process.
        state.tenants.event_work().nudge(&tenant);
        state.tenants.save_event_work().await;
        Ok(replied)
    };
    // Also if the sender does not wait for the answer.
    tokio::spawn(write.in_current_span()).await.map_err(|_| ApiError::internal())?
}

/// Lists events of other systems, and what came of them.
#[endpoint(tags("events"))]
async fn list_inbox(ctx: TenantCtx, query: ListQuery<InboxFilter>) -> ApiResult<PageBody<InboxEventOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| inbox::list(db, &filter, &page, hash).await).await?;
    Ok(PageBody(page.map(|event| InboxEventOut::new(event, ctx.tenant()))))
}

/// Says what an event means that waits for a person.
#[endpoint(tags("events"))]
async fn resolve_event(
    ctx: TenantCtx,
    id: EventId,
    body: Body<ResolutionFields>,
) -> ApiResult<Replied<Acted<InboxEventOut>>> {
    let (resolution, zone, tenant) = (body.0.check()?, ctx.time_zone(), ctx.tenant().clone());
    ctx.write_to_event(async move |tx| {
        let event = flow::resolve(tx, &id.0, &resolution, zone).await?;
        Reply::acted(&InboxEventOut::new(event, &tenant))
    })
    .await
}

/// Tries an event again that waits for a person, or could not be acted on.
#[endpoint(tags("events"))]
async fn retry_event(ctx: TenantCtx, id: EventId) -> ApiResult<Replied<Acted<InboxEventOut>>> {
    let (zone, tenant) = (ctx.time_zone(), ctx.tenant().clone());
    let (state, of) = (ctx.state().clone(), tenant.clone());
    let replied = ctx
        .write_to_event(async move |tx| {
            let event = flow::retry(tx, &id.0, zone).await?;
            Reply::acted(&InboxEventOut::new(event, &of))
        })
        .await?;
    state.tenants.event_work().nudge(&tenant);
    Ok(replied)
}
