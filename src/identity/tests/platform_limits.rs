//! How seldom the platform is asked.

use futures_util::future::join_all;

use super::upstream::{Act, Upstream, respond, respond_with, yes_to_all};
use super::*;

fn auth_at(upstream: &Upstream) -> config::Auth {
    config::Auth { platform_url: Some(upstream.url.clone()), ..auth() }
}

fn is_outage(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Denied::Unavailable { .. }))
}

fn is_limited(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Denied::RateLimited { .. }))
}

/// A slow version of `yes_to_all`.
fn slow_yes(request: &str) -> Act {
    match yes_to_all(request) {
        Act::Send(bytes) => Act::SendAfter(Duration::from_millis(100), bytes),
        act => act,
    }
}

#[tokio::test]
async fn a_yes_is_kept_a_minute_and_a_no_ten_seconds() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    for (pass, hits) in [(0, 1), (59, 1), (1, 2), (59, 2), (1, 3)] {
        uptime.pass(pass);
        assert_eq!(user(ask(&identity, "u").await), "u");
        assert_eq!(upstream.hits(), hits, "the yes");
    }
    upstream.now(|_| respond(401, ""));
    for (pass, hits) in [(0, 4), (9, 4), (1, 5), (9, 5)] {
        uptime.pass(pass);
        assert_eq!(ask(&identity, "v").await, Err(Denied::Invalid));
        assert_eq!(upstream.hits(), hits, "the no");
    }
}

#[tokio::test]
async fn a_revoked_token_dies_within_a_minute_and_stays_dead_in_an_outage() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    assert_eq!(user(ask(&identity, "u").await), "u");

    upstream.now(|_| respond(401, ""));
    uptime.pass(60);
    assert_eq!(ask(&identity, "u").await, Err(Denied::Invalid));
    upstream.now(|_| Act::Close);
    uptime.pass(11);

    let outcome = ask(&identity, "u").await;
    assert!(is_outage(&outcome), "the yes before the no must not come back: {outcome:?}");
}

