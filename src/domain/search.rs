//! What records are found by: words in their names and e-mail addresses, and whole phones (contract §7).
//!
//! A record's searchable text is made so that "contains" answers every question, whether SQLite's trigram index is asked or the
//! text itself. Each character of a name stands between spaces, each of an e-mail address between tabs: a word of one character
//! or two is long enough for trigrams then, and a word that is looked for in names only is not found in an address. A phone's
//! digits stand together, so that it is found by all of them or by the last four, and by no others.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;

use super::allowed::Allowed;
use super::fold::fold_name;
use super::masking::Masking;

/// Longest keyword, in characters.
const KEYWORD_MAX: usize = 100;
const IN_NAMES: char = ' ';
const IN_EMAILS: char = '\t';
/// Begins and ends every part of a searchable text.
const EDGE: char = '\n';
/// Begins and ends a phone.
const PHONE: char = '#';
/// The digits of a phone that a mask leaves at its end.
const LAST: usize = 4;

/// The searchable text of a record.
#[must_use]
pub fn search_text(name: &str, email: &str, phone: &str) -> String {
    let mut text = String::from(EDGE);
    text.push_str(&spaced(&fold(name), IN_NAMES));
    text.push(EDGE);
    if !email.is_empty() {
        text.push_str(&spaced(&fold(email), IN_EMAILS));
        text.push(EDGE);
    }
    let digits = digits_of(phone);
    if !digits.is_empty() {
        text.push_str(&whole_phone(&digits));
        text.push(EDGE);
    }
    text
}

/// What somebody looks for: every word must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyword(Vec<Word>);

/// What a searchable text holds if a word is found in it: one of these.
pub type Word = Vec<String>;

/// What a row surely holds that holds `needle`, as parts that an index of trigrams is fast at: the pairs of its characters. Single
/// ones are in half of all names. A needle without pairs is its own part.
#[must_use]
pub fn search_parts(needle: &str) -> Vec<String> {
    let chars: Vec<char> = needle.chars().collect();
    let is_between = |c: char| [IN_NAMES, IN_EMAILS, EDGE].contains(&c);
    let is_pair =
        |part: &&[char]| matches!(part, [a, b, c] if !is_between(*a) && is_between(*b) && !is_between(*c));
    let pairs: Vec<String> = chars.windows(3).filter(is_pair).map(|pair| pair.iter().collect()).collect();
    if pairs.is_empty() { vec![needle.to_owned()] } else { pairs }
}

impl Keyword {
    /// What can be one.
    pub const ALLOWED: Allowed = Allowed::Form { said: "1–100 characters", format: None };

    /// Reads a keyword of 1 to 100 characters. Where e-mail addresses are masked they are found whole only, or they could be
    /// guessed letter by letter.
    #[must_use]
    pub fn parse(text: &str, masking: Masking) -> Option<Self> {
        if text.chars().count() > KEYWORD_MAX {
            return None;
        }
        let folded = fold(text);
        let phone = as_phone(&folded);
        let mut words: Vec<Word> = Vec::new();
        for word in folded.split_whitespace() {
            let email = spaced(word, IN_EMAILS);
            let email = if masking.email { format!("{EDGE}{email}{EDGE}") } else { email };
            let mut word_or = vec![spaced(word, IN_NAMES), email];
            if word.len() == LAST && word.bytes().all(|byte| byte.is_ascii_digit()) {
                word_or.push(format!("{word}{PHONE}"));
            }
            word_or.extend(phone.clone());
            if !words.contains(&word_or) {
                words.push(word_or);
            }
        }
        (!words.is_empty()).then_some(Self(words))
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        &self.0
    }
}

