-- What keywords are looked for in (src/domain/search.rs): names and e-mail addresses as people compare them, and phones. The cell
-- fills it in for the rows that are there, before the next migration makes the indexes.

alter table customers add column search text not null default '';
alter table contacts add column search text not null default '';
alter table opportunities add column search text not null default '';

pragma user_version = 6;
