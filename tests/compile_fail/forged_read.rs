//! Reading without a tenant, or past the gate.

use crm_cell::tenancy::Read;

fn take_apart(read: &mut Read) {
    let _connection = read.connection();
}

fn main() {
    let _made = Read::new;
    let _written = Read { writable: true };
}
