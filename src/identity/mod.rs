//! Identity: a bearer token becomes a [`Principal`], and a principal is admitted to exactly one tenant (contract §5).
//!
//! [`Identity::authenticate`] asks the configured sources in a fixed order, and the first that knows the token's form
//! decides: service tokens, keys for JWTs, the platform; with none of them, the development mode that takes any token.
//! [`Identity::admit`] then holds the principal's tenants against the tenant the request names, and
//! [`Identity::admit_unbound`] those that no identity binds against the tenant's members.
//!
//! Where the gateway signs requests, [`Identity::gateway`] proves that it did; that names no caller.
//!
//! What this room keeps:
//!
//! - A JWT that a key here is responsible for is settled here. Its failure is final: no other source is asked.
//! - Claims are read after the signature is proved. The one exception, the issuer, only chooses who is asked.
//! - The platform's silence is never a yes and never a no: an earlier yes may serve for a while, else
//!   [`Denied::Unavailable`].
//! - A key proves nothing once it has left its set (`jwks`), and no request waits for a set while it has a usable one.
//! - No token, claim or header value reaches a log line, an error or a `Debug` output; only a principal's own fields
//!   print.
//!
//! Nothing here knows of HTTP responses or of files; `http` maps [`Denied`] to statuses.

mod bearer;
mod binding;
mod chain;
mod claims;
mod error;
mod flight;
mod gateway;
mod jwks;
mod jwt;
mod key;
mod mint;
mod monotonic;
mod platform;
mod principal;
mod proven;
mod service_token;

#[cfg(test)]
mod tests;

pub use bearer::Credentials;
pub use binding::Admission;
pub use chain::Identity;
pub use error::{Denied, IdentityError};
pub use gateway::{BadSignature, Gateway, Signature, SignedRequest};
pub use mint::{DevToken, MintError, mint};
pub use principal::{Binding, Principal, Role, SourceKind, UnknownRole, user_name};
