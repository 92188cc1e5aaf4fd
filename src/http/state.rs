//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use salvo::Depot;

use super::bytes::BodyRoom;
use super::error::{ApiError, ApiResult};
use super::recent::Recent;
use crate::config;
use crate::domain::{Clock, IdSource, Masking, ReceivedKind};
use crate::events::Tally;
use crate::identity::Identity;
use crate::telemetry::Metrics;
use crate::tenancy::Tenants;

/// What all requests share; built once.
#[derive(Debug)]
pub struct State {
    /// How the resources behave where clients differ.
    pub api: config::Api,
    /// Send bodies with a length instead of chunked.
    pub content_length: bool,
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// Who a caller is.
    pub identity: Identity,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<IdSource>,
    /// Types of received events that have an effect.
    pub subscribed: Vec<ReceivedKind>,
    /// What has been done with events.
    pub tally: Arc<Tally>,
    /// Room for what is being received.
    pub body_room: BodyRoom,
    /// What is counted.
    pub metrics: Metrics,
    /// The last requests.
    pub recent: Recent,
    /// Whether the cell takes new work: off while it drains.
    pub ready: Readiness,
}

impl State {
    /// The state that the outermost hoop left.
    pub(super) fn of(depot: &Depot) -> ApiResult<&Arc<Self>> {
        depot.get_typed::<Arc<Self>>().map_err(|_| ApiError::internal())
    }

    pub(super) fn masking(&self) -> Masking {
        Masking { email: self.api.mask_email }
    }
}

/// Whether the cell takes new work.
#[derive(Debug, Default)]
pub struct Readiness {
    is_draining: AtomicBool,
    is_parting: AtomicBool,
}

impl Readiness {
    /// From now on, readiness probes are answered 503, and connections end with their next answer.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.part();
    }

    /// From now on, connections end with their next answer.
    pub fn part(&self) {
        self.is_parting.store(true, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.is_draining.load(Ordering::Acquire)
    }

    pub(super) fn is_parting(&self) -> bool {
        self.is_parting.load(Ordering::Acquire)
    }
}
