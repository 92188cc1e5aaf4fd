//! Nothing a caller sent reaches the log.

use std::io;
use std::sync::Mutex;

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::upstream::{Upstream, respond, yes_to_all};
use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_token_claim_or_header_is_logged_at_any_level() {
    assert_eq!(alone("logs::everything_is_logged", &[]).await, Ok(()));
}

#[tokio::test]
#[ignore = "run by the test above in a process of its own: subscribers of other tests' threads disturb it"]
async fn everything_is_logged() {
    let lines = Lines::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .init();
    let upstream = Upstream::start(yes_to_all).await;
    let identity = identity(&config::Auth { platform_url: Some(upstream.url.clone()), ..with_secret() });

    let canary = |more| hs256(&claims_with(more));
    for token in [
        canary(json!({"sub": "canary"})),
        canary(json!({"sub": "canary\n"})),
        canary(json!({"sub": "canary", "exp": "canary"})),
        canary(json!({"sub": "canary", "tid": "../canary"})),
        canary(json!({"sub": "canary", "role": {"canary": 1}})),
        hs256_text(r#"{"alg":"HS256","typ":"canary"}"#, "{}"),
        hs256_text(r#"{"alg":"HS256","kid":"canary"}"#, r#"{"canary":"#),
        "canary".to_owned(),
    ] {
        let outcome = ask_as(&identity, &token, Some("canary")).await;
        if let Err(denied) = outcome {
            assert!(!format!("{denied} {denied:?}").contains("canary"));
        }
        for part in token.split('.').filter(|part| !part.is_empty()) {
            assert!(!shown(&lines).contains(part), "{}", shown(&lines));
        }
    }
    for status in [200, 302, 500] {
        upstream.now(move |_| respond(status, r#"{"canary":"canary"}"#));
        let _ = ask(&identity, &format!("canary-{status}")).await;
    }

    let shown = shown(&lines);
    assert!(shown.contains("a JWT was refused") && shown.contains("the platform gave no answer"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

fn shown(lines: &Lines) -> String {
    String::from_utf8_lossy(&lines.0.lock().expect("not poisoned")).into_owned()
}
