//! A small addition to Salvo's router.

use salvo::http::{Method, Request};
use salvo::routing::{Filter, FilterInfo, PathState};
use salvo::{Handler, Router, async_trait};

/// Routes that read.
pub(super) trait RouterExt {
    /// Answers GET, and HEAD likewise: Salvo drops the body of an answer to HEAD.
    fn read<H: Handler>(self, goal: H) -> Self;
}

impl RouterExt for Router {
    fn read<H: Handler>(self, goal: H) -> Self {
        self.push(Self::with_filter(Reads).goal(goal))
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// GET or HEAD; documented as GET.
#[derive(Debug)]
struct Reads;

#[async_trait]
impl Filter for Reads {
    fn info(&self) -> FilterInfo {
        FilterInfo::Method(Method::GET)
    }

    fn collect_methods(&self, methods: &mut Vec<Method>) {
        methods.extend([Method::GET, Method::HEAD]);
    }

    /// Asked for each method when none matches, to find those that `Allow` names.
    async fn filter_for_method(
        &self,
        _request: &mut Request,
        _path: &mut PathState<'_>,
        method: &Method,
    ) -> Option<bool> {
        Some(reads(method))
    }

    async fn filter(&self, request: &mut Request, _path: &mut PathState<'_>) -> bool {
        reads(request.method())
    }
}
