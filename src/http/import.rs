//! `/customers/import` and `/opportunities/import`: many new records in one request (contract §9).
//!
//! A row is what a POST takes, read with more patience: unknown fields are left out, digits in quotes are a number, and what
//! an export put in front of a formula comes off. Rows that break a rule are reported; the others are committed together, in
//! one unit, so that the stored answer to a request id covers all of them.

use std::fmt;

use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible, Router, Writer as _};
use salvo_oapi::schema::AdditionalProperties;
use salvo_oapi::{
    Array, BasicType, Components, Content, EndpointArgRegister, Object, Operation, Ref, RefOr, RequestBody,
    Required, Schema, ToSchema, endpoint,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{ApiError, ApiResult, Code, RowError};
use super::messages::{Language, Message};
use super::openapi;
use super::payload::{JsonBody, Payload};
use super::protected::TenantCtx;
use super::respond::{Accepted, Replied, Reply};
use crate::domain::{
    Customer, CustomerFields, FieldRule, JsonType, NewCustomer, NewOpportunity, Opportunity,
    OpportunityFields, Resource, Violation, unguard_formula,
};
use crate::store::import;
use crate::tenancy::StoreError;

/// Rows of one request.
const ROWS_MAX: usize = 2000;

/// The route below `/customers`.
pub(super) fn of_customers() -> Router {
    Router::with_path("import").hoop(Payload::IMPORT).post(import_customers)
}

/// The route below `/opportunities`.
pub(super) fn of_opportunities() -> Router {
    Router::with_path("import").hoop(Payload::IMPORT).post(import_opportunities)
}

/// The rows of a request: `items`, or `data`.
pub(super) struct ImportRows {
    rows: Vec<Value>,
    /// The language of the reasons.
    language: Language,
}

impl fmt::Debug for ImportRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportRows") // the content is the client's
    }
}

impl<'ex> Extractible<'ex> for ImportRows {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("ImportRows");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let refused = || ApiError::bad_request(Message::ImportRows);
        let Ok(JsonBody(mut json)) = depot.remove_typed::<JsonBody>() else {
            return Err(refused());
        };
        let body = json.0.as_object_mut().ok_or_else(refused)?;
        match body.remove("items").or_else(|| body.remove("data")) {
            Some(Value::Array(rows)) if rows.len() <= ROWS_MAX => {
                Ok(Self { rows, language: Language::of(request) })
            }
            _ => Err(refused()),
        }
    }
}

impl EndpointArgRegister for ImportRows {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        let row = || Object::new().additional_properties(AdditionalProperties::FreeForm(true));
        let rows = |name: &str| {
            let said = format!("Rows with the fields of a POST; `{name}` is read if there is no `items`.");
            let rows = Array::new().items(row()).max_items(ROWS_MAX);
            if name == "items" {
                rows.description("Rows with the fields of a POST.")
            } else {
                rows.description(said)
            }
        };
        let schema = Object::new().property("items", rows("items")).property("data", rows("data"));
        let body = RequestBody::new().required(Required::True);
        operation.request_body = Some(body.add_content(openapi::JSON, Content::new(schema)));
        let codes = [Code::BadRequest, Code::PayloadTooLarge, Code::UnsupportedMediaType];
        openapi::errors(operation, &codes);
    }
}

/// Rows that can be added, with their places, and what is wrong with the others.
struct Checked<N> {
    places: Vec<usize>,
    new: Vec<N>,
    errors: Vec<RowError>,
    language: Language,
}

impl ImportRows {
    /// Checks each row as a POST would.
    fn check<F: DeserializeOwned, N>(
        self,
        rules: &[FieldRule],
        check: impl Fn(F) -> ApiResult<N>,
    ) -> Checked<N> {
        let Self { rows, language } = self;
        let mut checked = Checked { places: Vec::new(), new: Vec::new(), errors: Vec::new(), language };
        let read = |row: Value| {
            let not_an_object = || ApiError::new(Code::ValidationFailed, Message::RowNotObject);
            let Value::Object(mut fields) = row else { return Err(not_an_object()) };
            smooth(&mut fields, rules);
            check(serde_json::from_value(Value::Object(fields)).map_err(|_| not_an_object())?)
        };
        for (place, row) in rows.into_iter().enumerate() {
            match read(row) {
                Ok(new) => {
                    checked.places.push(place);
                    checked.new.push(new);
                }
                Err(error) => checked.errors.push(error.of_row(place, language)),
            }
        }
        checked
    }
}

/// Makes of the cells of a spreadsheet what a POST takes.
fn smooth(fields: &mut Map<String, Value>, rules: &[FieldRule]) {
    for rule in rules {
        let Some(value) = fields.get_mut(rule.field) else { continue };
        let Value::String(text) = value else { continue };
        let plain = unguard_formula(text);
        if rule.json_type == JsonType::Integer && plain.trim().is_empty() {
            *value = Value::Null;
        } else if let (JsonType::Integer, Ok(integer)) = (rule.json_type, plain.trim().parse::<i64>()) {
            *value = integer.into();
        } else if plain.len() < text.len() {
            *value = plain.into();
        }
    }
}

