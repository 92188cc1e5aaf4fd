//! Writing without a tenant, or past the gate.

use crm_cell::tenancy::{Read, Write};

fn take_apart(tx: Write) -> Read {
    tx.read
}

fn main() {
    let _made = Write::new;
}
