//! One row for each operation of the API document.

use reqwest::Method;
use serde_json::{Value, json};

/// An operation, and a request that it answers well.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub operation: &'static str,
    pub method: &'static str,
    /// `{customer}` and the like stand for ids of the seeded world; `{id}` is what the document calls them.
    pub path: &'static str,
    pub kind: Kind,
}

/// What can be expected of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Needs no token.
    Public,
    /// Answers pages.
    List,
    /// Answers pages, to managers.
    ManagersList,
    /// Answers pages, to services and administrators.
    ReviewersList,
    /// Takes events, from services and administrators.
    Receive,
    /// Does something to an event, for services and administrators.
    Review,
    /// Has events delivered once more, for services and administrators.
    Replay,
    /// Answers a record.
    Get,
    /// Makes a record.
    Create,
    /// Changes a record.
    Update,
    /// Deletes a record.
    Delete,
    /// Does something to a record.
    Action,
    /// Makes many records.
    Import,
    /// Answers figures of many records.
    Report,
    /// Answers a record with what hangs on it.
    Overview,
    /// Answers all rows of a list, as a file.
    Export,
    /// Answers a page of a list that may be long.
    ExportPage,
}

const fn row(operation: &'static str, method: &'static str, path: &'static str, kind: Kind) -> Row {
    Row { operation, method, path, kind }
}

pub const TABLE: &[Row] = &[
    row("root", "GET", "/", Kind::Public),
    row("health", "GET", "/health", Kind::Public),
    row("live", "GET", "/health/live", Kind::Public),
    row("ready", "GET", "/health/ready", Kind::Public),
    row("metrics", "GET", "/metrics", Kind::Public),
    row("openapi", "GET", "/openapi.json", Kind::Public),
    row("docs", "GET", "/docs", Kind::Public),
    row("list_customers", "GET", "/customers", Kind::List),
    row("create_customer", "POST", "/customers", Kind::Create),
    row("get_customer", "GET", "/customers/{customer}", Kind::Get),
    row("update_customer", "PATCH", "/customers/{customer}", Kind::Update),
    row("delete_customer", "DELETE", "/customers/{spare_customer}", Kind::Delete),
    row("restore_customer", "POST", "/customers/{deleted_customer}/restore", Kind::Action),
    row("overview_customer", "GET", "/customers/{customer}/360", Kind::Overview),
    row("import_customers", "POST", "/customers/import", Kind::Import),
    row("list_contacts", "GET", "/contacts", Kind::List),
    row("create_contact", "POST", "/contacts", Kind::Create),
    row("get_contact", "GET", "/contacts/{contact}", Kind::Get),
    row("update_contact", "PATCH", "/contacts/{contact}", Kind::Update),
    row("delete_contact", "DELETE", "/contacts/{spare_contact}", Kind::Delete),
    row("restore_contact", "POST", "/contacts/{deleted_contact}/restore", Kind::Action),
    row("list_opportunities", "GET", "/opportunities", Kind::List),
    row("create_opportunity", "POST", "/opportunities", Kind::Create),
    row("get_opportunity", "GET", "/opportunities/{opportunity}", Kind::Get),
    row("update_opportunity", "PATCH", "/opportunities/{opportunity}", Kind::Update),
    row("delete_opportunity", "DELETE", "/opportunities/{spare_opportunity}", Kind::Delete),
    row("restore_opportunity", "POST", "/opportunities/{deleted_opportunity}/restore", Kind::Action),
    row("import_opportunities", "POST", "/opportunities/import", Kind::Import),
    row("list_follow_ups", "GET", "/follow-ups", Kind::List),
    row("create_follow_up", "POST", "/follow-ups", Kind::Create),
    row("get_follow_up", "GET", "/follow-ups/{follow_up}", Kind::Get),
    row("update_follow_up", "PATCH", "/follow-ups/{follow_up}", Kind::Update),
    row("delete_follow_up", "DELETE", "/follow-ups/{spare_follow_up}", Kind::Delete),
    row("restore_follow_up", "POST", "/follow-ups/{deleted_follow_up}/restore", Kind::Action),
    row("list_trash", "GET", "/trash", Kind::List),
    row("list_audit_logs", "GET", "/audit-logs", Kind::ManagersList),
    row("funnel", "GET", "/reports/funnel", Kind::Report),
    row("sales_forecast", "GET", "/reports/sales-forecast", Kind::Report),
    row("opportunities_forecast", "GET", "/opportunities/forecast", Kind::Report),
    row("pipeline_summary", "GET", "/pipeline/summary", Kind::Report),
    row("pipeline_funnel", "GET", "/pipeline/funnel", Kind::Report),
    row("win_rate", "GET", "/opportunities/win-rate", Kind::Report),
    row("sales_funnel", "GET", "/reports/sales-funnel", Kind::Report),
    row("customer_analysis", "GET", "/reports/customer-analysis", Kind::Report),
    row("export_customers", "GET", "/export/customers", Kind::Export),
    row("customers_export", "GET", "/customers/export", Kind::ExportPage),
    row("export_contacts", "GET", "/export/contacts", Kind::Export),
    row("contacts_export", "GET", "/contacts/export", Kind::ExportPage),
    row("export_opportunities", "GET", "/export/opportunities", Kind::Export),
    row("opportunities_export", "GET", "/opportunities/export", Kind::ExportPage),
    row("export_follow_ups", "GET", "/export/follow-ups", Kind::Export),
    row("follow_ups_export", "GET", "/follow-ups/export", Kind::ExportPage),
    row("activity_stats", "GET", "/reports/activity-stats", Kind::Report),
    row("receive_events", "POST", "/events", Kind::Receive),
    row("list_inbox", "GET", "/events/inbox", Kind::ReviewersList),
    row("retry_event", "POST", "/events/inbox/{received}/retry", Kind::Review),
    row("resolve_event", "POST", "/events/inbox/{received}/resolve", Kind::Review),
    row("list_outbox", "GET", "/events/outbox", Kind::ReviewersList),
    row("retry_delivery", "POST", "/events/outbox/{sent}/retry", Kind::Review),
    row("replay_events", "POST", "/events/outbox/replay", Kind::Replay),
];

