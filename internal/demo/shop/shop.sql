-- A small shop: always the same rows. Nobody in it exists.
CREATE TABLE products (
    id    int PRIMARY KEY,
    name  text NOT NULL,
    price numeric(10,2) NOT NULL
);
CREATE TABLE customers (
    id          int PRIMARY KEY,
    name        text NOT NULL,
    email       text NOT NULL UNIQUE,
    national_id varchar(20) NOT NULL,
    phone       text,
    birth_date  date,
    tier        text NOT NULL DEFAULT 'standard',
    profile     jsonb,
    created_at  timestamptz NOT NULL
);
CREATE TABLE orders (
    id          int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    product_id  int NOT NULL REFERENCES products,
    quantity    int NOT NULL,
    total       numeric(12,2) NOT NULL,
    status      text NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE TABLE payments (
    id       int PRIMARY KEY,
    order_id int NOT NULL REFERENCES orders,
    method   text NOT NULL,
    amount   numeric(12,2) NOT NULL,
    paid_at  timestamptz NOT NULL
);

INSERT INTO products
SELECT i,
       (ARRAY['Oak','Steel','Linen','Glass','Cork','Wool','Paper','Copper'])[1 + i % 8] || ' ' ||
       (ARRAY['lamp','chair','table','bowl','shelf','clock','basket','mirror','kettle','stool'])[1 + i / 8 % 10] || ' ' || i,
       5 + (i * 7919 % 20000) / 100.0
FROM generate_series(1, 200) i;

INSERT INTO customers
SELECT i, first || ' ' || last,
       lower(first) || '.' || lower(last) || i || '@' || (ARRAY['mail.example','corp.example','post.example'])[1 + i % 3],
       lpad((i * 7919 % 1000)::text, 3, '0') || '-' || lpad((i * 31 % 100)::text, 2, '0') || '-' || lpad(i::text, 5, '0'),
       '+1-555-' || lpad((i * 104729 % 10000000)::text, 7, '0'),
       date '1950-01-01' + (i * 7919 % 18000),
       (ARRAY['standard','standard','standard','silver','gold'])[1 + i % 5],
       jsonb_build_object('email', lower(first) || '.' || lower(last) || i || '@mail.example', 'newsletter', i % 2 = 0, 'notes', 'prefers ' || (ARRAY['phone','post','e-mail'])[1 + i % 3]),
       timestamptz '2023-01-01 00:00:00+00' + i * interval '53 minutes'
FROM generate_series(1, 10000) i,
     LATERAL (SELECT (ARRAY['Ada','Ben','Chloe','Dev','Elif','Finn','Grace','Hugo','Ines','Jun','Kofi','Lena','Milo','Noor','Otis','Pia'])[1 + i % 16] AS first,
                     (ARRAY['Adler','Brook','Castro','Diaz','Eriksen','Fontaine','Gupta','Haas','Ito','Jansen','Kaya'])[1 + i % 11] AS last) n;

INSERT INTO orders
SELECT i, 1 + (i * 6151 % 10000), p.id, q, p.price * q,
       (ARRAY['paid','paid','paid','shipped','shipped','open','cancelled'])[1 + i % 7],
       timestamptz '2024-01-01 00:00:00+00' + i * interval '7 minutes'
FROM generate_series(1, 100000) i,
     LATERAL (SELECT 1 + i % 4 AS q) n
JOIN products p ON true WHERE p.id = 1 + (i * 389 % 200);

INSERT INTO payments
SELECT o.id, o.id, (ARRAY['card','card','transfer','invoice'])[1 + o.id % 4], o.total, o.created_at + interval '3 minutes'
FROM orders o WHERE o.status IN ('paid', 'shipped');

CREATE INDEX ON orders (customer_id);
CREATE INDEX ON payments (order_id);
ANALYZE;
