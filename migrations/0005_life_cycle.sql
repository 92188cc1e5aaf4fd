-- What operators decide about a tenant. It lives in the tenant's own file, so that it goes wherever the file goes.

alter table meta add column state text not null default 'active' check (state in ('active', 'read-only', 'suspended'));
alter table meta add column reason text;      -- why it is in this state, in the operator's words
alter table meta add column state_since integer;
alter table meta add column protected integer not null default 0 check (protected in (0, 1)); -- it cannot be deleted
alter table meta add column origin text;      -- JSON: of which tenant or backup the file was made, and as of when

pragma user_version = 5;
