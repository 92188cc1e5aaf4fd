//! Names compared as people compare them.

use unicode_normalization::UnicodeNormalization;

/// The form in which two spellings of a name are equal: NFKC (which also folds full-width letters) and full case folding,
/// as Unicode's `toNFKC_Casefold` (The Unicode Standard, §3.13) without the removal of ignorable characters.
#[must_use]
pub fn fold_name(name: &str) -> String {
    caseless::default_case_fold_str(&name.nfkc().collect::<String>()).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_case_and_composition_do_not_distinguish_names() {
        for (a, b) in [
            ("ACME", "acme"),
            ("ＡＣＭＥ（上海）", "acme(上海)"),
            ("Cafe\u{301}", "CAFÉ"),
            ("Straße", "STRASSE"),
        ] {
            assert_eq!(fold_name(a), fold_name(b), "{a} {b}");
        }
        assert_ne!(fold_name("华为"), fold_name("华 为"));
    }
}
