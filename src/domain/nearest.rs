//! The known name most like an unknown one: what somebody probably meant.

/// The first of the `known` names that are most like `name`; empty if none is known.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    nearest_by(known, |known| similarity(name, known)).unwrap_or_default()
}

/// The first of the candidates with the greatest likeness.
pub fn nearest_by<T>(candidates: impl Iterator<Item = T>, likeness: impl Fn(&T) -> f64) -> Option<T> {
    let mut best = None;
    for candidate in candidates {
        let score = likeness(&candidate);
        if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Few edits count, and so does a common beginning.
#[must_use]
pub fn similarity(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b) + strsim::jaro_winkler(a, b)
}
