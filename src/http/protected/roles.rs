//! Callers whose role an operation asks for.

use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible};
use salvo_oapi::{Components, EndpointArgRegister, Operation};

use super::Admitted;
use crate::http::error::{ApiError, ApiResult, Code};
use crate::http::messages::Message;
use crate::http::openapi;
use crate::identity::Role;

/// A caller who is a manager or an administrator. Ask for it before anything that depends on the request's content.
#[derive(Debug)]
pub(in crate::http) struct Manager;

impl<'ex> Extractible<'ex> for Manager {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Manager");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(_request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        match depot.get_typed::<Admitted>().map(|admitted| admitted.principal.role) {
            Ok(Role::Admin | Role::Manager) => Ok(Self),
            _ => Err(ApiError::new(Code::Forbidden, Message::ManagersOnly)),
        }
    }
}

/// A caller who is a service or an administrator, and may see and decide on events. Ask for it before anything that depends
/// on the request's content.
#[derive(Debug)]
pub(in crate::http) struct Reviewer;

impl<'ex> Extractible<'ex> for Reviewer {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Reviewer");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(_request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        match depot.get_typed::<Admitted>().map(|admitted| admitted.principal.role) {
            Ok(Role::Admin | Role::Service) => Ok(Self),
            _ => Err(ApiError::new(Code::Forbidden, Message::ReviewersOnly)),
        }
    }
}

impl EndpointArgRegister for Reviewer {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        openapi::errors(operation, &[Code::Forbidden]);
    }
}

impl EndpointArgRegister for Manager {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        openapi::errors(operation, &[Code::Forbidden]);
    }
}
