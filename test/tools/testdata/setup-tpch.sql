-- The tables of TPC-H with about a hundredth of its data: always the same rows, made up here.
CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name char(25), r_comment varchar(152));
CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name char(25), n_regionkey int REFERENCES region, n_comment varchar(152));
CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name char(25), s_address varchar(40), s_nationkey int REFERENCES nation, s_phone char(15), s_acctbal numeric(15,2), s_comment varchar(101));
CREATE TABLE part (p_partkey int PRIMARY KEY, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25), p_size int, p_container char(10), p_retailprice numeric(15,2), p_comment varchar(23));
CREATE TABLE partsupp (ps_partkey int REFERENCES part, ps_suppkey int REFERENCES supplier, ps_availqty int, ps_supplycost numeric(15,2), ps_comment varchar(199), PRIMARY KEY (ps_partkey, ps_suppkey));
CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name varchar(25), c_address varchar(40), c_nationkey int REFERENCES nation, c_phone char(15), c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117));
CREATE TABLE orders (o_orderkey int PRIMARY KEY, o_custkey int REFERENCES customer, o_orderstatus char(1), o_totalprice numeric(15,2), o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority int, o_comment varchar(79));
CREATE TABLE lineitem (l_orderkey int REFERENCES orders, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2),
	l_returnflag char(1), l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25), l_shipmode char(10), l_comment varchar(44),
	PRIMARY KEY (l_orderkey, l_linenumber), FOREIGN KEY (l_partkey, l_suppkey) REFERENCES partsupp);
INSERT INTO region SELECT i - 1, (ARRAY['AFRICA','AMERICA','ASIA','EUROPE','MIDDLE EAST'])[i], 'r' || i FROM generate_series(1, 5) i;
INSERT INTO nation SELECT i - 1, (ARRAY['ALGERIA','ARGENTINA','BRAZIL','CANADA','EGYPT','ETHIOPIA','FRANCE','GERMANY','INDIA','INDONESIA','IRAN','IRAQ','JAPAN','JORDAN','KENYA','MOROCCO','MOZAMBIQUE','PERU','CHINA','ROMANIA','SAUDI ARABIA','VIETNAM','RUSSIA','UNITED KINGDOM','UNITED STATES'])[i],
	(ARRAY[0,1,1,1,4,0,3,3,2,2,4,4,2,4,0,0,0,1,2,3,4,2,3,3,1])[i], 'n' || i FROM generate_series(1, 25) i;
INSERT INTO supplier SELECT i, 'Supplier#' || lpad(i::text, 9, '0'), 'street ' || i * 31 % 997, i % 25, (10 + i % 25) || '-' || lpad((i * 7919 % 10000000)::text, 7, '0'), (i * 104729 % 1099900) / 100.0 - 999,
	CASE WHEN i % 17 = 0 THEN 'slow Customer and many Complaints' ELSE 'quick' END FROM generate_series(1, 100) i;
INSERT INTO part SELECT i, (ARRAY['almond','forest','green','ivory','lace'])[1 + i % 5] || ' ' || (ARRAY['blue','khaki','green','plum'])[1 + i / 5 % 4] || ' ' || (ARRAY['rose','sky','tan'])[1 + i / 20 % 3],
	'Manufacturer#' || 1 + i % 5, 'Brand#' || 1 + i % 5 || 1 + i / 5 % 5,
	(ARRAY['STANDARD','SMALL','MEDIUM','LARGE','ECONOMY','PROMO'])[1 + i % 6] || ' ' || (ARRAY['ANODIZED','BURNISHED','PLATED','POLISHED','BRUSHED'])[1 + i / 6 % 5] || ' ' || (ARRAY['TIN','NICKEL','BRASS','STEEL','COPPER'])[1 + i / 30 % 5],
	1 + (i * 7 + i / 50) % 50, (ARRAY['SM','LG','MED','JUMBO','WRAP'])[1 + i % 5] || ' ' || (ARRAY['CASE','BOX','BAG','JAR','PKG','PACK','CAN','DRUM'])[1 + i / 5 % 8], 900 + (i % 1000) / 10.0 + 100 * (i % 10), 'p' || i FROM generate_series(1, 2000) i;
