//! Exports: `/export/<resource>` and `/<resource>/export` (contract §9).

mod body;
mod resources;
mod rows;

use std::marker::PhantomData;

use chrono::DateTime;
use futures_util::StreamExt as _;
use salvo::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use salvo::http::{HeaderValue, Request, ResBody, Response, StatusCode};
use salvo::{Depot, Router, Writer, async_trait};
use salvo_oapi::{
    Array, BasicType, Components, Content, EndpointOutRegister, Object, Operation, Ref, RefOr, ToSchema,
};
use serde::Serialize;

use self::body::{Body, body};
use self::rows::{Csv, Json, Of};
use super::error::{ApiError, ApiResult};
use super::openapi;
use super::protected::{TenantCtx, View};
use super::query::{ListFilter, Parameters, Query};
use super::respond::JSON;
use super::router::RouterExt as _;
use crate::domain::{Allowed, Order};
use crate::store::export::{self, Exported, Window};
use crate::tenancy::Read;

const FORMATS: Allowed = Allowed::Words(&["csv", "json"]);
const CSV: &str = "text/csv; charset=utf-8";
/// Rows of a page, if it is not said.
const PAGE_SIZE: u32 = 1000;
const PAGE_SIZE_MAX: u64 = 5000;

/// The routes of `/export`; those below the resources are pushed there.
pub(super) fn routes() -> Router {
    Router::with_path("export")
        .push(Router::with_path("customers").read(resources::export_customers))
        .push(Router::with_path("contacts").read(resources::export_contacts))
        .push(Router::with_path("opportunities").read(resources::export_opportunities))
        .push(Router::with_path("follow-ups").read(resources::export_follow_ups))
}

pub(super) use self::resources::{
    contacts_export, customers_export, follow_ups_export, opportunities_export,
};

/// A resource as it is exported.
pub(super) trait Export: ListFilter + Exported<Key = <Self as ListFilter>::Key> + 'static {
    /// A row, as the resource's own list shows it.
    type Out: Serialize + ToSchema + Send;
    /// The name of the file, without its ending.
    const FILE: &'static str;
    /// The keys of a row that a spreadsheet gets, each with its heading. The origin's columns come first.
    const COLUMNS: &'static [(&'static str, &'static str)];

    /// The record as it is shown.
    fn out(record: Self::Record, view: &View) -> Self::Out;
}

/// What an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// All rows, or a page of them if one is asked for, as a file.
    Csv,
    /// A page, as JSON.
    Json,
}

/// What an export is asked for: the filters and the order of the list, and as what.
pub(super) struct Asked<F: ListFilter> {
    filter: F,
    order: Vec<Order<F::Key>>,
    format: Option<Format>,
    page: Option<u32>,
    size: Option<u32>,
}

impl<F: Export> Parameters for Asked<F> {
    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
            format: query.choice("format", FORMATS, |word| match word {
                "csv" => Some(Format::Csv),
                "json" => Some(Format::Json),
                _ => None,
            })?,
            page: query.number("page", 1..=u64::from(u32::MAX))?,
            size: query.number("pageSize", 1..=PAGE_SIZE_MAX)?,
            order: query.order(<F as ListFilter>::SORT_KEYS)?,
            filter: F::read(query)?,
        })
    }
}

/// 200 with an export, as far as it is made: the rest is made while it is sent.
pub(super) struct Exporting<F> {
    format: Format,
    file: String,
    body: Body,
    resource: PhantomData<fn() -> F>,
}

/// Begins an export; what it is if nobody says is `default`.
pub(super) async fn export<F: Export>(
    ctx: &TenantCtx,
    asked: Asked<F>,
    default: Format,
) -> ApiResult<Exporting<F>> {
    let Asked { filter, order, format, page, size } = asked;
    let format = format.unwrap_or(default);
    let is_page = format == Format::Json || page.is_some() || size.is_some();
    let (page, size) = (page.unwrap_or(1), size.unwrap_or(PAGE_SIZE));
    let offset = i64::from(page - 1) * i64::from(size);
    let window = is_page.then_some(Window { offset, limit: i64::from(size) });
    let (pieces, received) = body();
    let view = ctx.view();
    let mut making = match format {
        Format::Csv => {
            let mut csv = Csv::new::<F>(view, pieces).map_err(|_| ApiError::internal())?;
            let unit = async move |db: &mut Read| {
                let rows = &mut Of::<F, _>::on(&mut csv);
                if export::each(db, &filter, &order, window, rows).await?.is_continue() {
                    csv.end().await;
                }
                Ok(())
            };
            ctx.export(unit).await?
        }
        Format::Json => {
            let mut json = Json::new(view, pieces);
            let unit = async move |db: &mut Read| {
                let rows = &mut Of::<F, _>::on(&mut json);
                if export::each(db, &filter, &order, window, rows).await?.is_continue() {
                    json.end(export::count(db, &filter).await?, page, size).await;
                }
                Ok(())
            };
            ctx.export(unit).await?
        }
    };
    match received.first().await {
        Some(body) => {
            // Whoever drops the body ends what makes it.
            let body = body.inspect(move |_| _ = &making).boxed();
            Ok(Exporting { format, file: file_name::<F>(ctx), body, resource: PhantomData })
        }
        None => match making.join_next().await {
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Ok(Ok(())) | Err(_)) | None => Err(ApiError::internal()),
        },
    }
}

/// The resource and the day.
fn file_name<F: Export>(ctx: &TenantCtx) -> String {
    let now = DateTime::from_timestamp_millis(ctx.now().millis()).unwrap_or_default();
    format!("{}-{}.csv", F::FILE, now.with_timezone(&ctx.time_zone()).format("%Y%m%d"))
}

#[async_trait]
impl<F: Export> Writer for Exporting<F> {
    async fn write(self, _request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        response.status_code(StatusCode::OK);
        let headers = response.headers_mut();
        match self.format {
            Format::Csv => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(CSV));
                let attachment = format!("attachment; filename=\"{}\"", self.file);
                if let Ok(attachment) = HeaderValue::from_str(&attachment) {
                    headers.insert(CONTENT_DISPOSITION, attachment);
                }
            }
            Format::Json => _ = headers.insert(CONTENT_TYPE, JSON),
        }
        response.body = ResBody::stream(self.body);
    }
}

impl<F: Export> EndpointOutRegister for Exporting<F> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let row = openapi::answer::<F::Out>(components);
        let integer = || Object::with_type(BasicType::Integer);
        let page = Object::new()
            .property("data", Array::new().items(row))
            .property("total", integer().description("Rows on all pages."))
            .property("page", integer())
            .property("pageSize", integer());
        let page = ["data", "total", "page", "pageSize"].into_iter().fold(page, Object::required);
        let name = format!("{}Export", openapi::name_of(&openapi::answer::<F::Out>(components)));
        components.schemas.insert(name.clone(), page);
        let page = RefOr::Ref(Ref::from_schema_name(&name));
        let csv = Content::new(
            openapi::text().description("UTF-8 with a byte order mark, RFC 4180, with headings."),
        );
        let disposition = openapi::header("Of CSV: `attachment`, with a file name.");
        let response = openapi::response("The rows", page).add_content("text/csv", csv);
        operation.responses.insert("200", response.add_header("Content-Disposition", disposition));
    }
}
