//! Text that spreadsheets would take for a formula.
//!
//! A cell that begins with one of a few characters is run, not shown, and may fetch and send what it likes. What is exported
//! gets an apostrophe in front, which spreadsheets do not show, and what is imported loses it again.

use std::borrow::Cow;

const GUARD: char = '\'';

/// Whether a spreadsheet would run it. With apostrophes in front too, so that taking the guard off gives back what it was
/// put on to.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches(GUARD).starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The text as a cell that is shown, not run.
#[must_use]
pub fn guard_formula(text: &str) -> Cow<'_, str> {
    if is_formula(text) { Cow::Owned(format!("{GUARD}{text}")) } else { Cow::Borrowed(text) }
}

/// The text that [`guard_formula`] made the cell of.
#[must_use]
pub fn unguard_formula(cell: &str) -> &str {
    match cell.strip_prefix(GUARD) {
        Some(text) if is_formula(text) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_run_is_guarded_and_nothing_else_is() {
        for formula in ["=1+1", "+86 138", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''=1"] {
            assert_eq!(guard_formula(formula), format!("'{formula}"));
        }
        for text in ["", "'", "'quoted'", "1-1", "华为", " =1", "a=b", "138****5678"] {
            assert_eq!(guard_formula(text), text);
            assert_eq!(unguard_formula(text), text);
        }
    }

    proptest! {
        #[test]
        fn the_guard_comes_off_again_and_nothing_guarded_runs(text in "['=+@\\-a\t中]{0,6}") {
            let cell = guard_formula(&text);
            prop_assert_eq!(unguard_formula(&cell), &text);
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
        }
    }
}
