//! What a request brings, and the bearer token in it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::Denied;

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The headers identity is decided by.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The raw value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `X-User-Id`; counts with a service token of role `service` and where no source is configured.
    pub user_id: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |given: bool| if given { "[redacted]" } else { "absent" };
        f.debug_struct("Credentials")
            .field("authorization", &said(self.authorization.is_some()))
            .field("user_id", &said(self.user_id.is_some()))
            .finish()
    }
}

/// SHA-256 of a token: what is compared and kept instead of the token.
pub(super) type Digest = [u8; 32];

/// The digest of a token.
pub(super) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of an `Authorization` header: visible ASCII, at most 8 KiB, after `Bearer` in any letter case.
pub(super) fn bearer_token(header: Option<&[u8]>) -> Result<&str, Denied> {
    let header = header.unwrap_or_default().trim_ascii();
    let end_of_scheme = header.iter().position(|&b| b == b' ').unwrap_or(header.len());
    let (scheme, rest) = header.split_at(end_of_scheme);
    let token = rest.trim_ascii_start();
    if scheme.is_empty() || (token.is_empty() && scheme.eq_ignore_ascii_case(b"bearer")) {
        return Err(Denied::Missing);
    }
    let fits = token.len() <= MAX_TOKEN_BYTES && token.iter().all(u8::is_ascii_graphic);
    if !scheme.eq_ignore_ascii_case(b"bearer") || !fits {
        return Err(Denied::Invalid);
    }
    str::from_utf8(token).map_err(|_| Denied::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_follows_bearer_in_any_letter_case() {
        for header in [
            "Bearer abc.d-e_f~+/=",
            "bearer abc.d-e_f~+/=",
            "BEARER   abc.d-e_f~+/=",
            " Bearer abc.d-e_f~+/= ",
        ] {
            assert_eq!(bearer_token(Some(header.as_bytes())), Ok("abc.d-e_f~+/="), "{header}");
        }
        let longest = "x".repeat(8192);
        assert_eq!(bearer_token(Some(format!("Bearer {longest}").as_bytes())), Ok(&*longest));
    }

    #[test]
    fn nothing_else_is_a_token() {
        for header in [None, Some(""), Some("  "), Some("Bearer"), Some("bearer   ")] {
            assert_eq!(bearer_token(header.map(str::as_bytes)), Err(Denied::Missing), "{header:?}");
        }
        let too_long = format!("Bearer {}", "x".repeat(8193));
        let megabyte = format!("Bearer {}", "x".repeat(1 << 20));
        for header in [
            "Basic abc",
            "Bearerabc",
            "Bearer\tabc",
            "Bearer a b",
            "Bearer a\tb",
            "Bearer a\0b",
            "Bearer a\x7f",
            "Bearer tökén",
            "abc",
            "Token Bearer abc",
            &too_long,
            &megabyte,
        ] {
            let shown = &header[..header.len().min(20)];
            assert_eq!(bearer_token(Some(header.as_bytes())), Err(Denied::Invalid), "{shown}");
        }
        assert_eq!(bearer_token(Some(b"Bearer \xff\xfe")), Err(Denied::Invalid));
    }

    #[test]
    fn debug_shows_no_header() {
        let credentials = Credentials { authorization: Some(b"Bearer canary"), user_id: Some("canary") };
        assert!(!format!("{credentials:?}").contains("canary"));
    }
}
