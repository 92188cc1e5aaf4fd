-- Events: what becomes of those that go out, and what came of those that came in.

-- An event that the bus refuses is offered again later; the later events of its record wait for it.
alter table outbox add column attempts integer not null default 0;
alter table outbox add column not_before integer; -- when it is offered again; null: at once
alter table outbox add column failure text;       -- why it was refused last: a word
-- Written when no cell delivered events: whoever wants them sent replays them.
update outbox set state = 'unpublished' where state = 'pending';
create index outbox_at_rest on outbox (seq) where state <> 'pending'; -- to forget the oldest of them
create index outbox_refused on outbox (not_before) where not_before is not null;
create view outbox_log as
    select event_id as id, seq, at, type, record_id, trace_id, state, attempts, not_before, failure from outbox;

-- Events of other systems, each once.
create table inbox (
    seq integer primary key,
    event_id text not null unique,
    type text not null,        -- erp.contract.signed
    subject text,              -- what it is about, in the sender's terms: contract:HT-2026-001, task:77
    trace_id text,
    at integer not null,       -- when it was received first
    data text not null,        -- JSON, as it came
    state text not null check (state in ('applied', 'ignored', 'needs_review', 'failed', 'resolved')),
    reason text,               -- why it is in this state: a word; null if there is nothing to say
    record_id text,            -- the record that it changed or made
    candidates text not null default '[]', -- the records that may be meant, if that is for a person to say
    retry_at integer           -- when it is tried again by itself; null: it is not
) strict;
create index inbox_retry on inbox (retry_at) where retry_at is not null;
create index inbox_by_subject on inbox (subject) where subject is not null;
create view inbox_log as
    select event_id as id, seq, at, type, subject, trace_id, state, reason, record_id, candidates, retry_at from inbox;

-- Contracts signed in the ERP, as the last of their events has them.
create table contracts (
    key text primary key,      -- the contract's id there, else its number
    contract_no text,
    customer_id text not null,
    opportunity_id text,       -- null: a person is to say which
    has_won integer not null default 0 check (has_won in (0, 1)), -- it is what closed the opportunity, whose amount follows it
    amount_cents integer,
    currency text,
    signed_at integer not null,
    order_id text,
    said_at integer not null,  -- of the event; with signed_at and event_id: which event is the last
    event_id text not null
) strict, without rowid;
create index contracts_by_opportunity on contracts (opportunity_id) where opportunity_id is not null;

-- Tasks completed in the OA, with the follow-up that each became.
create table oa_tasks (
    task_id text primary key,
    follow_up_id text not null
) strict, without rowid;

pragma user_version = 4;
