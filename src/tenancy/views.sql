-- What a copy or a backup shows to other tools: docs/SCHEMA.md. A file that is served has no views: each connection would
-- parse and keep them, 42 KiB and 0.2 ms of it.
--
-- The views `v1_*` are for whoever opens a copy of the file. The tables are the cell's own, and may change with every
-- release. A `v1_` view does not:
--   * a column keeps its name, its place, its type and its meaning; new columns come after the last one;
--   * what means something else is a new view, `v2_*`; the `v1_` one stays beside it for at least a year;
--   * it has a row for each record that the API shows, with the values that the API shows; but true is 1, a list is JSON, and
--     an id that is not there is null, not "": an expression instead would keep joins from the indexes.
-- They are read-only: no trigger may make them anything else.
--
-- Phones and e-mail addresses are masked as `domain::Masking` masks them with `email: true`: a view cannot know whether the
-- cell is configured to mask e-mail addresses, so it does. tests/engine/views.rs compares the two.
--
-- SQLite 3.38 is enough for them. Masks are made when a row is read. `scan` drops one character after the other from a phone until digits
-- are left; `at` is the place of an address's last @, 0 if it has none.

create view v1_customers as select
    id as customer_id,
    (select tenant_id from meta) as tenant_id,
    name,
    cast((with recursive scan (rest) as (
            select contact_phone
            union all
            select replace(rest, substr(ltrim(rest, '0123456789'), 1, 1), '') from scan where rest glob '*[^0-9]*')
        select case when contact_phone = '' then '' when length(rest) < 8 then '***'
                else substr(rest, 1, 3) || '****' || substr(rest, -4) end
            from scan where rest not glob '*[^0-9]*') as text) as contact_phone,
    cast((select case when contact_email = '' then '' when at = 0 then '***'
                else substr(contact_email, 1, min(at - 1, 1)) || '***' || substr(contact_email, at) end
            from (select length(rtrim(contact_email, replace(contact_email, '@', ''))) as at)) as text) as contact_email,
    status,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') as text) as created_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') as text) as updated_at,
    owner_id,
    lifecycle,
    level,
    source,
    industry,
    region,
    address,
    website,
    remark,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', next_follow_up_at / 1000.0, 'unixepoch') as text) as next_follow_up_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', last_follow_up_at / 1000.0, 'unixepoch') as text) as last_follow_up_at,
    version
    from customers where deleted_at is null;

create view v1_contacts as select
    id as contact_id,
    (select tenant_id from meta) as tenant_id,
    customer_id,
    name,
    cast((with recursive scan (rest) as (
            select phone
            union all
            select replace(rest, substr(ltrim(rest, '0123456789'), 1, 1), '') from scan where rest glob '*[^0-9]*')
        select case when phone = '' then '' when length(rest) < 8 then '***'
                else substr(rest, 1, 3) || '****' || substr(rest, -4) end
            from scan where rest not glob '*[^0-9]*') as text) as phone,
    cast((select case when email = '' then '' when at = 0 then '***'
                else substr(email, 1, min(at - 1, 1)) || '***' || substr(email, at) end
            from (select length(rtrim(email, replace(email, '@', ''))) as at)) as text) as email,
    is_primary,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') as text) as created_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') as text) as updated_at,
    title,
    department,
    role,
    owner_id,
    version
    from contacts where deleted_at is null;

create view v1_opportunities as select
    id as opportunity_id,
    (select tenant_id from meta) as tenant_id,
    customer_id,
    title,
    amount_cents,
    currency,
    stage,
    status,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') as text) as created_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') as text) as updated_at,
    owner_id,
    probability_pct,
    cast((amount_cents * probability_pct + 50) / 100 as integer) as weighted_cents,
    expected_close_date,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', closed_at / 1000.0, 'unixepoch') as text) as closed_at,
    lost_reason,
    cast(case stage when 1 then '初步接洽' when 2 then '需求分析' when 3 then '方案报价' when 4 then '商务谈判'
        when 5 then '赢单' when 6 then '输单' end as text) as stage_name,
    version
    from opportunities where deleted_at is null;

create view v1_follow_ups as select
    id as follow_up_id,
    (select tenant_id from meta) as tenant_id,
    customer_id,
    opportunity_id,
    contact_id,
    content,
    follow_up_type,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') as text) as created_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') as text) as updated_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', occurred_at / 1000.0, 'unixepoch') as text) as occurred_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', next_follow_up_at / 1000.0, 'unixepoch') as text) as next_follow_up_at,
    owner_id,
    version
    from follow_ups where deleted_at is null;

-- Phones in `changes` are masked when they are written; e-mail addresses only if the cell masks them, so here they are.
create view v1_journal as select
    seq as log_id,
    (select tenant_id from meta) as tenant_id,
    actor as user_id,
    action as operation_type,
    resource as resource_type,
    record_id as resource_id,
    trace_id,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') as text) as occurred_at,
    cast(json_patch(changes,
        (select json_group_object(field.key,
                json((select json_group_array(case when value = '' then '' when at = 0 then '***'
                        else substr(value, 1, min(at - 1, 1)) || '***' || substr(value, at) end)
                    from (select value, length(rtrim(value, replace(value, '@', ''))) as at
                        from json_each(changes, field.fullkey)))))
            from json_each(changes) as field where field.key in ('contactEmail', 'email'))) as text) as changes
    from journal;

-- Phones and e-mail addresses in `data` are masked when it is written.
create view v1_events as select
    event_id,
    (select tenant_id from meta) as tenant_id,
    type as event_type,
    record_id as resource_id,
    state,
    attempts,
    failure,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') as text) as occurred_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', not_before / 1000.0, 'unixepoch') as text) as retry_at,
    trace_id,
    data
    from outbox;

-- Without what the events hold: that is as their senders wrote it.
create view v1_inbox as select
    event_id,
    (select tenant_id from meta) as tenant_id,
    type as event_type,
    subject,
    state,
    reason,
    record_id as resource_id,
    candidates as candidate_ids,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') as text) as received_at,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', retry_at / 1000.0, 'unixepoch') as text) as retry_at,
    trace_id
    from inbox;

create view v1_members as select
    user_id,
    (select tenant_id from meta) as tenant_id,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', added_at / 1000.0, 'unixepoch') as text) as added_at
    from members;

create view v1_tenant as select
    tenant_id,
    cast(strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') as text) as created_at
    from meta;
