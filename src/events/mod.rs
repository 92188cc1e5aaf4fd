//! Events that go out (contract §10): from the outbox in each tenant's file to the bus, at least once, in order per record.
//!
//! - `envelope`: the form in which others get an event.
//! - `bus`: what takes events; `http_bus` is the platform's, `sink` a file or standard output.
//! - [`relay`](Relay): which tenant's turn it is, and whether the bus can be reached at all; `turn` is one tenant's turn,
//!   `agenda` who comes when, `health` what is known of the bus.
//! - `poller`: events of other systems, fetched from a bus that does not send them.
//!
//! Requests never wait for any of it: a write's event is in its transaction, and the writer only notes that there is one.

mod agenda;
mod bus;
mod envelope;
mod health;
mod http_bus;
mod poller;
mod relay;
mod sink;
mod turn;

pub use self::bus::{Bus, Delivery, open};
pub use self::envelope::Outgoing;
pub use self::poller::Poller;
pub use self::relay::{Relay, Tally};
pub use self::turn::Desk;
