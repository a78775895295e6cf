import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;

/** What a JDBC tool does with a node; each line of output is `case: what came of it`. */
public final class Matrix {
    private interface Step {
        String run() throws Exception;
    }

    private static void say(String name, Step step) {
        String line;
        try {
            line = step.run();
        } catch (SQLException refused) {
            Throwable last = refused;
            while (last.getCause() != null) {
                last = last.getCause();
            }
            line = "refused " + last.getMessage();
        } catch (Throwable broken) {
            line = "broken " + broken;
        }
        System.out.println(name + ": " + line.replace('\n', ' '));
    }

    private static String rows(ResultSet found) throws SQLException {
        ResultSetMetaData shape = found.getMetaData();
        List<String> lines = new ArrayList<>();
        while (found.next()) {
            List<String> cells = new ArrayList<>();
            for (int column = 1; column <= shape.getColumnCount(); column++) {
                cells.add(String.valueOf(found.getObject(column)));
            }
            lines.add(String.join(",", cells));
        }
        found.close();
        return String.join(" ", lines);
    }

    private static String names(ResultSet found, String column) throws SQLException {
        List<String> names = new ArrayList<>();
        while (found.next()) {
            names.add(found.getString(column));
        }
        found.close();
        return String.join(" ", names);
    }

    private static String query(Connection to, String sql) throws SQLException {
        try (Statement statement = to.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    private static String bound(Connection to, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = to.prepareStatement(sql)) {
            for (int number = 0; number < values.length; number++) {
                statement.setObject(number + 1, values[number]);
            }
            return rows(statement.executeQuery());
        }
    }

    private static String cancelled(Connection to, String sql) throws SQLException {
        try (Statement statement = to.createStatement()) {
            ResultSet found = statement.executeQuery(sql);
            found.next();
            statement.cancel();
            int more = 0;
            try {
                while (found.next()) {
                    more++;
                }
            } catch (SQLException stopped) {
                return "stopped";
            }
            return more < 200_000 ? "stopped" : "went on";
        }
    }

    public static void main(String[] args) throws Exception {
        String url = args[0];
        String schema = args[1];
        String stranger = args[2];
        try (Connection to = DriverManager.getConnection(url)) {
            say("plain", () -> query(to, "select grp, count(*) n from " + schema + ".t group by 1 order by 1 limit 2"));
            say("parameters", () -> bound(to, "select count(*) n from " + schema + ".t where id < ? and grp = ?", 70L, "g1"));
            say("dictionary", () -> query(to, "select distinct kind from " + schema + ".t order by 1"));
            say("denied", () -> query(to, "select secret from " + schema + ".t"));
            say("wrong agreement", () -> query(to, "select id from agreement_aaaaaaaa.t"));
            say("wrong parameters", () -> bound(to, "select id from " + schema + ".t where id = ?"));
            say("write", () -> query(to, "delete from " + schema + ".t"));
            say("cancelled", () -> cancelled(to, "select a.id, b.grp from " + schema + ".t a, " + schema + ".t b"));
            say("after", () -> query(to, "select count(*) n from " + schema + ".t"));
            DatabaseMetaData about = to.getMetaData();
            say("product", () -> about.getDatabaseProductName() + " " + about.isReadOnly());
            say("catalogs", () -> names(about.getCatalogs(), "TABLE_CAT"));
            say("schemas", () -> names(about.getSchemas(), "TABLE_SCHEM"));
            say("tables", () -> names(about.getTables(null, schema, "%", null), "TABLE_NAME"));
            say("types", () -> names(about.getTableTypes(), "TABLE_TYPE"));
            say("columns", () -> names(about.getColumns(null, schema, "t", "%"), "COLUMN_NAME"));
            say("primary keys", () -> names(about.getPrimaryKeys(null, schema, "t"), "COLUMN_NAME"));
            say("exported keys", () -> names(about.getExportedKeys(null, schema, "t"), "FKTABLE_NAME"));
            say("imported keys", () -> names(about.getImportedKeys(null, schema, "t"), "FKTABLE_NAME"));
            say("cross", () -> names(about.getCrossReference(null, schema, "t", null, schema, "t"), "FKTABLE_NAME"));
            say("type info", () -> names(about.getTypeInfo(), "TYPE_NAME"));
        }
        String named = schema.substring("agreement_".length());
        say("header", () -> {
            try (Connection to = DriverManager.getConnection(url + "&trustnode-agreement=" + named)) {
                return query(to, "select count(*) n from t");
            }
        });
        say("no certificate", () -> {
            try (Connection to = DriverManager.getConnection(stranger)) {
                return query(to, "select 1");
            }
        });
        System.exit(0);
    }
}
