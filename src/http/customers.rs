//! `/customers` (contract §6).

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::body::{Body, BodyType, MergePatch};
use super::conditions::{Expected, RecordId, of_record};
use super::error::{ApiError, ApiResult};
use super::export;
use super::import;
use super::overview;
use super::payload::Payload;
use super::protected::{TenantCtx, View};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::{Changed, Created, NoContent, PageBody, Replied, Reply, Restored, Single};
use super::router::RouterExt as _;
use crate::domain::{
    Customer, CustomerFields, CustomerPatch, CustomerStatus, FieldRule, Lifecycle, NewCustomer, Resource,
    TenantId, Timestamp,
};
use crate::store::customers::{self, CustomerFilter, CustomerKey};
use crate::store::trash;

const COLLECTION: &str = "customers";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record = of_record().read(get_customer).patch(update_customer).delete(delete_customer);
    let export = Router::with_path("export").read(export::customers_export);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_customers).post(create_customer).push(record);
    let restore = of_record().path("restore").hoop(Payload::ACTION).post(restore_customer);
    let overview = of_record().path("360").read(overview::overview_customer);
    Router::with_path(COLLECTION)
        .push(resource)
        .push(export)
        .push(import::of_customers())
        .push(restore)
        .push(overview)
}

/// A customer; its phone is masked.
// The origin's keys first and in its order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Customer))]
pub(super) struct CustomerOut {
    customer_id: String,
    tenant_id: TenantId,
    name: String,
    contact_phone: String,
    contact_email: String,
    status: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    owner_id: String,
    lifecycle: Option<Lifecycle>,
    level: Option<String>,
    source: Option<String>,
    industry: Option<String>,
    region: Option<String>,
    address: Option<String>,
    website: Option<String>,
    remark: Option<String>,
    next_follow_up_at: Option<Timestamp>,
    last_follow_up_at: Option<Timestamp>,
    version: i64,
}

impl CustomerOut {
    pub(super) fn new(customer: Customer, view: &View) -> Self {
        let Customer {
            id,
            name,
            contact_phone,
            contact_email,
            status,
            lifecycle,
            level,
            source,
            industry,
            region,
            address,
            website,
            remark,
            owner_id,
            next_follow_up_at,
            last_follow_up_at,
            version,
            created_at,
            updated_at,
        } = customer;
        Self {
            customer_id: id,
            tenant_id: view.tenant.clone(),
            name,
            contact_phone: view.masking.phone(&contact_phone),
            contact_email: view.masking.email(&contact_email),
            status: status.code(),
            created_at,
            updated_at,
            owner_id,
            lifecycle,
            level,
            source,
            industry,
            region,
            address,
            website,
            remark,
            next_follow_up_at,
            last_follow_up_at,
            version,
        }
    }
}

impl BodyType for CustomerFields {
    const NAME: &'static str = "Customer";
    const READ_ONLY: &'static [&'static str] =
        &["customerId", "tenantId", "createdAt", "updatedAt", "nextFollowUpAt", "lastFollowUpAt", "version"];

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

/// Lists customers.
#[endpoint(tags("customers"))]
async fn list_customers(
    ctx: TenantCtx,
    query: ListQuery<CustomerFilter>,
) -> ApiResult<PageBody<CustomerOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| customers::list(db, &filter, &page, hash).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|customer| CustomerOut::new(customer, &view))))
}

/// Creates a customer.
#[endpoint(tags("customers"))]
async fn create_customer(
    ctx: TenantCtx,
    body: Body<CustomerFields>,
) -> ApiResult<Replied<Created<CustomerOut>>> {
    let view = ctx.view();
    let new = NewCustomer::check(body.0, ctx.user(), view.masking).map_err(ApiError::of_customer)?;
    ctx.add(new, move |customer| {
        let customer = CustomerOut::new(customer, &view);
        Reply::created(COLLECTION, &customer.customer_id, customer.version, &customer)
    })
    .await
}

/// Gets a customer.
#[endpoint(tags("customers"))]
async fn get_customer(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<CustomerOut>> {
    let customer: Customer = ctx.get(id).await?;
    Ok(Single { version: customer.version, body: CustomerOut::new(customer, &ctx.view()) })
}

/// Changes a customer.
#[endpoint(tags("customers"))]
async fn update_customer(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: MergePatch<CustomerFields>,
) -> ApiResult<Replied<Changed<CustomerOut>>> {
    let view = ctx.view();
    let patch = CustomerPatch::check(body.0, ctx.patch_checker()).map_err(ApiError::of_customer)?;
    ctx.write_existing(Resource::Customer, async move |tx| {
        let customer = CustomerOut::new(customers::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(customer.version, &customer)
    })
    .await
}

/// Puts a customer into the trash.
#[endpoint(tags("customers"))]
async fn delete_customer(ctx: TenantCtx, id: RecordId, expected: Expected) -> ApiResult<Replied<NoContent>> {
    ctx.write_existing(Resource::Customer, async move |tx| {
        customers::delete(tx, &id.0, expected.0.version).await?;
        Ok(Reply::no_content())
    })
    .await
}

/// Takes a customer out of the trash.
#[endpoint(tags("customers"))]
async fn restore_customer(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied<Restored<CustomerOut>>> {
    let view = ctx.view();
    ctx.write_existing(Resource::Customer, async move |tx| {
        let customer: Customer = trash::restore(tx, &id.0).await?;
        let customer = CustomerOut::new(customer, &view);
        Reply::restored(customer.version, &customer)
    })
    .await
}

impl ListFilter for CustomerFilter {
    type Key = CustomerKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[
        ("createdAt", CustomerKey::CreatedAt),
        ("updatedAt", CustomerKey::UpdatedAt),
        ("name", CustomerKey::Name),
        ("nextFollowUpAt", CustomerKey::NextFollowUpAt),
        ("lastFollowUpAt", CustomerKey::LastFollowUpAt),
    ];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
            id: query.text("customerId"),
            owner_id: query.text("ownerId"),
            status: query.choice("status", CustomerStatus::ALLOWED, |code| {
                CustomerStatus::from_code(code.parse().ok()?)
            })?,
            lifecycle: query.choice("lifecycle", Lifecycle::ALLOWED, Lifecycle::from_word)?,
            level: query.text("level"),
            source: query.text("source"),
            industry: query.text("industry"),
            region: query.text("region"),
            keyword: query.keyword()?,
            created_from: query.moment("createdFrom")?,
            created_to: query.moment("createdTo")?,
            updated_from: query.moment("updatedFrom")?,
            updated_to: query.moment("updatedTo")?,
        })
    }
}
