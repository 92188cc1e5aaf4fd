//! The known name most like an unknown one: what the operator probably meant.

use super::keys::{KEYS, PREFIX, known_variables};

/// The known variable most like `name`.
pub(super) fn variable(name: &str) -> String {
    // Wrong prefixes and single underscores are the usual mistakes: CRM_PORT, CRM_STORAGE_QUEUE.
    let bare = |name: &str| {
        name.strip_prefix(PREFIX)
            .unwrap_or(name)
            .replace("__", "_")
            .trim_matches('_')
            .to_uppercase()
    };
    let written = bare(name);
    most_like(known_variables(), |known| similarity(&written, &bare(known)))
}

/// The known key most like `path`.
pub(super) fn key(path: &str) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let paths = KEYS.iter().map(|key| key.path.to_owned());
    most_like(paths, |known| {
        let whole = similarity(path, known);
        // The right key in a wrong section, or in none.
        whole.max(similarity(&last(path), &last(known)))
    })
}

/// The first of those that are most like.
fn most_like(known: impl Iterator<Item = String>, likeness: impl Fn(&str) -> f64) -> String {
    let mut best = (-1.0, String::new());
    for candidate in known {
        let score = likeness(&candidate);
        if score > best.0 {
            best = (score, candidate);
        }
    }
    best.1
}

/// Few edits count, and so does a common beginning: CRM_HOST_FILE means CRM_HOST.
fn similarity(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b) + strsim::jaro_winkler(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        for (written, meant) in [
            ("CRM_PORT", "PORT"),
            ("CRM_HOTS", "CRM_HOST"),
            ("CRM_DEFAULT_TENANT_ID", "DEFAULT_TENANT_ID"),
            ("CRM_STORAGE_QUEUE", "CRM__STORAGE__QUEUE"),
            ("CRM__STORAGE__TENANT_IDEL", "CRM__STORAGE__TENANT_IDLE"),
            ("CRM__server__port", "CRM__SERVER__PORT"),
            ("CRM_HOST_FILE", "CRM_HOST"),
            ("CRM_LOG", "CRM__LOG__FILTER"),
            ("CRM_MAX_CONNECTIONS", "CRM__SERVER__MAX_CONNECTIONS"),
            ("CRM_SERVICE_TOKEN", "CRM_SERVICE_TOKENS"),
            ("CRM_JWT_SECRET_FLIE", "CRM_JWT_SECRET_FILE"),
        ] {
            assert_eq!(variable(written), meant, "{written}");
        }
        for (written, meant) in [
            ("server.prot", "server.port"),
            ("sever.port", "server.port"),
            ("port", "server.port"),
            ("storage.host", "server.host"),
            ("log.fromat", "log.format"),
            ("logs", "log.filter"),
        ] {
            assert_eq!(key(written), meant, "{written}");
        }
    }
}
