-- Contacts, opportunities and follow-ups; what a cascade takes along; the trash.

alter table customers add column deleted_with text; -- the record whose deletion took this one along

-- Indexes on references hold deleted rows too: without them, removing a parent for good would scan its children.

create table contacts (
    seq integer primary key,
    id text not null unique,
    customer_id text not null references customers (id),
    name text not null,
    phone text not null default '',
    email text not null default '',
    is_primary integer not null default 0 check (is_primary in (0, 1)),
    title text,
    department text,
    role text,
    owner_id text not null,
    version integer not null default 1,
    created_at integer not null,
    updated_at integer not null,
    deleted_at integer,
    deleted_with text
) strict;
create unique index contacts_primary on contacts (customer_id) where is_primary = 1 and deleted_at is null;
create index contacts_by_created on contacts (created_at, id) where deleted_at is null;
create index contacts_by_updated on contacts (updated_at, id) where deleted_at is null;
create index contacts_by_name on contacts (name, id) where deleted_at is null;
create index contacts_by_customer on contacts (customer_id, created_at, id);
create index contacts_by_owner on contacts (owner_id, created_at, id) where deleted_at is null;

create table opportunities (
    seq integer primary key,
    id text not null unique,
    customer_id text not null references customers (id),
    title text not null,
    amount_cents integer not null default 0 check (amount_cents between 0 and 1000000000000000),
    currency text not null default 'CNY',
    stage integer not null default 1 check (stage between 1 and 6),
    -- Follows from the stage: kept for indexes and for reading the file with other tools.
    status integer not null generated always as (case stage when 5 then 2 when 6 then 3 else 1 end) stored,
    last_open_stage integer not null default 1 check (last_open_stage between 1 and 4),
    probability_pct integer not null check (probability_pct between 0 and 100),
    expected_close_date text,
    closed_at integer,
    lost_reason text,
    owner_id text not null,
    version integer not null default 1,
    created_at integer not null,
    updated_at integer not null,
    deleted_at integer,
    deleted_with text
) strict;
create index opportunities_by_created on opportunities (created_at, id) where deleted_at is null;
create index opportunities_by_updated on opportunities (updated_at, id) where deleted_at is null;
create index opportunities_by_amount on opportunities (amount_cents, id) where deleted_at is null;
create index opportunities_by_close_date on opportunities (ifnull(expected_close_date, ''), id) where deleted_at is null;
create index opportunities_by_customer on opportunities (customer_id, created_at, id);
create index opportunities_by_owner on opportunities (owner_id, created_at, id) where deleted_at is null;
create index opportunities_by_stage on opportunities (stage, created_at, id) where deleted_at is null;

create table follow_ups (
    seq integer primary key,
    id text not null unique,
    customer_id text references customers (id),
    opportunity_id text references opportunities (id),
    contact_id text references contacts (id),
    content text not null,
    follow_up_type text not null default 'call',
    occurred_at integer not null,
    next_follow_up_at integer,
    owner_id text not null,
    version integer not null default 1,
    created_at integer not null,
    updated_at integer not null,
    deleted_at integer,
    deleted_with text
) strict;
create index follow_ups_by_created on follow_ups (created_at, id) where deleted_at is null;
create index follow_ups_by_updated on follow_ups (updated_at, id) where deleted_at is null;
create index follow_ups_by_occurred on follow_ups (occurred_at, id) where deleted_at is null;
create index follow_ups_by_customer on follow_ups (customer_id, occurred_at, id);
create index follow_ups_by_next on follow_ups (customer_id, next_follow_up_at) where deleted_at is null and next_follow_up_at is not null;
create index follow_ups_by_opportunity on follow_ups (opportunity_id, occurred_at, id);
create index follow_ups_by_contact on follow_ups (contact_id, occurred_at, id);
create index follow_ups_by_owner on follow_ups (owner_id, created_at, id) where deleted_at is null;

create index customers_deleted on customers (deleted_at) where deleted_at is not null;
create index contacts_deleted on contacts (deleted_at) where deleted_at is not null;
create index opportunities_deleted on opportunities (deleted_at) where deleted_at is not null;
create index follow_ups_deleted on follow_ups (deleted_at) where deleted_at is not null;

-- Deleted records of all kinds, as one list.
create view trash as
    select id, 'customer' as resource, name as label, id as customer_id, owner_id, deleted_at, deleted_with
        from customers where deleted_at is not null
    union all select id, 'contact', name, customer_id, owner_id, deleted_at, deleted_with
        from contacts where deleted_at is not null
    union all select id, 'opportunity', title, customer_id, owner_id, deleted_at, deleted_with
        from opportunities where deleted_at is not null
    union all select id, 'follow_up', substr(content, 1, 200), customer_id, owner_id, deleted_at, deleted_with
        from follow_ups where deleted_at is not null;

-- The journal as the audit log shows it; newest first is the order of seq.
create view audit_log as
    select cast(seq as text) as id, seq, at, actor, action, resource, record_id, trace_id, changes from journal;
create index journal_by_actor on journal (actor, seq);

-- Users bound to this tenant by name. A tenant with members admits no caller on X-Tenant-Id alone.
create table members (
    user_id text primary key,
    added_at integer not null
) strict, without rowid;

pragma user_version = 2;
