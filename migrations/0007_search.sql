-- The index of what keywords are looked for in: the positions of every three characters. Text is kept in the tables alone.

create virtual table customers_search using fts5 (
    search, content = 'customers', content_rowid = 'seq', columnsize = 0, tokenize = 'trigram case_sensitive 1'
);
insert into customers_search (customers_search) values ('rebuild');
create trigger customers_search_insert after insert on customers begin
    insert into customers_search (rowid, search) values (new.seq, new.search);
end;
create trigger customers_search_update after update of search on customers when new.search <> old.search begin
    insert into customers_search (customers_search, rowid, search) values ('delete', old.seq, old.search);
    insert into customers_search (rowid, search) values (new.seq, new.search);
end;
create trigger customers_search_delete after delete on customers begin
    insert into customers_search (customers_search, rowid, search) values ('delete', old.seq, old.search);
end;

create virtual table contacts_search using fts5 (
    search, content = 'contacts', content_rowid = 'seq', columnsize = 0, tokenize = 'trigram case_sensitive 1'
);
insert into contacts_search (contacts_search) values ('rebuild');
create trigger contacts_search_insert after insert on contacts begin
    insert into contacts_search (rowid, search) values (new.seq, new.search);
end;
create trigger contacts_search_update after update of search on contacts when new.search <> old.search begin
    insert into contacts_search (contacts_search, rowid, search) values ('delete', old.seq, old.search);
    insert into contacts_search (rowid, search) values (new.seq, new.search);
end;
create trigger contacts_search_delete after delete on contacts begin
    insert into contacts_search (contacts_search, rowid, search) values ('delete', old.seq, old.search);
end;

create virtual table opportunities_search using fts5 (
    search, content = 'opportunities', content_rowid = 'seq', columnsize = 0, tokenize = 'trigram case_sensitive 1'
);
insert into opportunities_search (opportunities_search) values ('rebuild');
create trigger opportunities_search_insert after insert on opportunities begin
    insert into opportunities_search (rowid, search) values (new.seq, new.search);
end;
create trigger opportunities_search_update after update of search on opportunities when new.search <> old.search begin
    insert into opportunities_search (opportunities_search, rowid, search) values ('delete', old.seq, old.search);
    insert into opportunities_search (rowid, search) values (new.seq, new.search);
end;
create trigger opportunities_search_delete after delete on opportunities begin
    insert into opportunities_search (opportunities_search, rowid, search) values ('delete', old.seq, old.search);
end;

-- A cell that fills in no text for what it writes would leave it where no keyword finds it.
update meta set min_reader_version = 7;

pragma user_version = 7;
