//! Making a write out of a read.

use crm_cell::tenancy::{Read, Write};

fn promote(read: &mut Read) -> &mut Write {
    read.into()
}

fn main() {}
