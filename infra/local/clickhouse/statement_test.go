package clickhouse

import (
	"errors"
	"strings"
	"testing"
)

func TestDataIsSetApartFromItsInsert(t *testing.T) {
	for _, c := range []struct{ name, input, sql, data string }{
		{"native after a newline", "INSERT INTO t FORMAT Native\n\x09\x01a", "INSERT INTO t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Native", "\x09\x01a"},
		{"a first byte that looks like a line break", "INSERT INTO t FORMAT Native\n\n\x01a", "INSERT INTO t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Native", "\n\x01a"},
		{"a first byte that looks like a blank", "INSERT INTO t FORMAT Native\n \x01a", "INSERT INTO t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Native", " \x01a"},
		{"windows line break", "insert into t format CSV\r\n1,2\r\n", "insert into t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT CSV", "1,2\r\n"},
		{"blank lines and statements in data", "INSERT INTO t FORMAT CSV\n1\n\nDROP TABLE t", "INSERT INTO t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT CSV", "1\n\nDROP TABLE t"},
		{"settings before the format", "INSERT INTO t (a, b) SETTINGS x = 1 FORMAT TSV\n1\t2", "INSERT INTO t (a, b)  FROM INFILE 'F' COMPRESSION 'none' SETTINGS x = 1  FORMAT TSV", "1\t2"},
		{"values", "INSERT INTO t (a) VALUES (1), ('\n\n;')", "INSERT INTO t (a)  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Values", " (1), ('\n\n;')"},
		{"a table named values", "INSERT INTO values VALUES (1)", "INSERT INTO values  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Values", " (1)"},
		{"a table named format in a database", "INSERT INTO d.format FORMAT TSV\n1", "INSERT INTO d.format  FROM INFILE 'F' COMPRESSION 'none'  FORMAT TSV", "1"},
		{"a column named format", "INSERT INTO t (format, `values`) FORMAT TSV\n1", "INSERT INTO t (format, `values`)  FROM INFILE 'F' COMPRESSION 'none'  FORMAT TSV", "1"},
		{"a format named in comments and quotes", "INSERT /* FORMAT a */ INTO \"FORMAT b\" -- VALUES\n FORMAT TSV\n1", "INSERT /* FORMAT a */ INTO \"FORMAT b\" -- VALUES\n  FROM INFILE 'F' COMPRESSION 'none'  FORMAT TSV", "1"},
		{"a table named input", "INSERT INTO input (a) VALUES (1)", "INSERT INTO input (a)  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Values", " (1)"},
		{"no data, a semicolon", "INSERT INTO t FORMAT Native ;\n", "INSERT INTO t  FROM INFILE 'F' COMPRESSION 'none'  FORMAT Native", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, err := inspect([]byte(c.input))
			if err != nil {
				t.Fatal(err)
			}
			if st.insert == nil {
				t.Fatal("no data was found")
			}
			if got := st.insert.withFile("F"); got != c.sql {
				t.Errorf("statement %q, want %q", got, c.sql)
			}
			if got := c.input[st.insert.data:]; got != c.data {
				t.Errorf("data %q, want %q", got, c.data)
			}
		})
	}
}

func TestOneStatementPasses(t *testing.T) {
	for input, want := range map[string]statement{
		"SELECT 1": {sql: "SELECT 1", verb: "SELECT"},
		" /* a /* nested */ one */ select 1 ; ; -- x":     {sql: " /* a /* nested */ one */ select 1 ", verb: "SELECT"},
		"SELECT ';' || `;` || $$;$$ || $a$ ; $a$":         {sql: "SELECT ';' || `;` || $$;$$ || $a$ ; $a$", verb: "SELECT"},
		`SELECT 'a\';', 'b'';' FORMAT JSON`:               {sql: `SELECT 'a\';', 'b'';' FORMAT JSON`, verb: "SELECT", format: "JSON"},
		"SELECT 1 FORMAT CSV SETTINGS max_threads = 1;":   {sql: "SELECT 1 FORMAT CSV SETTINGS max_threads = 1", verb: "SELECT", format: "CSV"},
		"SELECT g, sum(x) FROM t GROUP BY g WITH TOTALS":  {sql: "SELECT g, sum(x) FROM t GROUP BY g WITH TOTALS", verb: "SELECT", totals: true},
		"INSERT INTO t SELECT 1":                          {sql: "INSERT INTO t SELECT 1", verb: "INSERT"},
		"(SELECT 1) UNION ALL (SELECT 2)":                 {sql: "(SELECT 1) UNION ALL (SELECT 2)", verb: "("},
		"SELECT insert FROM t FORMAT TSV":                 {sql: "SELECT insert FROM t FORMAT TSV", verb: "SELECT", format: "TSV"},
		"SELECT outfile, infile FROM outfile AS format_x": {sql: "SELECT outfile, infile FROM outfile AS format_x", verb: "SELECT"},
	} {
		got, err := inspect([]byte(input))
		if err != nil {
			t.Errorf("%s: %v", input, err)
			continue
		}
		if got.sql != want.sql || got.verb != want.verb || got.format != want.format || got.totals != want.totals || got.insert != nil {
			t.Errorf("%s: got %+v, want %+v", input, got, want)
		}
	}
}

