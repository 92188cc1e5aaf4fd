//! Query parameters: known by name, given once, and never ignored (contract §2, §7).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::NaiveDate;
use chrono_tz::Tz;
use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible};
use salvo_oapi::{Components, EndpointArgRegister, Operation, ParameterIn};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::openapi;
use super::state::State;
use crate::domain::{
    Allowed, Count, Cursor, Keyword, Masking, Order, PageRequest, Start, TenantId, Timestamp, nearest,
};

const PAGE_SIZE: u32 = 20;
const PAGE_SIZES: RangeInclusive<u64> = 1..=500;
const PAGES: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Rows that page numbers may skip; deeper pages go by cursor.
const DEEPEST_OFFSET: u64 = 100_000;
const SORT_KEYS_MAX: usize = 3;
/// Parameters that do not change which rows a list has, or in which order.
const NOT_OF_THE_LIST: [&str; 5] = ["page", "pageSize", "cursor", "count", "lang"];
const COUNTS: Allowed = Allowed::Words(&["auto", "exact", "none"]);

/// What a list can be asked for.
pub(super) trait ListFilter: Sized + Send {
    /// What its rows can be sorted by.
    type Key: Copy + Send + Sync + 'static;
    /// The documented names of the keys; the first is the default, greatest first.
    const SORT_KEYS: &'static [(&'static str, Self::Key)];

    /// Takes the parameters of the filter out of a query.
    fn read(query: &mut Query) -> ApiResult<Self>;
}

/// The query of a list, read and checked as far as that goes without the tenant.
#[derive(Debug)]
pub(super) struct ListQuery<F: ListFilter> {
    filter: F,
    page: u32,
    cursor: Option<String>,
    size: u32,
    order: Vec<Order<F::Key>>,
    count: Count,
    /// The path, and every parameter that selects or orders rows.
    identity: Sha256,
}

/// What a list is asked for.
#[derive(Debug)]
pub(super) struct ListRequest<F: ListFilter> {
    pub(super) filter: F,
    pub(super) page: PageRequest<F::Key>,
    /// What a cursor of this list carries.
    pub(super) hash: u64,
}

impl<F: ListFilter> ListQuery<F> {
    /// The request for the list of this tenant.
    pub(super) fn of(self, tenant: &TenantId) -> ApiResult<ListRequest<F>> {
        let Self { filter, page, cursor, size, order, count, mut identity } = self;
        part(&mut identity, tenant.as_str());
        let hash = identity.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let start = match cursor {
            Some(cursor) => Start::After(Cursor::decode(&cursor, hash, order.len())?),
            None => Start::Page(page),
        };
        Ok(ListRequest { filter, page: PageRequest { start, size, order, count }, hash })
    }

    fn read(query: &mut Query) -> ApiResult<Self> {
        let filter = F::read(query)?;
        let size = query.number("pageSize", PAGE_SIZES)?.unwrap_or(PAGE_SIZE);
        let number = query.number("page", PAGES)?;
        let order = query.order(F::SORT_KEYS)?;
        let count = query.choice("count", COUNTS, |word| match word {
            "auto" => Some(Count::Auto),
            "exact" => Some(Count::Exact),
            "none" => Some(Count::None),
            _ => None,
        })?;
        let cursor = query.text("cursor");
        query.describe("`nextCursor` of the page before, with the same filters.");
        if cursor.is_some() && number.is_some() {
            return Err(ApiError::bad_request(Message::PageAndCursor));
        }
        let page = number.unwrap_or(1);
        if u64::from(page - 1) * u64::from(size) > DEEPEST_OFFSET {
            return Err(ApiError::bad_request(Message::PageTooDeep));
        }
        let identity = query.identity();
        Ok(Self { filter, page, cursor, size, order, count: count.unwrap_or_default(), identity })
    }
}

impl<'ex, F: ListFilter> Extractible<'ex> for ListQuery<F> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("ListQuery");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let mut query = Query::of(request, State::of(depot)?)?;
        let list = Self::read(&mut query)?;
        query.finish()?;
        Ok(list)
    }
}

impl<F: ListFilter> EndpointArgRegister for ListQuery<F> {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        document(operation, Self::read);
        openapi::errors(operation, &[Code::InvalidCursor]);
    }
}

