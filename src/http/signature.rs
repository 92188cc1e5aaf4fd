//! The gate: requests come from the gateway, or not at all (contract §5).

use percent_encoding::percent_decode_str;
use salvo::http::{HeaderMap, ReqBody, Request, Response};
use salvo::{Depot, FlowCtrl, Handler, Writer as _, async_trait};

use super::bytes;
use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::payload::Payload;
use super::state::State;
use crate::identity::{BadSignature, Signature, SignedRequest};

/// The hoop of everything but the health checks, if signatures are asked for. It stands before identity: the signature
/// says nothing of the caller, whose token is checked all the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed;

#[async_trait]
impl Handler for Signed {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        match check(request, depot).await {
            Ok(()) => {
                ctrl.call_next(request, depot, response).await;
            }
            Err(error) => {
                error.write(request, depot, response).await;
                ctrl.skip_rest();
            }
        }
    }
}

async fn check(request: &mut Request, depot: &mut Depot) -> ApiResult<()> {
    let state = State::of(depot)?.clone();
    // Routes have this hoop only where there is a gateway: a misplaced one fails closed.
    let Some(gateway) = state.identity.gateway() else { return Err(ApiError::internal()) };
    let refuse = |BadSignature(reason)| {
        state.metrics.signature_failures.inc();
        tracing::warn!(target: "crm_cell::security", reason, "a request without the gateway's signature was refused");
        ApiError::new(Code::SignatureInvalid, Message::SignatureInvalid)
    };
    let time = one(request.headers(), "x-signature-time").map_err(refuse)?;
    let mac = one(request.headers(), "x-signature").map_err(refuse)?;
    let signature = Signature::read(mac, time, state.clock.now()).map_err(refuse)?;
    // One that is larger than any route takes is refused whoever sent it.
    let body = bytes::read(request, depot, Payload::LARGEST).await?;
    let headers = request.headers();
    let value = |name| one(headers, name).map(Option::unwrap_or_default).map_err(refuse);
    let signed = SignedRequest {
        method: request.method().as_str(),
        path: &percent_decode_str(request.uri().path()).collect::<Vec<u8>>(),
        body: &body,
        request_id: value("x-request-id")?,
        tenant_id: value("x-tenant-id")?,
        trace_id: value("x-trace-id")?,
    };
    gateway.verify(&signed, &signature).map_err(refuse)?;
    request.replace_body(ReqBody::Once(body.into()));
    Ok(())
}

/// The value of a header. Given twice, one of them would be signed and the other one read.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, BadSignature> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(BadSignature("a header given twice")),
        (value, None) => Ok(value.map(|value| value.as_bytes())),
    }
}
