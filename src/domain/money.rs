//! Amounts of money: whole minor units of a currency. Nothing here is a float.

use std::fmt;

use iso_currency::Currency as Iso;

/// The largest amount, in minor units (contract §3).
pub const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(Iso);

impl Currency {
    /// The currency of amounts that name none.
    pub const CNY: Self = Self(Iso::CNY);

    /// The currency of a three-letter code, in either letter case.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Iso::from_code(&code.to_ascii_uppercase()).map(Self)
    }

    /// Its code, in capitals.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// `amount` × `percent` / 100, rounded half up: what a deal counts for in a forecast (contract §6).
#[must_use]
pub fn weigh(amount: i64, percent: i64) -> i64 {
    let weighted = (i128::from(amount) * i128::from(percent) + 50).div_euclid(100);
    i64::try_from(weighted).unwrap_or(if weighted < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_are_read_in_either_case_and_nothing_else_is() {
        assert_eq!(Currency::parse("usd").map(Currency::code), Some("USD"));
        assert_eq!(Currency::parse("CNY"), Some(Currency::CNY));
        for code in ["", "XX", "RMB", "￥", "CNYY"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }

    #[test]
    fn halves_are_rounded_up() {
        assert_eq!(weigh(5, 10), 1);
        assert_eq!(weigh(4, 10), 0);
        assert_eq!(weigh(125, 20), 25);
        assert_eq!(weigh(AMOUNT_MAX, 100), AMOUNT_MAX);
    }

    proptest! {
        #[test]
        fn a_weighted_amount_lies_between_nothing_and_the_amount(amount in 0..=AMOUNT_MAX, percent in 0..=100_i64) {
            prop_assert!((0..=amount).contains(&weigh(amount, percent)));
        }
    }
}
