//! `/contacts` (contract §6).

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::body::{Body, BodyType, MergePatch};
use super::conditions::{Expected, RecordId, of_record};
use super::error::ApiResult;
use super::export;
use super::payload::Payload;
use super::protected::{TenantCtx, View};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::{Changed, Created, NoContent, PageBody, Replied, Reply, Restored, Single};
use super::router::RouterExt as _;
use crate::domain::{
    Allowed, Contact, ContactFields, ContactPatch, FieldRule, NewContact, Resource, TenantId, Timestamp,
};
use crate::store::contacts::{self, ContactFilter, ContactKey};
use crate::store::trash;

const COLLECTION: &str = "contacts";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record = of_record().read(get_contact).patch(update_contact).delete(delete_contact);
    let export = Router::with_path("export").read(export::contacts_export);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_contacts).post(create_contact).push(record);
    let restore = of_record().path("restore").hoop(Payload::ACTION).post(restore_contact);
    Router::with_path(COLLECTION).push(resource).push(export).push(restore)
}

/// A contact; its phone is masked.
// The origin's keys first and in its order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Contact))]
pub(super) struct ContactOut {
    contact_id: String,
    tenant_id: TenantId,
    customer_id: String,
    name: String,
    phone: String,
    email: String,
    is_primary: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    title: Option<String>,
    department: Option<String>,
    role: Option<String>,
    owner_id: String,
    version: i64,
}

impl ContactOut {
    pub(super) fn new(contact: Contact, view: &View) -> Self {
        let Contact {
            id,
            customer_id,
            name,
            phone,
            email,
            is_primary,
            title,
            department,
            role,
            owner_id,
            version,
            created_at,
            updated_at,
        } = contact;
        Self {
            contact_id: id,
            tenant_id: view.tenant.clone(),
            customer_id,
            name,
            phone: view.masking.phone(&phone),
            email: view.masking.email(&email),
            is_primary,
            created_at,
            updated_at,
            title,
            department,
            role,
            owner_id,
            version,
        }
    }
}

impl BodyType for ContactFields {
    const NAME: &'static str = "Contact";
    const READ_ONLY: &'static [&'static str] =
        &["contactId", "tenantId", "createdAt", "updatedAt", "version"];

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

/// Lists contacts.
#[endpoint(tags("contacts"))]
async fn list_contacts(ctx: TenantCtx, query: ListQuery<ContactFilter>) -> ApiResult<PageBody<ContactOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| contacts::list(db, &filter, &page, hash).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|contact| ContactOut::new(contact, &view))))
}

/// Creates a contact.
#[endpoint(tags("contacts"))]
async fn create_contact(
    ctx: TenantCtx,
    body: Body<ContactFields>,
) -> ApiResult<Replied<Created<ContactOut>>> {
    let view = ctx.view();
    let new = NewContact::check(body.0, view.masking)?;
    ctx.write_child(Resource::Customer, async move |tx| {
        let contact = ContactOut::new(contacts::insert(tx, new).await?, &view);
        Reply::created(COLLECTION, &contact.contact_id, contact.version, &contact)
    })
    .await
}

/// Gets a contact.
#[endpoint(tags("contacts"))]
async fn get_contact(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<ContactOut>> {
    let contact: Contact = ctx.get(id).await?;
    Ok(Single { version: contact.version, body: ContactOut::new(contact, &ctx.view()) })
}

/// Changes a contact.
#[endpoint(tags("contacts"))]
async fn update_contact(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: MergePatch<ContactFields>,
) -> ApiResult<Replied<Changed<ContactOut>>> {
    let view = ctx.view();
    let patch = ContactPatch::check(body.0, ctx.patch_checker())?;
    ctx.write_existing(Resource::Contact, async move |tx| {
        let contact = ContactOut::new(contacts::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(contact.version, &contact)
    })
    .await
}

/// Puts a contact into the trash.
#[endpoint(tags("contacts"))]
async fn delete_contact(ctx: TenantCtx, id: RecordId, expected: Expected) -> ApiResult<Replied<NoContent>> {
    ctx.write_existing(Resource::Contact, async move |tx| {
        contacts::delete(tx, &id.0, expected.0.version).await?;
        Ok(Reply::no_content())
    })
    .await
}

/// Takes a contact out of the trash.
#[endpoint(tags("contacts"))]
async fn restore_contact(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied<Restored<ContactOut>>> {
    let view = ctx.view();
    ctx.write_existing(Resource::Contact, async move |tx| {
        let contact: Contact = trash::restore(tx, &id.0).await?;
        let contact = ContactOut::new(contact, &view);
        Reply::restored(contact.version, &contact)
    })
    .await
}

impl ListFilter for ContactFilter {
    type Key = ContactKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[
        ("createdAt", ContactKey::CreatedAt),
        ("updatedAt", ContactKey::UpdatedAt),
        ("name", ContactKey::Name),
    ];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
            id: query.text("contactId"),
            customer_id: query.text("customerId"),
            owner_id: query.text("ownerId"),
            role: query.text("role"),
            department: query.text("department"),
            is_primary: query
                .choice("isPrimary", Allowed::Words(&["true", "false"]), |word| word.parse().ok())?,
            keyword: query.keyword()?,
            created_from: query.moment("createdFrom")?,
            created_to: query.moment("createdTo")?,
            updated_from: query.moment("updatedFrom")?,
            updated_to: query.moment("updatedTo")?,
        })
    }
}