/// What became of the rows of an import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportOut<D> {
    accepted: bool,
    /// Rows that were added.
    created: usize,
    /// Rows that were not.
    errors: usize,
    /// Those that were added.
    details: Vec<D>,
    /// Those that were not.
    errors_detail: Vec<RowError>,
}

/// What is told of a record that was added.
trait Imported: Serialize + ToSchema {
    /// The name of the whole answer's schema.
    const ANSWER: &'static str;
}

/// A customer that was added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = ImportedCustomer))]
struct ImportedCustomer {
    index: usize,
    customer_id: String,
    name: String,
}

impl Imported for ImportedCustomer {
    const ANSWER: &'static str = "CustomerImport";
}

/// An opportunity that was added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = ImportedOpportunity))]
struct ImportedOpportunity {
    index: usize,
    opportunity_id: String,
    title: String,
}

impl Imported for ImportedOpportunity {
    const ANSWER: &'static str = "OpportunityImport";
}

impl<D: Imported> ToSchema for ImportOut<D> {
    fn to_schema(components: &mut Components) -> RefOr<Schema> {
        let (details, errors) = (openapi::answer::<D>(components), openapi::answer::<RowError>(components));
        let integer = |said: &str| Object::with_type(BasicType::Integer).description(said);
        let answer = Object::new()
            .property("accepted", Object::with_type(BasicType::Boolean))
            .property("created", integer("Rows that were added."))
            .property("errors", integer("Rows that were not."))
            .property("details", Array::new().items(details).description("Those that were added."))
            .property("errorsDetail", Array::new().items(errors).description("Those that were not."));
        components.schemas.insert(D::ANSWER, answer);
        RefOr::Ref(Ref::from_schema_name(D::ANSWER))
    }
}

/// The answer: what became of each row, in their order.
fn reply<R, D: Imported>(
    places: Vec<usize>,
    outcomes: Vec<Result<R, StoreError>>,
    mut errors: Vec<RowError>,
    language: Language,
    imported: impl Fn(usize, R) -> D,
) -> Result<Reply<Accepted<ImportOut<D>>>, StoreError> {
    let mut details = Vec::new();
    for (place, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            Ok(record) => details.push(imported(place, record)),
            Err(error) => errors.push(ApiError::from(error).of_row(place, language)),
        }
    }
    errors.sort_by_key(|error| error.index);
    let (created, errors_len) = (details.len(), errors.len());
    let body = ImportOut { accepted: true, created, errors: errors_len, details, errors_detail: errors };
    Reply::accepted(&body)
}

type Answered<D> = ApiResult<Replied<Accepted<ImportOut<D>>>>;

/// Creates many customers.
#[endpoint(tags("imports"))]
pub(super) async fn import_customers(ctx: TenantCtx, rows: ImportRows) -> Answered<ImportedCustomer> {
    ctx.check_room_for_many()?;
    let view = ctx.view();
    let Checked { places, new, errors, language } = rows.check(&CustomerFields::rules(), |fields| {
        NewCustomer::check(fields, ctx.user(), view.masking).map_err(ApiError::of_customer)
    });
    let imported =
        |index, customer: Customer| ImportedCustomer { index, customer_id: customer.id, name: customer.name };
    if new.is_empty() && !ctx.tenant_exists().await? {
        // Nothing to write: no reason to create a tenant.
        return Ok(Replied {
            reply: reply(places, Vec::new(), errors, language, imported)?,
            replayed: false,
        });
    }
    ctx.write(async move |tx| {
        let outcomes = import::customers(tx, new).await?;
        reply(places, outcomes, errors, language, imported)
    })
    .await
}

/// Creates many opportunities.
#[endpoint(tags("imports"))]
pub(super) async fn import_opportunities(ctx: TenantCtx, rows: ImportRows) -> Answered<ImportedOpportunity> {
    ctx.check_room_for_many()?;
    let Checked { places, new, errors, language } =
        rows.check(&OpportunityFields::rules(), |fields| Ok(NewOpportunity::check(fields, ctx.user())?));
    let imported = |index, opportunity: Opportunity| ImportedOpportunity {
        index,
        opportunity_id: opportunity.id,
        title: opportunity.title,
    };
    if !ctx.tenant_exists().await? {
        // It has no customers either.
        let unknown = || Err(StoreError::Violation(Violation::NoSuch(Resource::Customer)));
        let outcomes = new.iter().map(|_| unknown()).collect();
        return Ok(Replied { reply: reply(places, outcomes, errors, language, imported)?, replayed: false });
    }
    ctx.write_child(Resource::Customer, async move |tx| {
        let outcomes = import::opportunities(tx, new).await?;
        reply(places, outcomes, errors, language, imported)
    })
    .await
}
