//! What is exported of each resource.

use salvo::Writer as _;
use salvo_oapi::endpoint;

use super::{Asked, Export, Exporting, Format, export};
use crate::domain::{Contact, Customer, FollowUp, Opportunity};
use crate::http::contacts::ContactOut;
use crate::http::customers::CustomerOut;
use crate::http::error::ApiResult;
use crate::http::follow_ups::FollowUpOut;
use crate::http::opportunities::OpportunityOut;
use crate::http::protected::{TenantCtx, View};
use crate::http::query::QueryOf;
use crate::store::contacts::ContactFilter;
use crate::store::customers::CustomerFilter;
use crate::store::follow_ups::FollowUpFilter;
use crate::store::opportunities::OpportunityFilter;

impl Export for CustomerFilter {
    type Out = CustomerOut;
    const FILE: &'static str = "customers";
    const COLUMNS: &'static [(&'static str, &'static str)] = &[
        ("customerId", "客户ID"),
        ("name", "名称"),
        ("contactPhone", "联系电话"),
        ("contactEmail", "邮箱"),
        ("status", "状态"),
        ("createdAt", "创建时间"),
        ("updatedAt", "更新时间"),
        ("ownerId", "负责人"),
        ("lifecycle", "生命周期"),
        ("level", "级别"),
        ("source", "来源"),
        ("industry", "行业"),
        ("region", "地区"),
        ("address", "地址"),
        ("website", "网站"),
        ("remark", "备注"),
        ("nextFollowUpAt", "下次跟进时间"),
        ("lastFollowUpAt", "最近跟进时间"),
        ("version", "版本"),
    ];

    fn out(record: Customer, view: &View) -> CustomerOut {
        CustomerOut::new(record, view)
    }
}

/// Exports customers, as CSV unless JSON is asked for.
#[endpoint(tags("exports"))]
pub(super) async fn export_customers(
    ctx: TenantCtx,
    query: QueryOf<Asked<CustomerFilter>>,
) -> ApiResult<Exporting<CustomerFilter>> {
    export(&ctx, query.0, Format::Csv).await
}

/// Exports customers, as JSON unless CSV is asked for.
#[endpoint(tags("exports"))]
pub(in crate::http) async fn customers_export(
    ctx: TenantCtx,
    query: QueryOf<Asked<CustomerFilter>>,
) -> ApiResult<Exporting<CustomerFilter>> {
    export(&ctx, query.0, Format::Json).await
}

impl Export for ContactFilter {
    type Out = ContactOut;
    const FILE: &'static str = "contacts";
    const COLUMNS: &'static [(&'static str, &'static str)] = &[
        ("contactId", "联系人ID"),
        ("customerId", "客户ID"),
        ("name", "姓名"),
        ("phone", "电话"),
        ("email", "邮箱"),
        ("isPrimary", "主联系人"),
        ("createdAt", "创建时间"),
        ("updatedAt", "更新时间"),
        ("title", "职务"),
        ("department", "部门"),
        ("role", "角色"),
        ("ownerId", "负责人"),
        ("version", "版本"),
    ];

    fn out(record: Contact, view: &View) -> ContactOut {
        ContactOut::new(record, view)
    }
}

/// Exports contacts, as CSV unless JSON is asked for.
#[endpoint(tags("exports"))]
pub(super) async fn export_contacts(
    ctx: TenantCtx,
    query: QueryOf<Asked<ContactFilter>>,
) -> ApiResult<Exporting<ContactFilter>> {
    export(&ctx, query.0, Format::Csv).await
}

/// Exports contacts, as JSON unless CSV is asked for.
#[endpoint(tags("exports"))]
pub(in crate::http) async fn contacts_export(
    ctx: TenantCtx,
    query: QueryOf<Asked<ContactFilter>>,
) -> ApiResult<Exporting<ContactFilter>> {
    export(&ctx, query.0, Format::Json).await
}

impl Export for OpportunityFilter {
    type Out = OpportunityOut;
    const FILE: &'static str = "opportunities";
    const COLUMNS: &'static [(&'static str, &'static str)] = &[
        ("opportunityId", "商机ID"),
        ("customerId", "客户ID"),
        ("title", "标题"),
        ("amountCents", "金额(分)"),
        ("currency", "币种"),
        ("stage", "阶段"),
        ("status", "状态"),
        ("createdAt", "创建时间"),
        ("updatedAt", "更新时间"),
        ("ownerId", "负责人"),
        ("probabilityPct", "赢率(%)"),
        ("weightedCents", "加权金额(分)"),
        ("expectedCloseDate", "预计成交日期"),
        ("closedAt", "关闭时间"),
        ("lostReason", "输单原因"),
        ("stageName", "阶段名称"),
        ("version", "版本"),
    ];

    fn out(record: Opportunity, view: &View) -> OpportunityOut {
        OpportunityOut::new(record, view)
    }
}

/// Exports opportunities, as CSV unless JSON is asked for.
#[endpoint(tags("exports"))]
pub(super) async fn export_opportunities(
    ctx: TenantCtx,
    query: QueryOf<Asked<OpportunityFilter>>,
) -> ApiResult<Exporting<OpportunityFilter>> {
    export(&ctx, query.0, Format::Csv).await
}

/// Exports opportunities, as JSON unless CSV is asked for.
#[endpoint(tags("exports"))]
pub(in crate::http) async fn opportunities_export(
    ctx: TenantCtx,
    query: QueryOf<Asked<OpportunityFilter>>,
) -> ApiResult<Exporting<OpportunityFilter>> {
    export(&ctx, query.0, Format::Json).await
}

impl Export for FollowUpFilter {
    type Out = FollowUpOut;
    const FILE: &'static str = "follow-ups";
    const COLUMNS: &'static [(&'static str, &'static str)] = &[
        ("followUpId", "跟进记录ID"),
        ("customerId", "客户ID"),
        ("opportunityId", "商机ID"),
        ("contactId", "联系人ID"),
        ("content", "内容"),
        ("followUpType", "类型"),
        ("createdAt", "创建时间"),
        ("updatedAt", "更新时间"),
        ("occurredAt", "发生时间"),
        ("nextFollowUpAt", "下次跟进时间"),
        ("ownerId", "负责人"),
        ("version", "版本"),
    ];

    fn out(record: FollowUp, view: &View) -> FollowUpOut {
        FollowUpOut::new(record, view)
    }
}

/// Exports follow-ups, as CSV unless JSON is asked for.
#[endpoint(tags("exports"))]
pub(super) async fn export_follow_ups(
    ctx: TenantCtx,
    query: QueryOf<Asked<FollowUpFilter>>,
) -> ApiResult<Exporting<FollowUpFilter>> {
    export(&ctx, query.0, Format::Csv).await
}

/// Exports follow-ups, as JSON unless CSV is asked for.
#[endpoint(tags("exports"))]
pub(in crate::http) async fn follow_ups_export(
    ctx: TenantCtx,
    query: QueryOf<Asked<FollowUpFilter>>,
) -> ApiResult<Exporting<FollowUpFilter>> {
    export(&ctx, query.0, Format::Json).await
}
