//! Pages of lists: by number, or by a cursor that neither repeats nor hides rows (contract §7).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Which rows of a list a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Where the page starts.
    pub start: Start,
    /// Rows a page: 1 to 500.
    pub size: u32,
    /// At most three keys; the id breaks ties.
    pub order: Vec<Order<K>>,
    /// Whether and how the matches are counted.
    pub count: Count,
}

/// Where a page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The n-th page, from 1.
    Page(u32),
    /// After the row that the cursor names.
    After(Cursor),
}

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<K> {
    /// The key.
    pub key: K,
    /// Greatest first.
    pub descending: bool,
}

/// Whether and how matches are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Count {
    /// Up to [`Count::CAP`].
    #[default]
    Auto,
    /// All.
    Exact,
    /// Not at all.
    None,
}

impl Count {
    /// What [`Count::Auto`] counts to.
    pub const CAP: u64 = 10_000;
}

/// How many rows match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// This many.
    Exact(u64),
    /// More than [`Count::CAP`].
    Capped,
    /// Nobody asked.
    Unknown,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// How many rows match on all pages.
    pub total: Total,
    /// Its number, unless it was asked for by cursor.
    pub number: Option<u32>,
    /// Rows a page.
    pub size: u32,
    /// The start of the next page; `None` on the last.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The same page of other rows.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        let Self { rows, total, number, size, next } = self;
        Page { rows: rows.into_iter().map(convert).collect(), total, number, size, next }
    }
}

/// A place in a list: the sort keys and the id of a row, and which list it is a place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Hash of the tenant, the filters and the order: a cursor is good for its own list only.
    #[serde(rename = "l")]
    pub list: u64,
    /// The row's sort keys.
    #[serde(rename = "k")]
    pub keys: Vec<CursorValue>,
    /// The row's id.
    #[serde(rename = "i")]
    pub id: String,
}

/// A sort key of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CursorValue {
    /// A number or a moment.
    Integer(i64),
    /// A text.
    Text(String),
}

/// The text is not a cursor of this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct InvalidCursor;

/// Longest cursor that is looked at, in bytes.
const CURSOR_MAX: usize = 4096;

impl Cursor {
    /// The cursor as a client sees it.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a client's cursor for the list with this hash and so many sort keys.
    ///
    /// # Errors
    /// It is malformed, or of another list.
    pub fn decode(text: &str, list: u64, keys: usize) -> Result<Self, InvalidCursor> {
        if text.len() > CURSOR_MAX {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let cursor: Self = serde_json::from_slice(&bytes).map_err(|_| InvalidCursor)?;
        if cursor.list == list && cursor.keys.len() == keys { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = CursorValue> {
        prop_oneof![any::<i64>().prop_map(CursorValue::Integer), "\\PC{0,40}".prop_map(CursorValue::Text)]
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(list: u64, keys in prop::collection::vec(value(), 0..4), id in "[a-z0-9-]{1,64}") {
            let cursor = Cursor { list, keys, id };
            let text = cursor.encode();
            prop_assert_eq!(Cursor::decode(&text, list, cursor.keys.len()), Ok(cursor.clone()));
            prop_assert_eq!(Cursor::decode(&text, list.wrapping_add(1), cursor.keys.len()), Err(InvalidCursor));
        }

        #[test]
        fn nonsense_is_refused(text in "\\PC{0,80}") {
            prop_assert_eq!(Cursor::decode(&text, 0, 1), Err(InvalidCursor));
        }
    }
}