/// As people compare names, and without accents; what cannot be typed separates words.
fn fold(text: &str) -> String {
    let folded = fold_name(text);
    let bare = folded.nfd().filter(|c| canonical_combining_class(*c) == 0).nfc();
    bare.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Each character with `between` on both sides.
fn spaced(text: &str, between: char) -> String {
    let mut spaced = String::with_capacity(2 * text.len() + 1);
    spaced.push(between);
    for c in text.chars() {
        if !c.is_whitespace() {
            spaced.push(c);
        }
        spaced.push(between);
    }
    spaced
}

fn whole_phone(digits: &str) -> String {
    format!("{PHONE}{}{PHONE}", national(digits))
}

fn digits_of(phone: &str) -> String {
    phone.nfkc().filter(char::is_ascii_digit).collect()
}

/// The phone that a folded keyword is in whatever notation, if it can be one.
fn as_phone(folded: &str) -> Option<String> {
    let is_notation = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-()./".contains(c);
    let digits = digits_of(folded);
    (folded.chars().all(is_notation) && !digits.is_empty()).then(|| whole_phone(&digits))
}

/// The digits without the prefixes that a number is written with or without: China's, and the zero of a trunk call.
fn national(digits: &str) -> &str {
    let abroad = digits.strip_prefix("00").unwrap_or(digits);
    // A mobile number has eleven digits, a fixed one with its area code nine to eleven; none begins with 86 and has more.
    let national = abroad.strip_prefix("86").filter(|rest| rest.len() >= 9).unwrap_or(abroad);
    national.strip_prefix('0').unwrap_or(national)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASKED: Masking = Masking { email: true };

    fn finds(keyword: &str, (name, email, phone): (&str, &str, &str), masking: Masking) -> bool {
        let text = search_text(name, email, phone);
        let keyword = Keyword::parse(keyword, masking).expect("a keyword");
        keyword.words().iter().all(|word| word.iter().any(|needle| text.contains(needle)))
    }

    #[test]
    fn a_word_of_any_length_is_found_whatever_its_case_width_and_accents() {
        let record = ("张三丰 ＡＣＭＥ Café（上海）", "San.Feng@example.com", "");
        for keyword in [
            "张",
            "三丰",
            "张三丰",
            "acme",
            "CM",
            "e",
            "cafe",
            "CAFÉ",
            "(上海)",
            "feng@",
            "丰 acme",
            "acme 丰",
            "acme sAN.",
            "ＡＣＭＥ",
        ] {
            assert!(finds(keyword, record, Masking::default()), "{keyword}");
        }
        for keyword in ["丰张", "张丰", "丰acme", "acme café b", "%", "_", "三%", "海san", ")san", "\"", "*"]
        {
            assert!(!finds(keyword, record, Masking::default()), "{keyword}");
        }
        assert!(finds("100%", ("涨100%_\"", "", ""), Masking::default()));
        assert!(finds("\"", ("涨100%_\"", "", ""), Masking::default()));
    }

    #[test]
    fn a_phone_is_found_by_all_its_digits_or_the_last_four_and_by_no_others() {
        for phone in ["13800138000", "+86 138-0013-8000", "0086 138 0013 8000", "１３８００１３８０００"]
        {
            for keyword in
                ["13800138000", "138 0013 8000", "+86-138-0013-8000", "(86)13800138000", "8000", "张 8000"]
            {
                assert!(finds(keyword, ("张三", "", phone), Masking::default()), "{phone} by {keyword}");
            }
            for keyword in
                ["1380013800", "3800138000", "138", "000", "38000", "0013", "8000 138", "13800138000 李"]
            {
                assert!(!finds(keyword, ("张三", "", phone), Masking::default()), "{phone} by {keyword}");
            }
        }
        for phone in ["010-12345678", "+86 10 1234 5678", "+86 (0)10 12345678"] {
            assert!(finds("01012345678", ("张三", "", phone), Masking::default()), "{phone}");
        }
        assert!(finds("110", ("报警", "", "110"), Masking::default()));
        assert!(finds("415-555-0100", ("A", "", "4155550100"), Masking::default()));
    }

    #[test]
    fn the_parts_of_a_needle_are_its_pairs() {
        assert_eq!(search_parts(" 张 三 丰 "), ["张 三", "三 丰"]);
        assert_eq!(search_parts("\n\ta\t@\t\n"), ["a\t@"]);
        for whole in [" 张 ", "8000#", "#13800138000#"] {
            assert_eq!(search_parts(whole), [whole]);
        }
    }

    #[test]
    fn a_masked_address_is_found_whole_only() {
        let record = ("张三", "San@example.com", "");
        assert!(finds("san@EXAMPLE.com", record, MASKED));
        for keyword in ["s", "san@example.co", "an@example.com", "@"] {
            assert!(!finds(keyword, record, MASKED), "{keyword}");
            assert!(finds(keyword, record, Masking::default()), "{keyword}");
        }
    }

    #[test]
    fn what_is_no_keyword_is_refused() {
        for text in ["", "  ", "\u{301}", "\0\u{7}", &"字".repeat(101)] {
            assert_eq!(Keyword::parse(text, MASKED), None, "{text:?}");
        }
        assert!(Keyword::parse(&"字".repeat(100), MASKED).is_some());
    }

    proptest! {
        /// What a plain search in the folded texts finds, and nothing else.
        #[test]
        fn words_are_found_where_they_stand(
            name in "[ab张é \\t\"#%8]{0,8}",
            email in "[ab@.8]{0,6}",
            words in prop::collection::vec("[ab张é\"#%@.8]{1,3}", 1..3),
        ) {
            let keyword = words.join(" ");
            let (in_name, in_email) = (fold(&name), fold(&email));
            let expected = words.iter().map(|word| fold(word)).all(|word| {
                in_name.contains(&word) || in_email.contains(&word)
            });
            prop_assert_eq!(finds(&keyword, (&name, &email, ""), Masking::default()), expected);
        }

        /// Of a phone's digits, no other number finds it: not even part by part.
        #[test]
        fn a_phone_is_not_guessed_digit_by_digit(phone in "1[3-9][0-9]{9}", from in 0usize..11, length in 1usize..11) {
            let to = (from + length).min(11);
            prop_assume!(to - from < 11 && (from, to) != (7, 11));
            // Nor is the country's prefix.
            let part = &phone[from..to];
            prop_assume!(part != &phone[7..]);
            prop_assert!(!finds(part, ("张三", "", &phone), Masking::default()), "{} by {}", phone, part);
        }

        #[test]
        fn any_text_can_be_searched_for(keyword in any::<String>(), name in any::<String>()) {
            let _ = Keyword::parse(&keyword, MASKED);
            let text = search_text(&name, &keyword, &keyword);
            prop_assert!(!text.contains('\0'));
        }
    }
}
