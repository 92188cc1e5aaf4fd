//! Steps without a file or a socket.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use crm_cell::config::{Config, Sources};
use crm_cell::domain::{
    Checker, Cursor, CursorValue, Customer, CustomerFields, CustomerPatch, ManualClock, Masking, NewCustomer,
    TenantId, Timestamp, fold_name,
};
use crm_cell::identity::{Credentials, DevToken, Identity, mint};
use crm_cell::tenancy::file_name;
use futures_util::FutureExt as _;

use crate::{Kernel, Run};

pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { name: "jwt_accepted", new: jwt_accepted },
    Kernel { name: "jwt_expired", new: jwt_expired },
    Kernel { name: "tenant_file", new: tenant_file },
    Kernel { name: "new_customer", new: new_customer },
    Kernel { name: "customer_patch", new: customer_patch },
    Kernel { name: "cursor", new: cursor },
    Kernel { name: "name_key", new: name_key },
];

const MASKING: Masking = Masking { email: false };
const CUSTOMER: &str = r#"{"name": "华为技术有限公司", "contactPhone": "13800135678", "contactEmail": "li@example.com",
    "lifecycle": "prospect", "level": "A", "source": "展会", "industry": "通信", "region": "华南",
    "address": "深圳市龙岗区", "website": "https://example.com", "remark": "年度重点客户"}"#;

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_334_400_000)
}

/// An identity with an HS256 key, and a header with a token that it signed this long before `now`.
fn bearer(age: Duration) -> anyhow::Result<(Identity, String)> {
    let secret = ("CRM_JWT_SECRET".to_owned(), "a secret of the bench, longer than 32 bytes".to_owned());
    let directory = tempfile::tempdir()?;
    let config = Config::load(&Sources::new(BTreeMap::from([secret]), directory.path()))?;
    let clock = Arc::new(ManualClock::at(now()));
    let identity = Identity::new(&config.auth, &config.tenants, clock)?;
    let tenant: TenantId = "acme".parse()?;
    let ttl = Duration::from_secs(3600);
    let wanted = DevToken { user: "u1001", tenant: Some(&tenant), role: None, own_rows_only: false, ttl };
    let minted_at = Timestamp::from_millis(now().millis() - i64::try_from(age.as_millis())?);
    Ok((identity, format!("Bearer {}", mint(&wanted, &config.auth, minted_at)?)))
}

fn jwt(age: Duration, is_accepted: bool) -> anyhow::Result<Run> {
    let (identity, header) = bearer(age)?;
    Ok(Box::new(move |_| {
        let credentials = Credentials { authorization: Some(header.as_bytes()), user_id: None };
        let answer = identity.authenticate(&credentials).now_or_never().context("keys are at hand")?;
        ensure!(answer.is_ok() == is_accepted, "{answer:?}");
        Ok(())
    }))
}

fn jwt_accepted() -> anyhow::Result<Run> {
    jwt(Duration::ZERO, true)
}

/// Proved like any other, and then refused: an answer that nobody may remember.
fn jwt_expired() -> anyhow::Result<Run> {
    jwt(Duration::from_secs(7200), false)
}

fn tenant_file() -> anyhow::Result<Run> {
    Ok(Box::new(|_| {
        let tenant: TenantId = black_box("Acme-Corporation.2026").parse()?;
        black_box(file_name(&tenant));
        Ok(())
    }))
}

fn customer() -> anyhow::Result<Customer> {
    let fields: CustomerFields = serde_json::from_str(black_box(CUSTOMER))?;
    let new =
        NewCustomer::check(fields, "u1001", MASKING).map_err(|invalid| anyhow::anyhow!("{invalid:?}"))?;
    Ok(new.into_customer("0198c0de-0000-7000-8000-000000000000".to_owned(), now()))
}

fn new_customer() -> anyhow::Result<Run> {
    Ok(Box::new(|_| {
        black_box(customer()?);
        Ok(())
    }))
}

fn customer_patch() -> anyhow::Result<Run> {
    let before = customer()?;
    Ok(Box::new(move |_| {
        let text = black_box(r#"{"lifecycle": "customer", "level": "B", "remark": null, "region": "华东"}"#);
        let fields: CustomerFields = serde_json::from_str(text)?;
        let refused = |invalid| anyhow::anyhow!("{invalid:?}");
        let patch = CustomerPatch::check(fields, Checker::for_patch(false)).map_err(refused)?;
        let mut after = before.clone();
        patch.apply(&mut after, MASKING).map_err(refused)?;
        ensure!(after != before, "nothing changed");
        Ok(())
    }))
}

fn cursor() -> anyhow::Result<Run> {
    let cursor = Cursor {
        list: 0x1234_5678_9abc_def0,
        keys: vec![CursorValue::Integer(1_795_334_400_000), CursorValue::Text("华为技术有限公司".to_owned())],
        id: "0198c0de-0000-7000-8000-000000000000".to_owned(),
    };
    Ok(Box::new(move |_| {
        let text = black_box(&cursor).encode();
        ensure!(Cursor::decode(&text, cursor.list, 2)? == cursor, "another cursor");
        Ok(())
    }))
}

fn name_key() -> anyhow::Result<Run> {
    Ok(Box::new(|_| {
        for name in black_box(["Straße & Söhne GmbH", "ＡＢＣ　商事", "华为技术有限公司"]) {
            black_box(fold_name(name));
        }
        Ok(())
    }))
}