INSERT INTO partsupp SELECT p, (p + j * 25) % 100 + 1, 1 + (p * 7919 + j) % 9999, 1 + ((p * 31 + j * 7) % 99900) / 100.0, 'ps' FROM generate_series(1, 2000) p, generate_series(0, 3) j;
INSERT INTO customer SELECT i, 'Customer#' || lpad(i::text, 9, '0'), 'road ' || i * 31 % 9973, i % 25, (10 + i % 25) || '-' || lpad((i * 7919 % 10000000)::text, 7, '0'), (i * 104729 % 1099900) / 100.0 - 999,
	(ARRAY['AUTOMOBILE','BUILDING','FURNITURE','MACHINERY','HOUSEHOLD'])[1 + i / 3 % 5], 'c' || i FROM generate_series(1, 1500) i;
INSERT INTO orders SELECT i, 1 + 3 * (i * 7919 % 500) + i % 2, CASE WHEN d < '1995-06-17' THEN 'F' ELSE 'O' END, 0, d,
	(ARRAY['1-URGENT','2-HIGH','3-MEDIUM','4-NOT SPECIFIED','5-LOW'])[1 + i % 5], 'Clerk#' || i % 10, 0, CASE WHEN i % 13 = 0 THEN 'very special packages, requests' ELSE 'plain' END
	FROM generate_series(1, 15000) i, LATERAL (SELECT date '1992-01-01' + (i * 7919 % 2405) AS d) x;
INSERT INTO lineitem SELECT o, p, (p + (o + j) % 4 * 25) % 100 + 1, j, q, q * (900 + (p % 1000) / 10.0), (o + j) % 11 / 100.0, (o + j) % 9 / 100.0,
	CASE WHEN d + s > '1995-06-17' THEN 'N' WHEN (o + j) % 2 = 0 THEN 'R' ELSE 'A' END, CASE WHEN d + s > '1995-06-17' THEN 'O' ELSE 'F' END,
	d + s, d + 30 + (o * 17 + j) % 60, d + s + 1 + (o + j * 3) % 30, (ARRAY['DELIVER IN PERSON','COLLECT COD','NONE','TAKE BACK RETURN'])[1 + (o + j) % 4],
	(ARRAY['REG AIR','AIR','RAIL','SHIP','TRUCK','MAIL','FOB'])[1 + (o + j) % 7], 'l'
	FROM (SELECT o_orderkey AS o, o_orderdate AS d FROM orders) x, LATERAL generate_series(1, 1 + o % 7) j,
	LATERAL (SELECT 1 + (o * 31 + j * 389) % 2000 AS p, 1 + (o * 7 + j * 13) % 50 AS q, 1 + (o * 11 + j * 29) % 121 AS s) y;
UPDATE orders SET o_totalprice = t.total FROM (SELECT l_orderkey, sum(l_extendedprice * (1 + l_tax) * (1 - l_discount)) AS total FROM lineitem GROUP BY 1) t WHERE l_orderkey = o_orderkey;
CREATE INDEX ON lineitem (l_partkey, l_suppkey);
CREATE INDEX ON lineitem (l_shipdate);
CREATE INDEX ON orders (o_custkey);

-- The tables as one without `reveal` should see them, masked by hand.
CREATE SCHEMA masked;
CREATE VIEW masked.customer AS SELECT c_custkey, '***'::varchar(25) AS c_name, '***'::varchar(40) AS c_address, c_nationkey,
	CASE WHEN c_phone IS NULL THEN NULL WHEN length(c_phone) >= 8 THEN '***' || right(c_phone::text, 4) ELSE '***' END::char(15) AS c_phone, c_acctbal, c_mktsegment, c_comment FROM public.customer;
GRANT USAGE ON SCHEMA masked TO gatehouse;
GRANT SELECT ON ALL TABLES IN SCHEMA masked TO gatehouse;
ANALYZE;