impl Row {
    pub fn method(&self) -> Method {
        self.method.parse().expect("a method")
    }

    pub fn is_public(&self) -> bool {
        self.kind == Kind::Public
    }

    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::ManagersList | Kind::ReviewersList)
    }

    pub fn exports(&self) -> bool {
        matches!(self.kind, Kind::Export | Kind::ExportPage)
    }

    /// Refuses parameters that it does not know.
    pub fn is_strict(&self) -> bool {
        self.is_list() || self.exports() || self.kind == Kind::Report
    }

    pub fn reads(&self) -> bool {
        self.method == "GET"
    }

    /// The operation is on one record.
    pub fn has_id(&self) -> bool {
        self.path.contains('{')
    }

    /// It is for services and administrators.
    pub fn is_for_reviewers(&self) -> bool {
        matches!(self.kind, Kind::ReviewersList | Kind::Receive | Kind::Review | Kind::Replay)
    }

    /// A body and a request id are required.
    pub fn needs_body(&self) -> bool {
        matches!(self.kind, Kind::Create | Kind::Update)
    }

    /// A body is required.
    pub fn takes_body(&self) -> bool {
        self.needs_body() || self.kind == Kind::Import
    }

    /// The most bytes that its body may have.
    pub fn body_max(&self) -> usize {
        if matches!(self.kind, Kind::Import | Kind::Receive) { 8 << 20 } else { 1 << 20 }
    }

    /// The path as the document writes it.
    pub fn documented_path(&self) -> String {
        match (self.path.find('{'), self.path.find('}')) {
            (Some(start), Some(end)) => format!("{}{{id}}{}", &self.path[..start], &self.path[end + 1..]),
            _ => self.path.to_owned(),
        }
    }

    /// The path with this in the place of the record's id.
    pub fn path_to(&self, id: &str) -> String {
        self.documented_path().replace("{id}", id)
    }

    /// A body that the operation takes; ids of the world in the same braces as in paths.
    pub fn body(&self) -> Option<Value> {
        Some(match self.operation {
            "create_customer" => json!({
                "name": "华为技术有限公司", "contactPhone": "13800135678", "contactEmail": "li@example.com",
                "lifecycle": "prospect", "level": "A", "source": "展会", "industry": "通信", "region": "华南",
                "address": "深圳市龙岗区", "website": "https://example.com", "remark": "年度重点客户",
            }),
            "create_contact" => json!({
                "customerId": "{customer}", "name": "李雷", "phone": "13800135678", "email": "li@example.com",
                "isPrimary": true, "title": "采购经理", "department": "采购部", "role": "决策人",
            }),
            "create_opportunity" => json!({
                "customerId": "{customer}", "title": "年度服务器采购", "amountCents": 128_000_000,
                "currency": "CNY", "stage": 3, "expectedCloseDate": "2026-12-31",
            }),
            "create_follow_up" => json!({
                "customerId": "{customer}", "opportunityId": "{opportunity}", "contactId": "{contact}",
                "content": "电话沟通报价，客户要求下周提供方案", "followUpType": "call",
                "occurredAt": "2026-11-20T10:00:00+08:00", "nextFollowUpAt": "2026-11-27",
            }),
            "update_customer" => json!({"lifecycle": "customer", "remark": null, "ifVersion": 1}),
            "update_contact" => json!({"title": "采购总监"}),
            "update_opportunity" => json!({"stage": 5}),
            "receive_events" => json!({
                "eventId": "erp-20261122-0042", "eventType": "erp.contract.signed",
                "timestamp": "2026-11-22T07:59:00.000Z",
                "data": {"contractId": "HT-2026-042", "customerId": "{customer}", "amountCents": 128_000_000, "currency": "CNY"},
            }),
            "resolve_event" => json!({"opportunityId": "{opportunity}"}),
            "replay_events" => json!({"state": "delivered", "from": "2026-11-21T00:00:00+08:00"}),
            "update_follow_up" => json!({"content": "已发送方案"}),
            "import_customers" => json!({
                "items": [
                    {"name": "中兴通讯", "contactPhone": "13800135678", "status": "1"},
                    {"name": "", "level": "A"},
                    {"name": "中兴通讯"},
                ],
            }),
            "import_opportunities" => json!({
                "items": [
                    {"customerId": "{customer}", "title": "核心网扩容", "amountCents": "5000000"},
                    {"customerId": "unknown", "title": "核心网扩容"},
                ],
            }),
            _ => return None,
        })
    }
}
