"""psycopg2: parameters written into the text by the client, transactions, savepoints, named cursors, COPY."""
import io

import psycopg2
import psycopg2.extras
from common import COLUMNS, ROW, failed, say

psycopg2.extras.register_uuid()
conn = psycopg2.connect("")
conn.set_session(isolation_level="REPEATABLE READ")
cur = conn.cursor()
cur.execute("SELECT 1")
say("one", cur.fetchall())
row = dict(ROW, j=psycopg2.extras.Json({"a": [1, None]}), jb=psycopg2.extras.Json({"b": "x"}))
cur.execute(f"INSERT INTO drivers ({COLUMNS}) VALUES (%(id)s, %(n)s, %(t)s, %(b)s, %(d)s, %(ts)s, %(u)s, %(j)s, %(jb)s, %(by)s, %(a)s, %(at)s, %(f)s, %(big)s, %(iv)s) RETURNING id", row)
say("insert", cur.fetchone())
cur.execute("INSERT INTO drivers (id, t) VALUES (%s, %s), (%s, %s)", (2, None, 3, "three"))
say("rowcount", cur.rowcount)
cur.execute(f"SELECT {COLUMNS} FROM drivers ORDER BY id")
say("select", cur.fetchall())
say("description", [[c.name, c.type_code, c.internal_size, c.precision, c.scale] for c in cur.description])
conn.commit()

cur.execute("SAVEPOINT a")
failed("duplicate", lambda: cur.execute("INSERT INTO drivers (id) VALUES (1)"), psycopg2.Error)
failed("aborted", lambda: cur.execute("SELECT 1"), psycopg2.Error)
cur.execute("ROLLBACK TO SAVEPOINT a")
cur.execute("UPDATE drivers SET t = 'changed' WHERE id = ANY(%s)", ([2, 3],))
say("update", cur.rowcount)
conn.rollback()
cur.execute("SELECT t FROM drivers WHERE id IN %s ORDER BY id", ((2, 3),))
say("rolled back", cur.fetchall())
conn.commit()

failed("division", lambda: cur.execute("SELECT 1/0"), psycopg2.errors.DivisionByZero)
conn.rollback()
failed("syntax", lambda: cur.execute("SELEC"), psycopg2.errors.SyntaxError)
conn.rollback()
failed("no table", lambda: cur.execute("SELECT * FROM nowhere"), psycopg2.errors.UndefinedTable)
conn.rollback()

psycopg2.extras.execute_values(cur, "INSERT INTO drivers (id, t) VALUES %s", [(i, f"v{i}") for i in range(100, 400)], page_size=100)
psycopg2.extras.execute_batch(cur, "UPDATE drivers SET b = true WHERE id = %s", [(i,) for i in range(100, 150)])
cur.execute("SELECT count(*), sum(id) FROM drivers WHERE b")
say("batch", cur.fetchall())
with conn.cursor(name="walk") as walk:
    walk.itersize = 50
    walk.execute("SELECT id FROM drivers WHERE id >= %s ORDER BY id", (100,))
    say("server-side cursor", [r[0] for r in walk][::37])
out = io.StringIO()
cur.copy_expert("COPY (SELECT id, t FROM drivers WHERE id < 105 ORDER BY id) TO STDOUT", out)
say("copy out", out.getvalue())
cur.copy_expert("COPY drivers (id, t) FROM STDIN WITH (FORMAT csv)", io.StringIO("900,nine\n901,\n"))
cur.execute("SELECT id, t FROM drivers WHERE id >= 900 ORDER BY id")
say("copy in", cur.fetchall())
cur.execute("DELETE FROM drivers")
say("delete", cur.rowcount)
conn.commit()
conn.autocommit = True
cur.execute("SELECT 1; SELECT 2 AS b")
say("multi", cur.fetchall())
dicts = conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
dicts.execute("SELECT id, name FROM products WHERE name ILIKE %s ORDER BY id LIMIT 2", ("%lamp%",))
say("dict", [dict(r) for r in dicts.fetchall()])
cur.execute("SELECT id, email, phone FROM customers WHERE id < 4 ORDER BY id")
say("labelled", cur.fetchall())
say("status", [conn.get_parameter_status(p) for p in ("client_encoding", "standard_conforming_strings", "integer_datetimes")])
conn.close()
