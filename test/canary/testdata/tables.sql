-- What the shop does not have: columns of every kind of type, partitions, inheritance, views, cascades.
-- The rows are made by the tests; those of the two databases differ in labelled and hidden values alone.
CREATE TYPE grade AS ENUM ('low', 'middle', 'high', 'top');
CREATE TYPE place AS (street text, town text);
CREATE DOMAIN mailbox AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN small AS int CHECK (VALUE BETWEEN 0 AND 1000);

CREATE TABLE staff (
    id       int PRIMARY KEY,
    login    text NOT NULL,
    rank     small NOT NULL,
    level    grade NOT NULL,
    skills   text[] NOT NULL,
    window_  int4range NOT NULL,
    boss     int REFERENCES staff,
    extra    jsonb,
    mail     mailbox,
    salary   numeric(14,2),
    judged   grade,
    address  place,
    phones   text[],
    shifts   int4range,
    badge    uuid,
    photo    bytea,
    home_ip  inet,
    born     timestamptz,
    initials char(8),
    nick     text,
    key      text,
    passed   boolean,
    mobile   varchar(30),
    note     text,
    pin      int
);
CREATE TABLE events (
    day    date NOT NULL,
    id     int NOT NULL,
    kind   grade NOT NULL,
    hits   int NOT NULL,
    who    text,
    detail jsonb,
    amount bigint,
    remark text,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE TABLE events_early PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE events_late PARTITION OF events FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');

CREATE TABLE vehicles (id int PRIMARY KEY, wheels int NOT NULL, colour text NOT NULL, owner text, plate text);
CREATE TABLE lorries (load_kg int NOT NULL) INHERITS (vehicles);

-- Labels reach this table through its foreign key, and a generated column of it.
CREATE TABLE tickets (
    id       int PRIMARY KEY,
    customer text REFERENCES customers (email) ON UPDATE CASCADE ON DELETE CASCADE,
    order_id int REFERENCES orders ON DELETE SET NULL,
    subject  text NOT NULL,
    shouted  text GENERATED ALWAYS AS (upper(customer)) STORED
);
CREATE TABLE scratch (n int, a text, b text, j jsonb, d date, l text[]);

CREATE SCHEMA hr;
CREATE TABLE hr.reviews (id int PRIMARY KEY, staff_id int NOT NULL REFERENCES staff ON DELETE CASCADE, year int NOT NULL, body text, score int, reviewer text);

CREATE VIEW contacts AS SELECT id, name, email AS reach, phone, tier FROM customers;
CREATE VIEW spending AS
    SELECT c.id, c.name, max(c.national_id) AS card, count(o.id)::int AS orders, coalesce(sum(o.total), 0) AS total
    FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id;
CREATE MATERIALIZED VIEW regulars AS SELECT id, lower(email) AS reach, birth_date, tier FROM customers WHERE tier <> 'standard' WITH NO DATA;