#[tokio::test]
async fn a_thousand_requests_with_one_token_ask_once() {
    let upstream = Upstream::start(slow_yes).await;
    let identity = identity(&auth_at(&upstream));
    let outcomes = join_all((0..1000).map(|_| ask(&identity, "u"))).await;
    assert!(outcomes.into_iter().all(|outcome| user(outcome) == "u"));
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn three_hundred_requests_in_a_minute_ask_a_handful_of_times_whatever_the_platform_does() {
    let acts: [fn(&str) -> Act; 5] = [
        yes_to_all,
        |_| respond_with(429, "Retry-After: 20\r\n", ""),
        |_| respond(500, ""),
        |_| respond(200, "nonsense"),
        |_| Act::Close,
    ];
    for (index, act) in acts.into_iter().enumerate() {
        let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
        let identity = uptime.identity(&auth_at(&upstream));
        assert_eq!(user(ask(&identity, "u").await), "u");
        upstream.now(act);
        uptime.pass(30);
        for second in 0..60 {
            for _ in 0..5 {
                assert_eq!(user(ask(&identity, "u").await), "u", "{index}: second {second}");
            }
            uptime.pass(1);
        }
        let asked = upstream.hits();
        assert!((2..=15).contains(&asked), "{index}: {asked} questions");
    }
}

#[tokio::test]
async fn a_busy_platform_does_not_prolong_a_yes_beyond_ten_minutes() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    assert!(ask(&identity, "u").await.is_ok());
    upstream.now(|_| respond_with(429, "Retry-After: 300\r\n", ""));
    uptime.pass(599);
    assert!(ask(&identity, "u").await.is_ok());
    uptime.pass(1);
    let outcome = ask(&identity, "u").await;
    assert!(is_limited(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_refresh_asks_once_too() {
    let (upstream, uptime) = (Upstream::start(slow_yes).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    assert!(ask(&identity, "u").await.is_ok());
    uptime.pass(60);
    let outcomes = join_all((0..64).map(|_| ask(&identity, "u"))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(upstream.hits(), 2);
}

#[tokio::test]
async fn the_question_outlives_the_caller_that_asked_it() {
    let upstream = Upstream::start(slow_yes).await;
    let identity = Arc::new(identity(&auth_at(&upstream)));
    let asker = Arc::clone(&identity);
    let first = tokio::spawn(async move { ask(&asker, "u").await });
    while upstream.requests().is_empty() {
        tokio::task::yield_now().await;
    }

    first.abort();

    assert_eq!(user(ask(&identity, "u").await), "u");
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn nobody_gets_another_callers_answer() {
    let upstream = Upstream::start(yes_to_all).await;
    let identity = identity(&auth_at(&upstream));
    for _ in 0..3 {
        let callers = (0..200).map(|number| {
            let identity = &identity;
            async move {
                let name = format!("user-{number}");
                assert_eq!(user(ask(identity, &name).await), name);
            }
        });
        join_all(callers).await;
    }
    assert_eq!(upstream.hits(), 200);
}

#[tokio::test]
async fn no_more_answers_are_kept_than_configured() {
    let upstream = Upstream::start(yes_to_all).await;
    let identity = identity(&config::Auth { platform_cache: 8, ..auth_at(&upstream) });
    for _ in 0..2 {
        for number in 0..300 {
            assert!(ask(&identity, &format!("user-{number}")).await.is_ok());
        }
    }
    // moka drops what is over the bound in batches of at most 64.
    assert!(upstream.hits() >= 600 - 8 - 64, "{}", upstream.hits());
}

#[tokio::test]
async fn at_most_64_questions_are_under_way() {
    let upstream = Upstream::start(slow_yes).await;
    let identity = identity(&auth_at(&upstream));
    let outcomes = join_all((0..200).map(|number| {
        let identity = &identity;
        async move { ask(identity, &format!("user-{number}")).await }
    }))
    .await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(upstream.most_at_once(), 64);
}

#[tokio::test]
async fn waiting_for_a_seat_counts_against_the_deadline() {
    let upstream = Upstream::start(slow_yes).await;
    let auth = config::Auth { platform_timeout: Duration::from_millis(190), ..auth_at(&upstream) };
    let identity = identity(&auth);
    // Seated in turns of 64 and answered after 100 ms each, only the first turn is in time.
    let outcomes = join_all((0..200).map(|number| {
        let identity = &identity;
        async move { ask(identity, &format!("user-{number}")).await }
    }))
    .await;
    let in_time = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let outages = outcomes.iter().filter(|outcome| is_outage(outcome)).count();
    assert!(in_time <= 64 && outages == 200 - in_time, "{in_time} in time, {outages} outages");
}

#[tokio::test]
async fn five_failures_in_a_row_open_the_breaker_for_five_seconds() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    assert_eq!(user(ask(&identity, "known").await), "known");
    uptime.pass(60);
    upstream.now(|_| Act::Close);

    for number in 0..5 {
        assert!(is_outage(&ask(&identity, &format!("t{number}")).await));
    }
    assert_eq!(upstream.hits(), 6);
    for number in 0..20 {
        let outcome = ask(&identity, &format!("u{number}")).await;
        assert_eq!(outcome, Err(Denied::Unavailable { retry_after: Duration::from_secs(5) }));
    }
    assert_eq!(user(ask(&identity, "known").await), "known", "a stale yes");
    assert_eq!(upstream.hits(), 6, "the open breaker lets nothing through");

    uptime.pass(5);
    assert!(is_outage(&ask(&identity, "probe").await));
    assert_eq!(upstream.hits(), 7);
    let outcome = ask(&identity, "after-the-probe").await;
    assert!(is_outage(&outcome), "{outcome:?}");
    assert_eq!(upstream.hits(), 7, "a failed probe opens it again");

    uptime.pass(5);
    upstream.now(yes_to_all);
    assert_eq!(user(ask(&identity, "back").await), "back");
    assert_eq!(user(ask(&identity, "again").await), "again");
}

#[tokio::test]
async fn a_flapping_platform_is_asked_on_and_never_answers_401() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    let counter = AtomicU64::new(0);
    upstream.now(move |request| match counter.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => yes_to_all(request),
        1 => Act::Close,
        _ => respond(500, ""),
    });
    for number in 0..30 {
        let outcome = ask(&identity, &format!("t{number}")).await;
        assert!(outcome.is_ok() || is_outage(&outcome), "{outcome:?}");
    }
    assert_eq!(upstream.hits(), 30);
}

#[tokio::test]
async fn unknown_tokens_have_a_budget_that_known_callers_do_not_touch() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let auth = config::Auth { platform_unknown_per_minute: 3, ..auth_at(&upstream) };
    let identity = uptime.identity(&auth);
    assert!(ask(&identity, "known").await.is_ok());
    upstream.now(|request| if request.contains("guess") { respond(401, "") } else { yes_to_all(request) });

    for number in 0..2 {
        assert_eq!(ask(&identity, &format!("guess{number}")).await, Err(Denied::Invalid));
    }
    for number in 2..50 {
        let outcome = ask(&identity, &format!("guess{number}")).await;
        assert_eq!(outcome, Err(Denied::RateLimited { retry_after: Duration::from_secs(20) }));
    }
    assert_eq!(upstream.hits(), 3);

    for minute in 1..=5 {
        uptime.pass(60);
        for number in 0..3 {
            assert_eq!(
                ask(&identity, &format!("guess{number}")).await,
                Err(Denied::Invalid),
                "a no pays again"
            );
        }
        assert!(is_limited(&ask(&identity, "guess9").await));
        assert_eq!(user(ask(&identity, "known").await), "known", "minute {minute}");
    }
}

#[tokio::test]
async fn an_open_breaker_does_not_use_up_the_budget() {
    let (upstream, uptime) = (Upstream::always(Act::Close).await, Uptime::default());
    let identity = uptime.identity(&config::Auth { platform_unknown_per_minute: 6, ..auth_at(&upstream) });
    for number in 0..50 {
        assert!(is_outage(&ask(&identity, &format!("t{number}")).await));
    }
    uptime.pass(5);
    upstream.now(yes_to_all);
    assert!(ask(&identity, "u").await.is_ok());
}

#[tokio::test]
async fn the_wall_clock_does_not_prolong_a_yes() {
    let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
    let seconds = Arc::clone(&uptime.0);
    let wall = Arc::new(ManualClock::at(Timestamp::from_millis(NOW * 1000)));
    let monotonic = Monotonic::of(move || Duration::from_secs(seconds.load(Ordering::Relaxed)));
    let identity = Identity::with_monotonic(&auth_at(&upstream), &tenants(), wall, monotonic).expect("valid");
    assert!(ask(&identity, "u").await.is_ok());
    upstream.now(|_| respond(401, ""));

    uptime.pass(60);

    assert_eq!(ask(&identity, "u").await, Err(Denied::Invalid), "the wall clock stands still");
}
