"""psycopg 3: server-side parameters in text and binary, prepared statements, pipelines, server cursors, COPY."""
import psycopg
from common import COLUMNS, ROW, failed, say
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb

state = lambda e: e.sqlstate
conn = psycopg.connect("")
say("one", conn.execute("SELECT %s::int + 1", (41,)).fetchall())
row = dict(ROW, j=Json({"a": [1, None]}), jb=Jsonb({"b": "x"}))
for i, binary in enumerate((False, True)):
    row["id"] = i + 1
    cur = conn.cursor(binary=binary)
    cur.execute(f"INSERT INTO drivers ({COLUMNS}) VALUES (%(id)s, %(n)s, %(t)s, %(b)s, %(d)s, %(ts)s, %(u)s, %(j)s, %(jb)s, %(by)s, %(a)s, %(at)s, %(f)s, %(big)s, %(iv)s) RETURNING id", row)
    say("insert", cur.fetchone())
    cur.execute(f"SELECT {COLUMNS} FROM drivers WHERE id = %s", (i + 1,))
    say("select", cur.fetchall())
    say("description", [[c.name, c.type_code, c.internal_size, c.precision, c.scale] for c in cur.description])
conn.execute("INSERT INTO drivers (id, t) VALUES (%s, %s)", (3, None))
conn.commit()


def nested():
    with conn.transaction():
        conn.execute("INSERT INTO drivers (id) VALUES (50)")
        conn.execute("INSERT INTO drivers (id) VALUES (1)")


with conn.transaction():
    failed("nested", nested, psycopg.errors.UniqueViolation, state)
    say("inside", conn.execute("SELECT count(*) FROM drivers WHERE id = 50").fetchone())
failed("division", lambda: conn.execute("SELECT 1/%s::int", (0,)), psycopg.errors.DivisionByZero, state)
failed("aborted", lambda: conn.execute("SELECT 1"), psycopg.errors.InFailedSqlTransaction, state)
conn.rollback()
failed("no column", lambda: conn.execute("SELECT nothing FROM drivers"), psycopg.errors.UndefinedColumn, state)
conn.rollback()

for i in range(12):  # from the sixth on it is prepared
    got = conn.execute("SELECT name FROM products WHERE id = %s", (i + 1,)).fetchone()
say("prepared", got)
say("forced", conn.execute("SELECT id FROM products WHERE name = %s", ("Oak lamp 8",), prepare=True).fetchall())
with conn.cursor() as cur:
    cur.executemany("INSERT INTO drivers (id, t) VALUES (%s, %s)", [(i, f"v{i}") for i in range(100, 400)])
    say("executemany", cur.rowcount)
if psycopg.Pipeline.is_supported():
    with conn.pipeline():
        results = [conn.execute("SELECT %s::int, count(*) FROM drivers WHERE id > %s", (i, i)) for i in range(90, 110, 5)]
    say("pipeline", [r.fetchall() for r in results])

    def broken():
        with conn.pipeline():
            conn.execute("SELECT 1")
            conn.execute("SELECT 1/0")
            conn.execute("SELECT 2")

    failed("pipeline error", broken, psycopg.Error, state)
    conn.rollback()
conn.execute("INSERT INTO drivers (id, t) SELECT i, 'v' FROM generate_series(1000, 1299) i")
with conn.cursor(name="walk") as walk:
    walk.itersize = 50
    walk.execute("SELECT id FROM drivers WHERE id >= %s ORDER BY id", (1000,))
    say("server-side cursor", [r[0] for r in walk][::37])
with conn.cursor() as cur:
    with cur.copy("COPY (SELECT id, t FROM drivers WHERE id < 1005 AND id >= 1000 ORDER BY id) TO STDOUT") as copy:
        say("copy out", [bytes(b) for b in copy])
    with cur.copy("COPY drivers (id, t, a) FROM STDIN") as copy:
        copy.write_row((900, "nine", [1, 2]))
        copy.write_row((901, None, None))
    cur.execute("SELECT id, t, a FROM drivers WHERE id IN (900, 901) ORDER BY id")
    say("copy in", cur.fetchall())
    with cur.copy("COPY drivers (id, big) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "int8"])
        copy.write_row((910, 1 << 40))
    cur.execute("SELECT id, big FROM drivers WHERE id = 910")
    say("copy in binary", cur.fetchall())
conn.rollback()
say("delete", conn.execute("DELETE FROM drivers").rowcount)
conn.commit()
conn.autocommit = True
say("dict", conn.cursor(row_factory=dict_row).execute("SELECT id, name FROM products ORDER BY id LIMIT 1").fetchall())
say("labelled", conn.execute("SELECT id, email, phone FROM customers WHERE id < %s ORDER BY id", (4,)).fetchall())
conn.close()
