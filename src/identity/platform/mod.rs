//! The platform as an identity source: `GET {PLATFORM_AUTH_URL}/api/auth/me` with the caller's token.
//!
//! The platform is asked seldom and trusted narrowly:
//!
//! - An answer is kept by the token's digest: a yes for a minute, a no for seconds ([`inquiry`]).
//! - However many requests bring a token at once, it is asked once ([`super::flight`]).
//! - Tokens without a kept yes pay from a budget of their own, so that a flood of guesses does not use up the
//!   platform's allowance of known callers ([`budget`]).
//! - A platform that fails is left alone for a while ([`breaker`]); meanwhile a yes that is not too old serves on.
//! - Only 200 with an object that names a user is a yes, only 401 and 403 are a no; a 429 is passed on, everything else
//!   is an outage ([`client`]).

mod breaker;
mod budget;
mod client;
mod inquiry;

pub(super) use inquiry::Platform;
