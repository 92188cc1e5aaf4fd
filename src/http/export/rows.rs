//! The rows of an export as CSV or JSON.

use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::ops::ControlFlow;

use csv::{Terminator, WriterBuilder};
use serde::Serialize;
use serde_json::Value;

use super::Export;
use super::body::Pieces;
use crate::domain::guard_formula;
use crate::http::protected::View;
use crate::store::export::Rows;

/// Spreadsheets take a file without it for one in an old encoding.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Rows of comma-separated values (RFC 4180), with headings.
pub(super) struct Csv {
    view: View,
    pieces: Pieces,
}

impl Csv {
    /// Begins with the headings.
    pub(super) fn new<F: Export>(view: View, mut pieces: Pieces) -> io::Result<Self> {
        pieces.buffer().extend_from_slice(BYTE_ORDER_MARK.as_bytes());
        write_row(pieces.buffer(), F::COLUMNS.iter().map(|(_, heading)| (*heading).into()))?;
        Ok(Self { view, pieces })
    }

    /// Nothing is missing.
    pub(super) async fn end(self) {
        self.pieces.end().await;
    }
}

/// Hands the records of `F` on as rows.
pub(super) struct Of<'a, F, S>(&'a mut S, PhantomData<fn() -> F>);

impl<'a, F, S> Of<'a, F, S> {
    pub(super) fn on(rows: &'a mut S) -> Self {
        Self(rows, PhantomData)
    }
}

impl<F: Export> Rows<F::Record> for Of<'_, F, Csv> {
    async fn take(&mut self, record: F::Record) -> ControlFlow<()> {
        let Csv { view, pieces } = &mut *self.0;
        let written = match serde_json::to_value(F::out(record, view)) {
            Ok(row) => {
                let cells = F::COLUMNS.iter().map(|(key, _)| cell(row.get(key)));
                write_row(pieces.buffer(), cells)
            }
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => pieces.pass().await,
            Err(error) => broken_off(&error),
        }
    }
}

/// What a spreadsheet shows of a value.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => guard_formula(text).into_owned(),
        Some(value) => value.to_string(),
    }
}

fn write_row(buffer: &mut Vec<u8>, cells: impl Iterator<Item = String>) -> io::Result<()> {
    let mut row = WriterBuilder::new().terminator(Terminator::CRLF).buffer_capacity(1024).from_writer(buffer);
    row.write_record(cells.map(String::into_bytes))?;
    row.flush()
}

/// A page as JSON: `{"data":[…],"total":7,"page":1,"pageSize":1000}`.
pub(super) struct Json {
    view: View,
    pieces: Pieces,
    rows: usize,
}

impl Json {
    pub(super) fn new(view: View, mut pieces: Pieces) -> Self {
        pieces.buffer().extend_from_slice(b"{\"data\":[");
        Self { view, pieces, rows: 0 }
    }

    /// Ends with how many rows match on all pages, and which page this is of what size.
    pub(super) async fn end(mut self, total: u64, page: u32, size: u32) {
        let end = format!("],\"total\":{total},\"page\":{page},\"pageSize\":{size}}}");
        self.pieces.buffer().extend_from_slice(end.as_bytes());
        self.pieces.end().await;
    }

    fn write(&mut self, row: &impl Serialize) -> io::Result<()> {
        let buffer = self.pieces.buffer();
        if self.rows > 0 {
            buffer.write_all(b",")?;
        }
        self.rows += 1;
        Ok(serde_json::to_writer(buffer, row)?)
    }
}

impl<F: Export> Rows<F::Record> for Of<'_, F, Json> {
    async fn take(&mut self, record: F::Record) -> ControlFlow<()> {
        let row = F::out(record, &self.0.view);
        match self.0.write(&row) {
            Ok(()) => self.0.pieces.pass().await,
            Err(error) => broken_off(&error),
        }
    }
}

fn broken_off(error: &io::Error) -> ControlFlow<()> {
    tracing::error!(error = error as &dyn std::error::Error, "a row cannot be written");
    ControlFlow::Break(())
}
