-- A tenant's file: whose it is, the cross-cutting tables of every write, and customers.
-- Moments are integers: milliseconds since 1970-01-01T00:00:00Z. Every migration ends by naming its schema version.

pragma application_id = 1129467203; -- 'CRMC': the file is a tenant of this cell

-- One row: whose file this is. Nothing is ever served from a file whose tenant_id is not the one asked for.
create table meta (
    id integer primary key check (id = 1),
    tenant_id text not null,
    created_at integer not null,
    min_reader_version integer not null default 1 -- the oldest schema version whose binary can still serve this file
) strict;

-- Who changed what: one row a change, in commit order. Source of the audit log.
create table journal (
    seq integer primary key,
    at integer not null,
    actor text not null,
    action text not null,      -- customer.create
    resource text not null,    -- customer
    record_id text not null,
    version integer not null,
    request_id text,
    trace_id text,
    changes text not null      -- {"field": [old, new]}; personal data masked
) strict;
create index journal_by_record on journal (record_id, seq);

-- Events that other systems are told of; written in the transaction of the change.
create table outbox (
    seq integer primary key,
    event_id text not null,
    type text not null,        -- crm.customer.created
    record_id text not null,
    trace_id text,
    at integer not null,
    data text not null,        -- JSON; personal data masked
    state text not null default 'pending' check (state in ('pending', 'delivered', 'unpublished'))
) strict;
create index outbox_pending on outbox (seq) where state = 'pending';

-- Answers of acknowledged writes, kept 7 days for their retries. Rows are in order of age by rowid.
create table idempotency (
    seq integer primary key,
    key text not null unique,  -- method, path, request id, user
    fingerprint text not null, -- of the request's body
    response text not null,    -- JSON
    at integer not null
) strict;

create table customers (
    seq integer primary key,
    id text not null unique,
    name text not null,
    name_key text not null,    -- the name folded (NFKC, width, case): what must be unique
    contact_phone text not null default '',
    contact_email text not null default '',
    status integer not null default 1 check (status in (1, 2)),
    lifecycle text check (lifecycle in ('lead', 'prospect', 'customer', 'churned')),
    level text,
    source text,
    industry text,
    region text,
    address text,
    website text,
    remark text,
    owner_id text not null,
    next_follow_up_at integer,
    last_follow_up_at integer,
    version integer not null default 1,
    created_at integer not null,
    updated_at integer not null,
    deleted_at integer
) strict;
-- Lists show live rows only; each documented sort key has the index that serves it without sorting.
create unique index customers_name_key on customers (name_key) where deleted_at is null;
create index customers_by_created on customers (created_at, id) where deleted_at is null;
create index customers_by_updated on customers (updated_at, id) where deleted_at is null;
create index customers_by_name on customers (name, id) where deleted_at is null;
create index customers_by_next_follow_up on customers (ifnull(next_follow_up_at, 0), id) where deleted_at is null;
create index customers_by_last_follow_up on customers (ifnull(last_follow_up_at, 0), id) where deleted_at is null;
create index customers_by_owner on customers (owner_id, created_at, id) where deleted_at is null;

pragma user_version = 1;
