// node-postgres: simple and parameterized queries, named statements, pools, transactions, errors.
import pg from 'pg';
import { readFileSync } from 'node:fs';

const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, 'utf8'), rejectUnauthorized: true };
const config = { ssl: { ...ssl, checkServerIdentity: () => undefined }, max: 2 };
const say = (step, value) => console.log(JSON.stringify({ step, value }, (k, v) => (typeof v === 'bigint' ? String(v) : v)));
const fails = async (step, run) => say(step, await run().then(() => 'no error', (e) => [e.constructor.name, e.code, e.severity]));

const client = new pg.Client(config);
await client.connect();
say('one', (await client.query('SELECT $1::int + 1 AS x', [41])).rows);
const columns = 'id, n, t, b, d, ts, u, j, jb, by, a, at, f, big';
const row = [1, '12345.67', 'it\'s "ünï" \\ ☃', true, '2024-02-29', new Date('2024-02-29T12:34:56.789Z'), '00000000-0000-4000-8000-000000000001',
  { a: [1, null] }, JSON.stringify({ b: 'x' }), Buffer.from('00ffdead', 'hex'), [1, 2, 3], ['x', 'b c', null], 1.5, '1099511627776'];
const marks = row.map((_, i) => `$${i + 1}`).join(', ');
say('insert', (await client.query(`INSERT INTO drivers (${columns}) VALUES (${marks}) RETURNING id`, row)).rows);
say('nulls', (await client.query('INSERT INTO drivers (id, t) VALUES ($1, $2)', [2, null])).rowCount);
const all = await client.query(`SELECT ${columns} FROM drivers ORDER BY id`);
say('select', all.rows);
say('fields', all.fields.map((f) => [f.name, f.dataTypeID, f.dataTypeSize, f.dataTypeModifier, f.format]));
say('array mode', (await client.query({ text: 'SELECT id, name FROM products WHERE id = ANY($1) ORDER BY id', values: [[1, 2]], rowMode: 'array' })).rows);
for (let i = 1; i <= 3; i++) say('named', (await client.query({ name: 'one', text: 'SELECT name FROM products WHERE id = $1', values: [i] })).rows);
say('multi', (await client.query('SELECT 1 AS a; SELECT 2 AS b')).map((r) => r.rows));

await client.query('BEGIN');
await client.query('SAVEPOINT a');
await fails('duplicate', () => client.query('INSERT INTO drivers (id) VALUES ($1)', [1]));
await fails('aborted', () => client.query('SELECT 1'));
await client.query('ROLLBACK TO SAVEPOINT a');
say('update', (await client.query('UPDATE drivers SET t = $1 WHERE id = $2', ['changed', 2])).rowCount);
await client.query('ROLLBACK');
say('rolled back', (await client.query('SELECT t FROM drivers WHERE id = 2')).rows);
await fails('division', () => client.query('SELECT 1/$1::int', [0]));
await fails('syntax', () => client.query('SELEC'));
await fails('no table', () => client.query('SELECT * FROM nowhere'));
await fails('bad value', () => client.query('SELECT id FROM products WHERE id = $1', ['abc']));

const queued = await Promise.all(Array.from({ length: 20 }, (_, i) => client.query('SELECT $1::int AS i, count(*) FROM orders WHERE customer_id = $1', [i])));
say('queued', queued.map((r) => r.rows[0]));
await Promise.all(Array.from({ length: 50 }, (_, i) => client.query('INSERT INTO drivers (id, t) VALUES ($1, $2)', [100 + i, `v${i}`])));
say('batch', (await client.query('SELECT count(*), sum(id) FROM drivers')).rows);
say('delete', (await client.query('DELETE FROM drivers')).rowCount);
say('labelled', (await client.query('SELECT id, email, profile FROM customers WHERE id < $1 ORDER BY id', [4])).rows);
await client.end();

const pool = new pg.Pool(config);
say('pool', (await Promise.all([1, 2, 3, 4].map((i) => pool.query('SELECT name FROM products WHERE id = $1', [i])))).map((r) => r.rows));
await pool.end();
