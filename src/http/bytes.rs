//! The bytes of a request's body: bounded for each body, and for all that are held at once.

use std::sync::Arc;

use futures_util::StreamExt as _;
use salvo::Depot;
use salvo::http::Request;
use salvo::http::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, ApiResult, Code, overloaded};
use super::messages::Message;
use super::state::State;

/// In steps of this size a body takes of what there is for all of them.
const PAGE: usize = 64 << 10;
/// What all bodies may take together beyond the first page of each, which is there for everyone: the connections are bounded.
const PAGES: usize = (64 << 20) / PAGE;

/// Room for the large bodies of all requests.
#[derive(Debug)]
pub struct BodyRoom(Arc<Semaphore>);

impl Default for BodyRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGES)))
    }
}

/// The pages of a request's body, until it is answered.
struct Pages(OwnedSemaphorePermit);

/// The body, if it has at most `max_size` bytes, and there is room for it.
pub(super) async fn read(request: &mut Request, depot: &mut Depot, max_size: usize) -> ApiResult<Vec<u8>> {
    let too_large = || ApiError::new(Code::PayloadTooLarge, Message::TooLarge);
    let declared =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > max_size as u64) {
        return Err(too_large());
    }
    let room = State::of(depot)?.body_room.0.clone();
    // Whoever looked at the body before has taken them.
    let mut pages = depot.remove_typed::<Pages>().ok();
    let mut bytes = Vec::new();
    while let Some(frame) = request.body_mut().next().await {
        let frame = frame.map_err(|_| ApiError::bad_request(Message::BodyUnreadable))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > max_size {
            return Err(too_large());
        }
        bytes.extend_from_slice(data);
        let needed = bytes.len().saturating_sub(1) / PAGE;
        let missing = needed.saturating_sub(pages.as_ref().map_or(0, |Pages(held)| held.num_permits()));
        if missing > 0 {
            let missing = u32::try_from(missing).map_err(|_| too_large())?;
            let more = room.clone().try_acquire_many_owned(missing).map_err(|_| overloaded())?;
            match &mut pages {
                Some(Pages(held)) => held.merge(more),
                None => pages = Some(Pages(more)),
            }
        }
    }
    if let Some(pages) = pages {
        depot.insert_typed(pages);
    }
    Ok(bytes)
}
