-- A little data for PowerDNS's tables.
INSERT INTO domains(name,type) VALUES('example.org','NATIVE'),('Example.NET','MASTER');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)
INSERT INTO records(domain_id,name,type,content,ttl,prio) SELECT 1+i%2, 'h'||i||'.example.org', 'A', '192.0.2.'||(i%250), 3600, CASE i%3 WHEN 0 THEN NULL ELSE 0 END FROM n;
INSERT INTO comments(domain_id,name,type,modified_at,comment) VALUES(1,'x','A',1700000000,'Ž 🎉'),(2,'y','A',0,'');
INSERT INTO domainmetadata(domain_id,kind,content) VALUES(1,'ALLOW-AXFR-FROM','AUTO-NS');
INSERT INTO cryptokeys(domain_id,flags,active,content) VALUES(1,257,1,'key');
INSERT INTO tsigkeys(name,algorithm,secret) VALUES('k','hmac-sha256','s');
INSERT INTO supermasters VALUES('192.0.2.1','ns.example.org','a');
