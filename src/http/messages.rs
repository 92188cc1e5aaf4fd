//! What people are told: every sentence in Chinese and in English.

use salvo::http::Request;
use salvo::http::header::ACCEPT_LANGUAGE;

use crate::domain::{Problem, Resource};

/// The language of an answer: Chinese unless the request asks for English (contract §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Chinese,
    English,
}

impl Language {
    /// `lang` in the query, else the first language of `Accept-Language`.
    pub(super) fn of(request: &Request) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("lang="));
        let accepted = || request.headers().get(ACCEPT_LANGUAGE)?.to_str().ok();
        let wanted = asked.or_else(accepted).unwrap_or_default().trim_start();
        if wanted.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("en")) {
            Self::English
        } else {
            Self::Chinese
        }
    }
}

/// A sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    RouteUnknown,
    MethodNotAllowed,
    NotFound(Resource),
    TenantNotFound,
    CustomerNameRequired,
    CustomerNameTaken,
    NameTakenMeanwhile,
    OwnerOutOfScope,
    ParentDeleted,
    ManagersOnly,
    ReviewersOnly,
    ConfinedSender,
    EventNotFound,
    EventSettled,
    NoBus,
    TooManyEvents,
    FieldsInvalid,
    MaskedValue,
    RequestIdRequired(String),
    RequestIdInvalid,
    TenantIdInvalid,
    TenantMismatch,
    ScopeInvalid,
    BodyNotJson,
    BodyUnreadable,
    TooManyValues,
    ImportRows,
    RowNotObject,
    HeadersContradict,
    MediaType,
    TooLarge,
    ParameterUnknown { name: String, nearest: String },
    ParameterTwice(String),
    ParameterInvalid { name: String, allowed: String },
    PageAndCursor,
    PageTooDeep,
    CursorInvalid,
    IfMatchInvalid,
    VersionMismatch,
    FieldConflict,
    IdempotentConflict,
    IdempotentInProgress,
    Unauthorized,
    CellNotAllowed,
    ReadOnlyRole,
    SignatureInvalid,
    AuthUnavailable,
    RateLimited,
    Overloaded,
    TooManyTenants,
    TenantReadOnly,
    TenantSuspended,
    TenantUnavailable,
    Internal,
}

impl Message {
    pub(super) fn text(&self, language: Language) -> String {
        let (chinese, english) = self.texts();
        match language {
            Language::Chinese => chinese,
            Language::English => english,
        }
    }

