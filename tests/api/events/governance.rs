//! The cell registers with the platform's governance, and leaves.

use std::sync::{Arc, Mutex};

use salvo::conn::tcp::TcpAcceptor;
use salvo::http::StatusCode;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Server, async_trait};
use tokio::net::TcpListener;

use crate::support::{Setup, eventually};

#[derive(Clone, Default)]
struct Governance {
    calls: Arc<Mutex<Vec<String>>>,
    fails: Arc<Mutex<u32>>,
}

#[async_trait]
impl Handler for Governance {
    async fn handle(&self, request: &mut Request, _: &mut Depot, response: &mut Response, _: &mut FlowCtrl) {
        let body = request.payload().await.map(|body| String::from_utf8_lossy(body).into_owned());
        let call = format!("{} {} {}", request.method(), request.uri().path(), body.unwrap_or_default());
        self.calls.lock().expect("not poisoned").push(call.trim().to_owned());
        let mut fails = self.fails.lock().expect("not poisoned");
        if *fails > 0 {
            *fails -= 1;
            response.status_code(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

#[tokio::test]
async fn it_registers_when_it_starts_tries_until_it_is_heard_and_leaves_when_it_drains() {
    let governance = Governance::default();
    *governance.fails.lock().expect("not poisoned") = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/base", listener.local_addr().expect("an address"));
    let router = Router::with_path("{**rest}").goal(governance.clone());
    tokio::spawn(Server::new(TcpAcceptor::try_from(listener).expect("a listener")).serve(router));
    let calls = || governance.calls.lock().expect("not poisoned").clone();

    let app = Setup::default()
        .with("GOVERNANCE_URL", &url)
        .with("CRM_BASE_URL", "http://crm-cell:8001/")
        .with("CRM__GOVERNANCE__REGISTER_EVERY", "100ms")
        .start()
        .await;

    // Once in vain; and again and again, since the governance forgets.
    eventually("it is heard", async || calls().len() >= 4).await;
    let register = r#"POST /base/api/governance/register {"base_url":"http://crm-cell:8001","cell":"crm"}"#;
    assert_eq!(calls()[..4], [register; 4]);
    app.stop().await;
    assert_eq!(calls().last().map(String::as_str), Some("DELETE /base/api/governance/register/crm"));
}
