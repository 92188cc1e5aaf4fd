//! A small addition to Salvo's router.

use salvo::routing::{Filter as _, filters};
use salvo::{Handler, Router};

/// Routes that read.
pub(super) trait RouterExt {
    /// Answers GET, and HEAD likewise: Salvo drops the body of an answer to HEAD.
    fn read<H: Handler>(self, goal: H) -> Self;
}

impl RouterExt for Router {
    fn read<H: Handler>(self, goal: H) -> Self {
        self.push(Self::with_filter(filters::get().or(filters::head())).goal(goal))
    }
}
