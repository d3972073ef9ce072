CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, balance TEXT, active TEXT, born TEXT, log TEXT);
CREATE TABLE "Orders"(shop TEXT NOT NULL, number INTEGER NOT NULL, total TEXT, placed_at TEXT, note TEXT, log TEXT, extra TEXT DEFAULT 'theirs', PRIMARY KEY(shop, number));
CREATE TABLE tokens(id TEXT PRIMARY KEY, secret BLOB, weight REAL, seen INTEGER, span TEXT, log TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)
INSERT INTO customers SELECT i-3, 'customer '||i, CASE i%3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'c'||i||'@example.org' END,
  CASE i%4 WHEN 0 THEN NULL ELSE i||'.50' END, CASE i%3 WHEN 0 THEN 'Y' WHEN 1 THEN 'N' END, '19'||(50+i)||'-02-03', '0;' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)
INSERT INTO "Orders"(shop,number,total,placed_at,note,log) SELECT CASE i%2 WHEN 0 THEN 'Köln' ELSE 'aachen' END, i/2-5, '0.'||(10+i), '2024-05-06 07:08:'||(10+i),
  CASE i%3 WHEN 0 THEN NULL ELSE '{"b":'||i||',"a":[1.50,null,"ž"]}' END, '0;' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)
INSERT INTO tokens SELECT printf('%08x-0000-4000-8000-%012x', i*7919, i), CASE i%3 WHEN 0 THEN NULL ELSE CAST(x'00ff'||char(i) AS BLOB) END,
  i/8.0, 1700000000000000+i*1000001, i||' days', '0;' FROM n;
-- What the embedded server can't hold, and what no database can.
INSERT INTO tokens VALUES('ffffffff-0000-4000-8000-000000000001', NULL, 9e999, 1, NULL, '0;');
INSERT INTO tokens VALUES('ffffffff-0000-4000-8000-000000000002', NULL, 1.0, 'yesterday', NULL, '0;');
INSERT INTO customers VALUES(1000001, 'no such day', NULL, NULL, 'Y', '2023-02-30', '0;');
INSERT INTO customers VALUES(1000002, 'neither Y nor N', NULL, NULL, 'maybe', NULL, '0;');
INSERT INTO "Orders"(shop,number,placed_at,log) VALUES('aachen', 1000003, 'soon', '0;');
