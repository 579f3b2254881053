import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

/** pgjdbc: its query modes, prepared statements that become server-side, batches, fetch sizes, savepoints, metadata of results. */
public class Client {
    static void say(String step, Object... value) {
        StringBuilder b = new StringBuilder();
        for (Object v : value) b.append(b.length() > 0 ? " | " : "").append(v instanceof byte[] by ? HexFormat.of().formatHex(by) : String.valueOf(v));
        System.out.println("{\"step\": " + quote(step) + ", \"value\": " + quote(b.toString()) + "}");
    }

    static String quote(String s) {
        StringBuilder b = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\' || c < 32 || c > 126) b.append(String.format("\\u%04x", (int) c));
            else b.append(c);
        }
        return b.append("\"").toString();
    }

    interface Run { void run() throws SQLException; }

    static void fails(String step, Run r) {
        try {
            r.run();
            say(step, "no error");
        } catch (SQLException e) {
            say(step, e.getClass().getSimpleName(), e.getSQLState());
        }
    }

    static String rows(ResultSet rs) throws SQLException {
        StringBuilder b = new StringBuilder();
        int n = rs.getMetaData().getColumnCount();
        while (rs.next()) {
            for (int i = 1; i <= n; i++) {
                Object v = rs.getObject(i);
                if (v instanceof java.sql.Array a) v = Arrays.deepToString((Object[]) a.getArray());
                if (v instanceof byte[] by) v = HexFormat.of().formatHex(by);
                b.append(v == null ? "null" : v.getClass().getSimpleName() + ":" + v).append(i < n ? "," : ";");
            }
        }
        return b.toString();
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> env = System.getenv();
        for (String mode : new String[] {"extended", "simple", "extendedForPrepared", "extendedCacheEverything"}) {
            Properties p = new Properties();
            p.setProperty("user", env.get("PGUSER"));
            p.setProperty("password", env.get("PGPASSWORD"));
            p.setProperty("sslmode", "verify-full");
            p.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
            p.setProperty("preferQueryMode", mode);
            p.setProperty("ApplicationName", "client");
            String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
            try (Connection c = DriverManager.getConnection(url, p)) {
                say("mode", mode);
                run(c, mode);
            }
        }
    }

    static void run(Connection c, String mode) throws SQLException {
        try (Statement s = c.createStatement()) {
            say("one", rows(s.executeQuery("SELECT 1, 'a'::text, 1.50::numeric, true, ARRAY[1,2]")));
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO drivers (id, n, t, b, d, ts, u, j, jb, by, a, at, f, big) VALUES (?, ?, ?, ?, ?, ?, ?, ?::json, ?::jsonb, ?, ?, ?, ?, ?) RETURNING id")) {
            s.setInt(1, 1);
            s.setBigDecimal(2, new BigDecimal("12345.67"));
            s.setString(3, "it's \"\u00fcn\u00ef\" \\ \u2603");
            s.setBoolean(4, true);
            s.setDate(5, java.sql.Date.valueOf("2024-02-29"));
            s.setObject(6, java.time.OffsetDateTime.parse("2024-02-29T12:34:56.789Z"));
            s.setObject(7, UUID.fromString("00000000-0000-4000-8000-000000000001"));
            s.setString(8, "{\"a\": [1, null]}");
            s.setString(9, "{\"b\": \"x\"}");
            if (mode.equals("simple")) { // this driver writes no bytes and no arrays into a text
                s.setNull(10, Types.BINARY);
                s.setNull(11, Types.ARRAY);
                s.setNull(12, Types.ARRAY);
            } else {
                s.setBytes(10, new byte[] {0, (byte) 255, (byte) 222});
                s.setArray(11, c.createArrayOf("int4", new Integer[] {1, 2, 3}));
                s.setArray(12, c.createArrayOf("text", new String[] {"x", "b c", null}));
            }
            s.setDouble(13, 1.5);
            s.setLong(14, 1L << 40);
            say("insert", rows(s.executeQuery()));
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO drivers (id, t, n) VALUES (?, ?, ?)")) {
            s.setInt(1, 2);
            s.setNull(2, Types.VARCHAR);
            s.setNull(3, Types.NUMERIC);
            say("nulls", s.executeUpdate());
        }
        try (Statement s = c.createStatement(); ResultSet rs = s.executeQuery("SELECT * FROM drivers ORDER BY id")) {
            ResultSetMetaData m = rs.getMetaData();
            for (int i = 1; i <= m.getColumnCount(); i++) say("column", m.getColumnLabel(i), m.getColumnTypeName(i), m.getColumnClassName(i), m.isAutoIncrement(i), m.isNullable(i), m.getPrecision(i), m.getScale(i));
            say("select", rows(rs));
        }
        try (PreparedStatement s = c.prepareStatement("SELECT name, price FROM products WHERE id = ?")) {
            for (int i = 1; i <= 8; i++) { // from the fifth on it is prepared on the server, and binary
                s.setInt(1, i);
                say("prepared", rows(s.executeQuery()));
            }
        }
        c.setAutoCommit(false);
        Savepoint sp = c.setSavepoint();
        fails("duplicate", () -> { try (Statement s = c.createStatement()) { s.executeUpdate("INSERT INTO drivers (id) VALUES (1)"); } });
        fails("aborted", () -> { try (Statement s = c.createStatement()) { s.executeQuery("SELECT 1"); } });
        c.rollback(sp);
        try (Statement s = c.createStatement()) {
            say("update", s.executeUpdate("UPDATE drivers SET t = 'changed' WHERE id = 2"));
        }
        c.rollback();
        try (PreparedStatement s = c.prepareStatement("INSERT INTO drivers (id, t) VALUES (?, ?)")) {
            for (int i = 0; i < 300; i++) {
                s.setInt(1, 100 + i);
                s.setString(2, "v" + i);
                s.addBatch();
            }
            say("batch", Arrays.stream(s.executeBatch()).sum());
        }
        try (PreparedStatement s = c.prepareStatement("SELECT id FROM drivers WHERE id >= ? ORDER BY id")) {
            s.setFetchSize(50); // portals with row limits
            s.setInt(1, 100);
            long sum = 0;
            try (ResultSet rs = s.executeQuery()) { while (rs.next()) sum += rs.getInt(1); }
            say("fetch size", sum);
        }
        c.commit();
        c.setAutoCommit(true);
        fails("division", () -> { try (Statement s = c.createStatement()) { s.executeQuery("SELECT 1/0"); } });
        fails("syntax", () -> { try (Statement s = c.createStatement()) { s.executeQuery("SELEC"); } });
        fails("no table", () -> { try (Statement s = c.createStatement()) { s.executeQuery("SELECT * FROM nowhere"); } });
        c.setReadOnly(true);
        fails("read only", () -> { try (Statement s = c.createStatement()) { s.execute("BEGIN"); s.execute("ROLLBACK"); } });
        c.setReadOnly(false);
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        try (Statement s = c.createStatement()) {
            say("multi", s.execute("SELECT 1; SELECT 2"), s.getMoreResults());
            say("escapes", rows(s.executeQuery("SELECT {fn ucase('x')}, {d '2024-01-02'}")));
            say("delete", s.executeUpdate("DELETE FROM drivers"));
            say("labelled", rows(s.executeQuery("SELECT id, email, birth_date FROM customers WHERE id < 4 ORDER BY id")));
        }
        say("valid", c.isValid(5));
    }
}
