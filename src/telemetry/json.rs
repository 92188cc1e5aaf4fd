//! Log lines as the platform's collectors read them: one flat JSON object a line.
//!
//! `timestamp`, `level`, `target`, `message` and `cell` come first, then the fields of the event and of the spans it is
//! in, side by side. Where a name is given twice, the event's value counts, then that of the innermost span.

use std::error::Error;
use std::fmt::{self, Debug};

use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The events.
#[derive(Debug)]
pub(super) struct JsonLine;

/// The fields of a span: members of an object without its braces, so that later ones can be added.
#[derive(Debug)]
pub(super) struct JsonMembers;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(members) = span.extensions().get::<FormattedFields<N>>() {
                let object: Result<Map<_, _>, _> = serde_json::from_str(&format!("{{{}}}", members.fields));
                fields.0.extend(object.unwrap_or_default());
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_else(|| "".into());
        // What comes through the `log` crate has its target in a field.
        let target = fields.0.remove("log.target").unwrap_or_else(|| event.metadata().target().into());
        fields.0.retain(|name, _| !name.starts_with("log."));
        writer.write_str(r#"{"timestamp":""#)?;
        SystemTime.format_time(&mut writer)?;
        let level = event.metadata().level();
        write!(writer, r#"","level":"{level}","target":{target},"message":{message},"cell":"crm""#)?;
        for (name, value) in &fields.0 {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

impl<'writer> FormatFields<'writer> for JsonMembers {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Fields::default();
        fields.record(&mut members);
        for (index, (name, value)) in members.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(writer, "{comma}{}:{value}", Value::from(name.as_str()))?;
        }
        Ok(())
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        if !current.fields.is_empty() && !fields.is_empty() {
            current.fields.push(',');
        }
        self.format_fields(current.as_writer(), fields)
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        self.0.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, Number::from_f64(value).map_or(Value::Null, Value::Number));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    /// With its causes, the nearest first.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.insert(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing::field::Empty;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs, without their time.
    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(JsonLine)
            .fmt_fields(JsonMembers)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        let parse = |line: &str| {
            assert!(line.starts_with(r#"{"timestamp":"2"#), "{line}");
            let mut line: Value = serde_json::from_str(line).expect(line);
            let time = line.as_object_mut().expect("an object").remove("timestamp");
            assert!(time.is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z'))));
            line
        };
        text.lines().map(parse).collect()
    }

    #[test]
    fn a_line_is_one_flat_object_with_the_fields_of_its_spans() {
        let lines = logged(|| {
            let request =
                tracing::error_span!("request", request_id = "r-1", trace_id = Empty, tenant_id = Empty);
            request.in_scope(|| {
                tracing::warn!(target: "t", "early");
                request.record("tenant_id", tracing::field::display("acme"));
                let inner = tracing::error_span!("inner", tenant_id = "inner", n = 1);
                inner.in_scope(|| tracing::info!(target: "t", took = 1.5, request_id = "event", "late"));
            });
        });
        assert_eq!(
            lines,
            [
                json!({"level": "WARN", "target": "t", "message": "early", "cell": "crm", "request_id": "r-1"}),
                json!({
                    "level": "INFO", "target": "t", "message": "late", "cell": "crm", "request_id": "event",
                    "tenant_id": "inner", "n": 1, "took": 1.5,
                }),
            ]
        );
    }

    #[test]
    fn every_kind_of_value_is_json() {
        #[derive(Debug, thiserror::Error)]
        #[error("the outer one")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::from(io::ErrorKind::NotFound));
        let lines = logged(|| {
            tracing::error!(
                target: "t",
                b = true, u = u64::MAX, i = -1, f = f64::NAN, text = "a \"quote\"\n\u{1b}[31m, 中文", none = None::<&str>,
                debug = ?["x"], error = &error as &dyn Error, r#type = "word",
            );
        });
        assert_eq!(
            lines,
            [json!({
                "level": "ERROR", "target": "t", "message": "", "cell": "crm",
                "b": true, "u": u64::MAX, "i": -1, "f": null, "text": "a \"quote\"\n\u{1b}[31m, 中文",
                "debug": "[\"x\"]", "error": "the outer one: entity not found", "type": "word",
            })]
        );
    }
}
