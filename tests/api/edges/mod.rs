//! What holds for every request and every answer, whatever the resource (contract §2, §3, §12).

mod bodies;
mod errors;
mod headers;
mod order;
mod paths;
mod public;
mod request_ids;
