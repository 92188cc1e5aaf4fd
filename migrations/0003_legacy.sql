-- Where rows of the Python cell's database went (`crm-cell import-legacy`).

-- One row for each of them: it is imported once, whatever becomes of its record later. What the other tables have no
-- place for is here verbatim.
create table legacy_rows (
    source_table text not null,
    source_key text not null,
    outcome text not null check (outcome in ('imported', 'repaired', 'kept')), -- kept: in this table only
    digest text not null,      -- of the row: whether the source has another one under this key later
    reasons text not null,     -- rules that were applied: "name-taken:name primary-demoted:isPrimary"
    row text,                  -- JSON, nothing masked; null if the record holds all of it
    at integer not null,       -- when it was imported
    primary key (source_table, source_key)
) strict, without rowid;

pragma user_version = 3;
