//! The bound on what handlers hand over: a unit of work.

use crate::tenancy::StoreError;

/// A unit of work: an async function of one handle.
///
/// The bound that lets handlers write `async move |tx| …` is a pair: `AsyncFnOnce` lets the compiler infer a closure
/// that is generic over the borrow, and this trait names its future, so that the future can be required to be `Send`.
/// This trait alone fails at every call ("implementation of `Unit` is not general enough") unless the caller spells
/// out the parameter's type; `AsyncFnOnce` alone cannot promise `Send`. Keep both.
pub trait Unit<'a, H: 'a, T>: FnOnce(&'a mut H) -> Self::Fut {
    /// The future that the unit returns.
    type Fut: Future<Output = Result<T, StoreError>> + Send + 'a;
}

impl<'a, H: 'a, T, F, Fut> Unit<'a, H, T> for F
where
    F: FnOnce(&'a mut H) -> Fut,
    Fut: Future<Output = Result<T, StoreError>> + Send + 'a,
{
    type Fut = Fut;
}