func TestWhatTheEngineWouldDoMoreIsRefused(t *testing.T) {
	for input, code := range map[string]int{
		"SELECT 1; SELECT 2":                               codeSyntax,
		"INSERT INTO t VALUES (1); DROP TABLE t":           codeSyntax,
		"SELECT 1;\n-- x\nDROP TABLE t":                    codeSyntax,
		"SELECT 'a\\\\'; DROP TABLE t; --'":                codeSyntax,
		"SELECT 1 /* */ ; DROP TABLE t /* */":              codeSyntax,
		"SELECT 1$$;DROP TABLE t;$$":                       codeSyntax,
		"SELECT \u2018;\u2019":                             codeSyntax,
		"SELECT 1 \\G SELECT 2":                            codeSyntax,
		"SELECT 1 \x00; SELECT 2":                          codeSyntax,
		"SELECT 'open":                                     codeSyntax,
		"SELECT 1 /* open":                                 codeSyntax,
		"":                                                 codeSyntax,
		" ; ":                                              codeSyntax,
		"SELECT 1 INTO OUTFILE 'f'":                        codeNotImplemented,
		"select 1 into /* x */ outfile $$f$$ truncate":     codeNotImplemented,
		"WITH 1 AS x SELECT x INTO OUTFILE 'f' FORMAT CSV": codeNotImplemented,
		"INSERT INTO t FROM INFILE 'f' FORMAT CSV":         codeNotImplemented,
		"INSERT INTO t SELECT * FROM input('a UInt8') FORMAT TSV":                       codeNotImplemented,
		"INSERT INTO t SELECT * FROM `input`('a UInt8')":                                codeNotImplemented,
		"INSERT INTO FUNCTION input('a UInt8') VALUES (1)":                              codeNotImplemented,
		"INSERT INTO t (a) \x01\x02":                                                    codeSyntax,
		"INSERT INTO t SELECT 1 FORMAT TSV\n1":                                          codeSyntax,
		"INSERT INTO t FORMAT":                                                          codeSyntax,
		"INSERT INTO t FORMAT CSV SETTINGS a = 1\n1":                                    codeSyntax,
		"EXPLAIN INSERT INTO t VALUES (1)\n\nDROP TABLE t":                              codeSyntax,
		"WITH 1 AS x INSERT INTO t FORMAT CSV 1\n\nDROP TABLE t":                        codeSyntax,
		"INSERT INTO t SELECT 1 PARALLEL WITH INSERT INTO t VALUES (1)\n\nDROP TABLE t": codeNotImplemented,
	} {
		_, err := inspect([]byte(input))
		var e *exception
		if !errors.As(err, &e) || e.code != code {
			t.Errorf("%q: got %v, want code %d", input, err, code)
		}
	}
}

func TestCallsAreFoundWhateverTheirQuotesAndCase(t *testing.T) {
	st, err := inspect([]byte("SELECT `File`('a'), \"url\" /* x */ ('b') FROM t WHERE (x)"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(st.calls, " "); got != "file url where" {
		t.Errorf("calls: %s", got)
	}
}

// FuzzInspect holds that whatever comes, a statement that passes is one: read again, with another behind it, it is refused; and that no byte of data is
// lost or taken into the statement.
func FuzzInspect(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1", "INSERT INTO t FORMAT Native\n\x09\x01", "INSERT INTO t (a) VALUES (1)", "SELECT ';' /* ; */ -- ;\n;", "SELECT $a$;$a$",
		"INSERT INTO t SETTINGS a=1 FORMAT CSV\r\n1", "WITH x AS (SELECT 1) SELECT * FROM x FORMAT JSON", "SELECT 1 # x\n ; SELECT 2",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		st, err := inspect(input)
		if err != nil {
			var e *exception
			if !errors.As(err, &e) {
				t.Fatalf("an untyped error: %v", err)
			}
			return
		}
		if st.insert == nil {
			if !strings.HasPrefix(string(input), st.sql) {
				t.Fatalf("%q is not the start of %q", st.sql, input)
			}
			if again, err := inspect([]byte(st.sql)); err != nil || again.sql != st.sql {
				t.Fatalf("%q passed once, and then: %v", st.sql, err)
			}
			if _, err := inspect([]byte(st.sql + "\n; DROP TABLE t")); err == nil {
				t.Fatalf("a statement behind %q passes", st.sql)
			}
			return
		}
		if st.insert.sql && (st.insert.to < st.insert.data || st.insert.to > len(input)) {
			t.Fatalf("values of %q end at %d", input, st.insert.to)
		}
		if at := st.insert.data; at < len(st.insert.head) || at > len(input) {
			t.Fatalf("data of %q at %d", input, at)
		}
		// The rewritten statement must be one to our own reader too, but for the INFILE that it refuses to anybody else.
		if _, err := inspect([]byte(st.insert.head + st.insert.settings + "\n; DROP TABLE t")); err == nil {
			t.Fatalf("a statement behind %q passes", st.insert.head)
		}
	})
}