    fn texts(&self) -> (String, String) {
        let pair = |chinese: &str, english: &str| (chinese.to_owned(), english.to_owned());
        match self {
            Self::RouteUnknown => pair("请求的路径不存在", "There is no such path."),
            Self::MethodNotAllowed => pair("该路径不支持此请求方法", "The path does not allow this method."),
            Self::NotFound(Resource::Customer) => pair("客户不存在", "The customer does not exist."),
            Self::NotFound(Resource::Contact) => pair("联系人不存在", "The contact does not exist."),
            Self::NotFound(Resource::Opportunity) => pair("商机不存在", "The opportunity does not exist."),
            Self::NotFound(Resource::FollowUp) => pair("跟进记录不存在", "The follow-up does not exist."),
            Self::TenantNotFound => pair("租户不存在", "The tenant does not exist."),
            Self::CustomerNameRequired => pair("请填写客户名称", "Please fill in the customer's name."),
            Self::CustomerNameTaken => pair("客户名称已存在", "Another customer has this name."),
            Self::NameTakenMeanwhile => {
                pair("客户名称已被占用，无法恢复", "Another customer has taken the name meanwhile.")
            }
            Self::OwnerOutOfScope => pair("只能将记录分配给自己", "You may only own records yourself."),
            Self::ParentDeleted => {
                pair("所属客户已删除，请先恢复客户", "Its customer is deleted: restore that first.")
            }
            Self::ManagersOnly => pair("需要管理员或经理角色", "This needs the role manager or admin."),
            Self::ReviewersOnly => pair("需要服务或管理员角色", "This needs the role service or admin."),
            Self::ConfinedSender => pair(
                "事件会修改他人的数据，数据范围为本人的调用者不能发送",
                "Events change the records of others too: callers confined to their own may not send any.",
            ),
            Self::EventNotFound => pair("事件不存在", "There is no such event."),
            Self::EventSettled => pair("事件已处理", "The event needs no decision any more."),
            Self::NoBus => pair("未配置事件总线", "There is no event bus: set EVENT_BUS_URL."),
            Self::TooManyEvents => pair("一次最多 100 个事件", "At most 100 events at once."),
            Self::FieldsInvalid => pair("部分字段不符合要求", "Some fields are not as they must be."),
            Self::MaskedValue => pair(
                "脱敏后的值不能写回，请填写完整的值",
                "A masked value cannot be written: send the whole value, or leave the field out.",
            ),
            Self::RequestIdRequired(method) => (
                format!("{method} 必须包含 X-Request-ID"),
                format!("{method} needs the header X-Request-ID."),
            ),
            Self::RequestIdInvalid => pair(
                "X-Request-ID 必须是 1 至 200 个可见 ASCII 字符",
                "X-Request-ID must have 1 to 200 visible ASCII characters.",
            ),
            Self::TenantIdInvalid => {
                pair("X-Tenant-Id 无效", "X-Tenant-Id is not a tenant id, or was sent twice.")
            }
            Self::TenantMismatch => pair("无权访问该租户", "This caller may not use that tenant."),
            Self::ScopeInvalid => pair("scope 应为 self 或 all", "The scope must be self or all."),
            Self::ImportRows => pair(
                "请求体应为 {\"items\":[…]}，最多 2000 行",
                "The body must be {\"items\":[…]} with at most 2000 rows.",
            ),
            Self::RowNotObject => pair("该行应为 JSON 对象", "The row must be a JSON object."),
            Self::BodyNotJson => pair("请求体不是有效的 JSON", "The body is not valid JSON."),
            Self::BodyUnreadable => pair("请求体读取失败", "The body could not be read."),
            Self::TooManyValues => pair("请求体包含的数据项过多", "The body holds too many values."),
            Self::HeadersContradict => pair("请求头互相矛盾", "The headers contradict each other."),
            Self::MediaType => pair(
                "请求体必须是 application/json（UTF-8）",
                "The body must be application/json in UTF-8: set Content-Type.",
            ),
            Self::TooLarge => pair("请求体过大", "The body is too large."),
            Self::ParameterUnknown { name, nearest } => (
                format!("未知的查询参数 {name}，是否指 {nearest}？"),
                format!("Unknown query parameter {name}: did you mean {nearest}?"),
            ),
            Self::ParameterTwice(name) => (
                format!("查询参数 {name} 只能出现一次"),
                format!("The query parameter {name} may be given only once."),
            ),
            Self::ParameterInvalid { name, allowed } => (
                format!("查询参数 {name} 无效，应为：{allowed}"),
                format!("The query parameter {name} must be: {allowed}."),
            ),
            Self::PageAndCursor => pair("page 与 cursor 不能同时使用", "Use page or cursor, not both."),
            Self::PageTooDeep => pair(
                "页码过深，请改用上一页返回的 nextCursor",
                "That page is too deep: go on with cursor, from the nextCursor of the page before.",
            ),
            Self::CursorInvalid => pair(
                "cursor 无效，或不属于当前的筛选与排序条件",
                "The cursor is not valid, or belongs to other filters or another order: start from the first page.",
            ),
            Self::IfMatchInvalid => {
                pair("版本条件无效", "The version condition must be a version, as in \"v7\".")
            }
            Self::VersionMismatch => pair(
                "记录已被修改，请刷新后重试",
                "The record has changed meanwhile: read it again and retry.",
            ),
            Self::FieldConflict => pair(
                "相同字段已被他人修改，请刷新后重试",
                "A field that you change has been changed meanwhile: read the record again and retry.",
            ),
            Self::IdempotentConflict => {
                pair("X-Request-ID 已用于其他请求", "This X-Request-ID was used for another request.")
            }
            Self::IdempotentInProgress => pair(
                "相同 X-Request-ID 的请求正在处理",
                "A request with this X-Request-ID is still being processed.",
            ),
            Self::Unauthorized => {
                pair("缺少 Authorization 或凭证无效", "Authorization is missing or its token is not valid.")
            }
            Self::CellNotAllowed => pair("该账号未开通 CRM", "This account may not use the CRM."),
            Self::ReadOnlyRole => pair("只读角色不能修改数据", "A read-only role cannot change anything."),
            Self::SignatureInvalid => pair(
                "请求签名无效，请通过网关访问",
                "The gateway's signature is missing or wrong: go through the gateway.",
            ),
            Self::AuthUnavailable => pair(
                "认证服务暂不可用，请稍后重试",
                "The authentication service does not answer: retry later.",
            ),
            Self::RateLimited => pair("请求过于频繁，请稍后重试", "Too many requests: retry later."),
            Self::Overloaded => pair("当前请求过多，请稍后重试", "Too much is waiting: retry later."),
            Self::TooManyTenants => {
                pair("新租户创建过于频繁，请稍后重试", "Too many new tenants: retry later.")
            }
            Self::TenantReadOnly => pair(
                "该租户当前为只读，不能写入",
                "This tenant is read-only at the moment: nothing can be written.",
            ),
            Self::TenantSuspended => pair("该租户已停用", "This tenant is suspended."),
            Self::TenantUnavailable => {
                pair("该租户暂不可用，请稍后重试", "This tenant is not available at the moment: retry later.")
            }
            Self::Internal => pair("服务内部错误", "An error of the service."),
        }
    }
}

/// What is wrong with one field.
pub(super) fn problem(problem: Problem, language: Language) -> String {
    let (chinese, english) = match problem {
        Problem::Required => ("必填".to_owned(), "is required".to_owned()),
        Problem::NotText => ("应为字符串".to_owned(), "must be a string".to_owned()),
        Problem::NotInteger => ("应为整数".to_owned(), "must be an integer".to_owned()),
        Problem::TooLong(max) => (format!("最多 {max} 个字符"), format!("may have at most {max} characters")),
        Problem::NotOneOf(allowed) => {
            (format!("应为以下之一：{allowed}"), format!("must be one of: {allowed}"))
        }
        Problem::Masked => ("脱敏后的值不能写回".to_owned(), "is masked: send the whole value".to_owned()),
        Problem::Fixed => ("创建后不能修改".to_owned(), "cannot be changed".to_owned()),
        Problem::Contradicts(other) => (format!("与 {other} 矛盾"), format!("contradicts {other}")),
        Problem::Unknown => ("未知字段".to_owned(), "is not a field of this resource".to_owned()),
    };
    match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}
