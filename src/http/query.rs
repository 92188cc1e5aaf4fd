//! Query parameters of lists: known by name, given once, and never ignored (contract §2, §7).

use std::collections::BTreeMap;

use chrono_tz::Tz;
use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::state::State;
use crate::domain::{Count, Cursor, Order, PageRequest, Start, TenantId, Timestamp, nearest};

const PAGE_SIZE: u32 = 20;
const PAGE_SIZE_MAX: u32 = 500;
/// Rows that page numbers may skip; deeper pages go by cursor.
const DEEPEST_OFFSET: u64 = 100_000;
const SORT_KEYS_MAX: usize = 3;
/// Parameters that do not change which rows a list has, or in which order.
const NOT_OF_THE_LIST: [&str; 5] = ["page", "pageSize", "cursor", "count", "lang"];

/// The query of a list. Every parameter that a handler takes out becomes a known one; [`Query::finish`] refuses the rest.
#[derive(Debug)]
pub(super) struct Query {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
    path: String,
    time_zone: Tz,
}

impl<'ex> Extractible<'ex> for Query {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Query");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let time_zone = State::of(depot)?.api.time_zone;
        let mut given = BTreeMap::new();
        for (name, value) in request.queries().flat_iter() {
            if name.starts_with('_') {
                continue; // cache busters and the like
            }
            if given.insert(name.clone(), value.clone()).is_some() {
                return Err(ApiError::bad_request(Message::ParameterTwice(name.clone())));
            }
        }
        given.retain(|_, value| !value.trim().is_empty());
        let path = request.uri().path().trim_matches('/').to_owned();
        Ok(Self { given, known: vec!["lang", "scope"], path, time_zone })
    }
}

impl Query {
    /// A parameter's value, trimmed; an empty one is absent.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.given.get(name).map(|value| value.trim().to_owned())
    }

    /// One of a fixed set of values; `allowed` is how the set is told to the client.
    pub(super) fn choice<T>(
        &mut self,
        name: &'static str,
        allowed: &'static str,
        choose: impl FnOnce(&str) -> Option<T>,
    ) -> ApiResult<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match choose(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(Code::ValidationFailed, name, allowed)),
        }
    }

    /// A moment: RFC 3339, or a date or date-time without an offset in the configured time zone.
    pub(super) fn moment(&mut self, name: &'static str) -> ApiResult<Option<Timestamp>> {
        let zone = self.time_zone;
        self.choice(name, "2026-11-22, 2026-11-22T08:00:00+08:00", |text| {
            // A plus sign that was not percent-encoded arrives as a space.
            Timestamp::parse(&text.replace(' ', "+"), zone)
        })
    }

    /// Which page, in which order, counted how. `keys` are the documented sort keys, the first one the default, newest
    /// first. Call it after all filters.
    pub(super) fn page<K: Copy>(
        &mut self,
        tenant: &TenantId,
        keys: &[(&'static str, K)],
        allowed: &'static str,
    ) -> ApiResult<(PageRequest<K>, u64)> {
        let size = self.number("pageSize", "1–500", 1..=u64::from(PAGE_SIZE_MAX))?;
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(PAGE_SIZE);
        let number = self.number("page", "1, 2, 3, …", 1..=u64::from(u32::MAX))?;
        let order = self.order(keys, allowed)?;
        let count = self.choice("count", "auto, exact, none", |word| match word {
            "auto" => Some(Count::Auto),
            "exact" => Some(Count::Exact),
            "none" => Some(Count::None),
            _ => None,
        })?;
        let list = self.list_hash(tenant);
        let start = match (self.text("cursor"), number) {
            (Some(_), Some(_)) => return Err(ApiError::bad_request(Message::PageAndCursor)),
            (Some(cursor), None) => Start::After(Cursor::decode(&cursor, list, order.len())?),
            (None, number) => {
                let number = number.unwrap_or(1);
                if (number - 1) * u64::from(size) > DEEPEST_OFFSET {
                    return Err(ApiError::bad_request(Message::PageTooDeep));
                }
                Start::Page(u32::try_from(number).unwrap_or(u32::MAX))
            }
        };
        Ok((PageRequest { start, size, order, count: count.unwrap_or_default() }, list))
    }

    /// Refuses the parameters that nobody took out: an ignored filter would answer with everything.
    pub(super) fn finish(self) -> ApiResult<()> {
        match self.given.keys().find(|name| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let nearest = nearest(name, self.known.iter().copied()).to_owned();
                let message = Message::ParameterUnknown { name: name.clone(), nearest };
                Err(ApiError::new(Code::UnknownParameter, message))
            }
        }
    }

    fn number(
        &mut self,
        name: &'static str,
        allowed: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> ApiResult<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse::<u64>().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(Code::BadRequest, name, allowed)),
        }
    }

    fn order<K: Copy>(
        &mut self,
        keys: &[(&'static str, K)],
        allowed: &'static str,
    ) -> ApiResult<Vec<Order<K>>> {
        let refused = || invalid(Code::ValidationFailed, "sort", allowed);
        let Some(text) = self.text("sort") else {
            return Ok(keys
                .first()
                .map(|(_, key)| Order { key: *key, descending: true })
                .into_iter()
                .collect());
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

    /// What a cursor belongs to: the tenant, the path, and every parameter that selects or orders rows.
    fn list_hash(&self, tenant: &TenantId) -> u64 {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(tenant.as_str());
        part(&self.path);
        for (name, value) in self.given.iter().filter(|(name, _)| !NOT_OF_THE_LIST.contains(&name.as_str())) {
            part(name);
            part(value.trim());
        }
        let digest = hash.finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn invalid(code: Code, name: &str, allowed: &'static str) -> ApiError {
    ApiError::new(code, Message::ParameterInvalid { name: name.to_owned(), allowed })
}