/// What an operation that is no list can be asked for.
pub(super) trait Parameters: Sized + Send {
    /// Takes the parameters out of a query.
    fn read(query: &mut Query) -> ApiResult<Self>;
}

/// The query of an operation, with unknown parameters refused as those of a list are.
#[derive(Debug)]
pub(super) struct QueryOf<P>(pub(super) P);

impl<'ex, P: Parameters> Extractible<'ex> for QueryOf<P> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("QueryOf");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let mut query = Query::of(request, State::of(depot)?)?;
        let parameters = P::read(&mut query)?;
        query.finish()?;
        Ok(Self(parameters))
    }
}

impl<P: Parameters> EndpointArgRegister for QueryOf<P> {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        document(operation, P::read);
    }
}

/// Reads an empty query, and documents what was looked for in it.
fn document<T>(operation: &mut Operation, read: impl FnOnce(&mut Query) -> ApiResult<T>) {
    let mut query = Query::new(Tz::UTC, Masking::default());
    let read = read(&mut query);
    debug_assert!(read.is_ok(), "an operation answers without parameters");
    for Parameter { name, allowed, description } in query.known {
        let parameter = openapi::parameter(name, ParameterIn::Query, false, openapi::values(allowed));
        operation.parameters.insert(match description {
            Some(description) => parameter.description(description),
            None => parameter,
        });
    }
    openapi::errors(operation, &[Code::BadRequest, Code::ValidationFailed, Code::UnknownParameter]);
}

/// A parameter that was looked for.
#[derive(Debug, Clone)]
struct Parameter {
    name: &'static str,
    /// Its values; any text if there is no rule.
    allowed: Option<Allowed>,
    /// What else there is to say of it.
    description: Option<String>,
}

/// The parameters of a query. Every one that a list takes out becomes a known one; the rest is refused: an ignored filter
/// would answer with everything.
#[derive(Debug)]
pub(super) struct Query {
    given: BTreeMap<String, String>,
    known: Vec<Parameter>,
    path: String,
    time_zone: Tz,
    masking: Masking,
}

impl Query {
    fn new(time_zone: Tz, masking: Masking) -> Self {
        Self { given: BTreeMap::new(), known: Vec::new(), path: String::new(), time_zone, masking }
    }

    fn of(request: &Request, state: &State) -> ApiResult<Self> {
        let mut query = Self::new(state.api.time_zone, state.masking());
        for (name, value) in request.queries().flat_iter() {
            if name.starts_with('_') {
                continue; // cache busters and the like
            }
            if query.given.insert(name.clone(), value.clone()).is_some() {
                return Err(ApiError::bad_request(Message::ParameterTwice(name.clone())));
            }
        }
        query.given.retain(|_, value| !value.trim().is_empty());
        query.path = request.uri().path().trim_matches('/').to_owned();
        Ok(query)
    }

