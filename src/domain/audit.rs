//! What a change of a record looks like from outside: for the audit log and for events, personal data masked.

use serde_json::{Map, Value, json};

use super::masking::Masking;

/// A field of a record that a client can write.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditField {
    name: &'static str,
    value: Value,
    data: PersonalData,
}

/// Which mask a field wears outside the tenant's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PersonalData {
    None,
    Phone,
    Email,
}

impl AuditField {
    /// A field that may be shown.
    #[must_use]
    pub fn plain(name: &'static str, value: Value) -> Self {
        Self { name, value, data: PersonalData::None }
    }

    /// A phone.
    #[must_use]
    pub fn phone(name: &'static str, phone: &str) -> Self {
        Self { name, value: phone.into(), data: PersonalData::Phone }
    }

    /// An e-mail address.
    #[must_use]
    pub fn email(name: &'static str, email: &str) -> Self {
        Self { name, value: email.into(), data: PersonalData::Email }
    }

    fn masked(&self, masking: Masking) -> Value {
        match (self.data, &self.value) {
            (PersonalData::Phone, Value::String(phone)) => masking.phone(phone).into(),
            (PersonalData::Email, Value::String(email)) => masking.email(email).into(),
            (_, value) => value.clone(),
        }
    }
}

/// A record whose changes are kept.
pub trait Audited {
    /// The fields that a client can write, in a fixed order; nothing masked.
    fn audit_fields(&self) -> Vec<AuditField>;

    /// What differs from `before` (from nothing, for a new record): `{"field": [old, new]}`.
    fn changes_since(&self, before: Option<&Self>, masking: Masking) -> Map<String, Value> {
        let new = self.audit_fields();
        let Some(before) = before else {
            let filled = new.iter().filter(|field| !field.value.is_null() && field.value != "");
            return filled
                .map(|field| (field.name.to_owned(), json!([null, field.masked(masking)])))
                .collect();
        };
        let old = before.audit_fields();
        let pairs = old.iter().zip(&new).filter(|(old, new)| old.value != new.value);
        pairs
            .map(|(old, new)| (new.name.to_owned(), json!([old.masked(masking), new.masked(masking)])))
            .collect()
    }

    /// The fields that other systems may see: all but those named; phones and e-mail addresses are masked whatever clients of
    /// this one see (contract §10).
    fn event_fields(&self, without: &[&str]) -> Map<String, Value> {
        let masking = Masking { email: true };
        let fields = self.audit_fields().into_iter().filter(|field| !without.contains(&field.name));
        fields.map(|field| (field.name.to_owned(), field.masked(masking))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Card(&'static str, &'static str);

    impl Audited for Card {
        fn audit_fields(&self) -> Vec<AuditField> {
            vec![AuditField::plain("name", json!(self.0)), AuditField::phone("phone", self.1)]
        }
    }

    #[test]
    fn a_change_behind_the_same_mask_is_still_a_change() {
        let changes =
            Card("a", "13899995678").changes_since(Some(&Card("a", "13811115678")), Masking::default());
        assert_eq!(Value::Object(changes), json!({"phone": ["138****5678", "138****5678"]}));
    }

    #[test]
    fn a_new_record_shows_what_it_has() {
        let changes = Card("a", "").changes_since(None, Masking::default());
        assert_eq!(Value::Object(changes), json!({"name": [null, "a"]}));
    }

    #[test]
    fn events_leave_out_what_is_named() {
        let fields = Card("a", "13811115678").event_fields(&["name"]);
        assert_eq!(Value::Object(fields), json!({"phone": "138****5678"}));
    }
}
