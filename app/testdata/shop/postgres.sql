create table customers(id int primary key, name text not null, email text, balance numeric, active bool, born date, log text);
create table "Orders"(shop text not null, number int not null, total numeric, placed_at timestamptz, note json, log text, extra text default 'theirs', primary key (shop, number));
create table tokens(id uuid primary key, secret bytea, weight float8, seen timestamptz, span interval, log text);
create table visits(id bigint primary key, page text);
insert into customers select i-3, 'customer '||i, case i%3 when 0 then null when 1 then '' else 'c'||i||'@example.org' end,
  case i%4 when 0 then null else (i||'.50')::numeric end, case i%3 when 0 then true when 1 then false end, ('19'||(50+i)||'-02-03')::date, '0;' from generate_series(1, 40) i;
insert into "Orders"(shop, number, total, placed_at, note, log) select case i%2 when 0 then 'Köln' else 'aachen' end, i/2-5, ('0.'||(10+i))::numeric, ('2024-05-06 07:08:'||(10+i)||'.000001+02')::timestamptz,
  case i%3 when 0 then null else ('{"b":'||i||',"a":[1.50,null,"ž"]}')::json end, '0;' from generate_series(1, 40) i;
insert into tokens select (lpad(to_hex(i*7919), 8, '0')||'-0000-4000-8000-'||lpad(to_hex(i), 12, '0'))::uuid, case i%3 when 0 then null else '\x00ff'::bytea end,
  i/8.0, '2023-01-01 00:00:00.000001Z'::timestamptz + i * interval '1000001 microseconds', i * interval '1 day', '0;' from generate_series(1, 40) i;
insert into visits select i, 'page '||i from generate_series(1, 50) i;
-- What the embedded server can't hold, and what no other database can.
insert into tokens values('ffffffff-0000-4000-8000-000000000001', null, 'Infinity', '2023-01-01', null, '0;');
insert into tokens values('ffffffff-0000-4000-8000-000000000002', null, 1.0, 'infinity', null, '0;');
insert into customers values(1000001, 'no such day', null, null, true, '-infinity', '0;');
insert into customers values(1000002, 'not a number', null, 'NaN', null, null, '0;');
insert into "Orders"(shop, number, placed_at, log) values('aachen', 1000003, '0044-03-15 BC', '0;');
