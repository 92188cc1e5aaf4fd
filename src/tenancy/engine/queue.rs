//! Taking what waits.

use tokio::sync::mpsc;

/// Adds what waits in `queue` to `taken`, until that holds `most`, and lets the requests that are ready to run ask before it
/// ends. Nobody is waited for: where nothing else is ready this returns at once.
///
/// Without it a task that was woken by the first request runs before the others have asked: 4 to 7 point reads a statement
/// instead of 35, with 64 clients on 2 cores.
pub(super) async fn gather<T>(queue: &mut mpsc::Receiver<T>, taken: &mut Vec<T>, most: usize) {
    loop {
        let before = taken.len();
        tokio::task::yield_now().await;
        while taken.len() < most
            && let Ok(item) = queue.try_recv()
        {
            taken.push(item);
        }
        if taken.len() == before || taken.len() >= most {
            return;
        }
    }
}
