//! The known name most like an unknown one: what the operator probably meant.

use super::keys::{KEYS, PREFIX, known_variables};
use crate::domain::{nearest_by, similarity};

/// The known variable most like `name`.
pub(super) fn variable(name: &str) -> String {
    // Wrong prefixes and single underscores are the usual mistakes: CRM_PORT, CRM_STORAGE_QUEUE.
    let bare = |name: &str| {
        name.strip_prefix(PREFIX).unwrap_or(name).replace("__", "_").trim_matches('_').to_uppercase()
    };
    let written = bare(name);
    nearest_by(known_variables(), |known| similarity(&written, &bare(known))).unwrap_or_default()
}

/// The known key most like `path`.
pub(super) fn key(path: &str) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let paths = KEYS.iter().map(|key| key.path.to_owned());
    let likeness = |known: &String| {
        let whole = similarity(path, known);
        // The right key in a wrong section, or in none.
        whole.max(similarity(&last(path), &last(known)))
    };
    nearest_by(paths, likeness).unwrap_or_default()
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