    /// A parameter's value, trimmed; an empty one is absent.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.take(name, None)
    }

    /// A value of those that are allowed.
    pub(super) fn choice<T>(
        &mut self,
        name: &'static str,
        allowed: Allowed,
        choose: impl FnOnce(&str) -> Option<T>,
    ) -> ApiResult<Option<T>> {
        let Some(text) = self.take(name, Some(allowed)) else {
            return Ok(None);
        };
        match choose(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(Code::ValidationFailed, name, allowed.to_string())),
        }
    }

    /// A moment: RFC 3339, or a date or date-time without an offset in the configured time zone.
    pub(super) fn moment(&mut self, name: &'static str) -> ApiResult<Option<Timestamp>> {
        let zone = self.time_zone;
        self.choice(name, Allowed::MOMENT, |text| {
            // A plus sign that was not percent-encoded arrives as a space.
            Timestamp::parse(&text.replace(' ', "+"), zone)
        })
    }

    /// `keyword` or `q`, which mean the same: what names, e-mail addresses and phones are searched for.
    pub(super) fn keyword(&mut self) -> ApiResult<Option<Keyword>> {
        let masking = self.masking;
        let keyword = self.choice("keyword", Keyword::ALLOWED, |text| Keyword::parse(text, masking))?;
        self.describe(
            "Every word of it is part of the name or e-mail address, whatever its case, width and accents; or it is a whole phone, \
             in any notation; or a word is the last four digits of the phone.",
        );
        let q = self.choice("q", Keyword::ALLOWED, |text| Keyword::parse(text, masking))?;
        self.describe("Another name of `keyword`.");
        if keyword.is_some() && q.is_some() {
            return Err(ApiError::bad_request(Message::ParameterTwice("keyword".to_owned())));
        }
        Ok(keyword.or(q))
    }

    /// Whole days in the configured time zone, both included: their first moment, and the first one after them.
    pub(super) fn days(
        &mut self,
        first: &'static str,
        last: &'static str,
    ) -> ApiResult<(Option<Timestamp>, Option<Timestamp>)> {
        let zone = self.time_zone;
        let day = |text: &str| {
            let day = text.parse::<NaiveDate>().ok().filter(|day| day.to_string() == text)?;
            Some((day, Timestamp::parse(text, zone)?))
        };
        let from = self.choice(first, Allowed::DATE, day)?;
        self.describe("The first day.");
        let to = self.choice(last, Allowed::DATE, day)?;
        self.describe("The last day, which is included.");
        // After the last day of all there is none.
        let after = |(day, _): (NaiveDate, _)| Timestamp::parse(&day.succ_opt()?.to_string(), zone);
        Ok((from.map(|(_, from)| from), to.and_then(after)))
    }

    /// Says more of the parameter that was looked for last.
    fn describe(&mut self, description: impl Into<String>) {
        if let Some(last) = self.known.last_mut() {
            last.description = Some(description.into());
        }
    }

    fn take(&mut self, name: &'static str, allowed: Option<Allowed>) -> Option<String> {
        self.known.push(Parameter { name, allowed, description: None });
        self.given.get(name).map(|value| value.trim().to_owned())
    }

    /// A number within a range.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> ApiResult<Option<u32>> {
        let allowed = Allowed::Range(range.start().cast_signed(), range.end().cast_signed());
        let Some(text) = self.take(name, Some(allowed)) else {
            return Ok(None);
        };
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(Code::BadRequest, name, allowed.to_string())),
        }
    }

    /// `sort`, by these keys; the first of them, greatest first, if it is not given.
    pub(super) fn order<K: Copy>(&mut self, keys: &[(&'static str, K)]) -> ApiResult<Vec<Order<K>>> {
        let refused = || invalid(Code::ValidationFailed, "sort", keys_text(keys));
        let text = self.text("sort");
        self.describe(keys_text(keys));
        let Some(text) = text else {
            let default = keys.first().map(|(_, key)| Order { key: *key, descending: true });
            return Ok(default.into_iter().collect());
        };
        let mut order = Vec::new();
        let mut names = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, descending) = part.strip_prefix('-').map_or((part, false), |name| (name, true));
            let (_, key) = keys.iter().find(|(known, _)| *known == name).ok_or_else(refused)?;
            if names.contains(&name) || order.len() == SORT_KEYS_MAX {
                return Err(refused());
            }
            names.push(name);
            order.push(Order { key: *key, descending });
        }
        Ok(order)
    }

    fn finish(self) -> ApiResult<()> {
        let known = || self.known.iter().map(|parameter| parameter.name).chain(openapi::COMMON_PARAMETERS);
        match self.given.keys().find(|given| !known().any(|name| name == given.as_str())) {
            None => Ok(()),
            Some(name) => {
                let nearest = nearest(name, known()).to_owned();
                let message = Message::ParameterUnknown { name: name.clone(), nearest };
                Err(ApiError::new(Code::UnknownParameter, message))
            }
        }
    }

    fn identity(&self) -> Sha256 {
        let mut identity = Sha256::new();
        part(&mut identity, &self.path);
        for (name, value) in self.given.iter().filter(|(name, _)| !NOT_OF_THE_LIST.contains(&name.as_str())) {
            part(&mut identity, name);
            part(&mut identity, value.trim());
        }
        identity
    }
}

/// The length goes first, so that no two sequences of parts hash alike.
fn part(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn keys_text<K>(keys: &[(&'static str, K)]) -> String {
    let names: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
    format!("{} (≤ {SORT_KEYS_MAX}, - = descending)", names.join(", "))
}

fn invalid(code: Code, name: &str, allowed: String) -> ApiError {
    ApiError::new(code, Message::ParameterInvalid { name: name.to_owned(), allowed })
}
