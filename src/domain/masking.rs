//! Personal data as it leaves the tenant's file (contract §6).

/// Which fields are masked besides phones, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Masking {
    /// Mask e-mail addresses too.
    pub email: bool,
}

/// What a client's value for a masked field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmasked {
    /// It is the mask of the stored value: leave that alone.
    Unchanged,
    /// It is a new value.
    New,
    /// It holds `*` but is not the mask of the stored value.
    Refused,
}

impl Masking {
    /// A phone: its first three and last four digits; `***` if it has fewer than eight. Empty stays empty.
    #[must_use]
    pub fn phone(self, phone: &str) -> String {
        if phone.is_empty() {
            return String::new();
        }
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        if digits.len() < 8 {
            return "***".to_owned();
        }
        format!("{}****{}", &digits[..3], &digits[digits.len() - 4..])
    }

    /// An e-mail address; masked (first character and domain stay) only if configured.
    #[must_use]
    pub fn email(self, email: &str) -> String {
        if !self.email || email.is_empty() {
            return email.to_owned();
        }
        match email.rsplit_once('@') {
            Some((local, domain)) => {
                let first: String = local.chars().take(1).collect();
                format!("{first}***@{domain}")
            }
            None => "***".to_owned(),
        }
    }

    /// What `given` means for a phone that is `stored`.
    #[must_use]
    pub fn unmask_phone(self, given: &str, stored: &str) -> Unmasked {
        unmask(given, &self.phone(stored))
    }

    /// What `given` means for an e-mail address that is `stored`.
    #[must_use]
    pub fn unmask_email(self, given: &str, stored: &str) -> Unmasked {
        if self.email { unmask(given, &self.email(stored)) } else { Unmasked::New }
    }
}

fn unmask(given: &str, mask: &str) -> Unmasked {
    if !given.contains('*') {
        Unmasked::New
    } else if given == mask {
        Unmasked::Unchanged
    } else {
        Unmasked::Refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: Masking = Masking { email: true };

    #[test]
    fn phones_keep_three_and_four_digits() {
        for (phone, masked) in [
            ("13812345678", "138****5678"),
            ("+86 138-1234-5678", "861****5678"),
            ("010-1234", "***"),
            ("", ""),
            ("分机", "***"),
        ] {
            assert_eq!(Masking::default().phone(phone), masked);
        }
    }

    #[test]
    fn emails_are_masked_only_on_request() {
        assert_eq!(Masking::default().email("li.lei@example.com"), "li.lei@example.com");
        assert_eq!(BOTH.email("li.lei@example.com"), "l***@example.com");
        assert_eq!(BOTH.email("李@example.com"), "李***@example.com");
        assert_eq!(BOTH.email("nonsense"), "***");
    }

    proptest! {
        #[test]
        fn writing_back_the_mask_changes_nothing(phone in "[0-9+ -]{1,50}", email in "[a-z.]{1,9}@[a-z]{1,9}") {
            prop_assert_eq!(BOTH.unmask_phone(&BOTH.phone(&phone), &phone), Unmasked::Unchanged);
            prop_assert_eq!(BOTH.unmask_email(&BOTH.email(&email), &email), Unmasked::Unchanged);
        }

        #[test]
        fn no_other_mask_is_taken_for_a_value(given in "[0-9*]{0,11}\\*[0-9*]{0,5}", phone in "[0-9]{8,11}") {
            prop_assume!(given != BOTH.phone(&phone));
            prop_assert_eq!(BOTH.unmask_phone(&given, &phone), Unmasked::Refused);
        }

        #[test]
        fn a_mask_shows_at_most_seven_digits(phone in "\\PC{0,60}") {
            prop_assert!(BOTH.phone(&phone).chars().filter(char::is_ascii_digit).count() <= 7);
        }
    }
}
