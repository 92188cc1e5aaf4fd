//! Callers whose role an operation asks for.

use salvo::extract::Metadata;
use salvo::http::{Request, Response};
use salvo::{Depot, Extractible, FlowCtrl, Handler, Writer as _, async_trait};
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

/// The hoop of what only services and administrators may do: before anything of the request's body is read.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct ReviewersOnly;

#[async_trait]
impl Handler for ReviewersOnly {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        match depot.get_typed::<Admitted>().map(|admitted| admitted.principal.role) {
            Ok(Role::Admin | Role::Service) => _ = ctrl.call_next(request, depot, response).await,
            _ => {
                let error = ApiError::new(Code::Forbidden, Message::ReviewersOnly);
                error.write(request, depot, response).await;
                ctrl.skip_rest();
            }
        }
    }
}

impl EndpointArgRegister for Manager {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        openapi::errors(operation, &[Code::Forbidden]);
    }
}
