package clickhouse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// The engine serves one path per process, and some tests kill it: so it runs in a process of its own, which is this binary again.
// It may start itself again, at the same address.
const dirVariable, libraryVariable, addressVariable = "CLICKHOUSE_TEST_DIR", "CLICKHOUSE_TEST_LIBRARY", "CLICKHOUSE_TEST_ADDRESS"

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	signal.Ignore(syscall.SIGXFSZ) // a file that may not grow is an error of write
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := Serve(ctx, Config{
		Library: os.Getenv(libraryVariable), DataDir: dir, Addr: os.Getenv(addressVariable),
		Reader: Reader{User: "reader", Password: "look", MaxExecutionTime: 7 * time.Second},
		Log:    slog.New(slog.DiscardHandler),
		Ready:  func(addr net.Addr, _ string) { fmt.Println("ready", addr) },
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

type engine struct {
	addr string
	cmd  *exec.Cmd
}

// start runs an engine on dir until the test ends. Its host is in a zone that is not UTC.
func start(t *testing.T, dir string) engine {
	t.Helper()
	so, err := library.Fetch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, libraryVariable+"="+so, addressVariable+"="+address, "TZ=Asia/Kolkata")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the engine's end: %v", err)
			}
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		t.Fatalf("the engine did not start: %s %v", line, err)
	}
	return engine{addr, cmd}
}

func (e engine) connect(t *testing.T, user, password string) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{e.addr}, Protocol: clickhouse.HTTP, Auth: clickhouse.Auth{Username: user, Password: password},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// post sends a statement by hand and returns status, code and text.
func (e engine) post(t *testing.T, values, body string, header ...string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.addr+"/?"+values, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("X-ClickHouse-Exception-Code"), strings.TrimSpace(string(text))
}

func exec1(t *testing.T, conn driver.Conn, statement string) {
	t.Helper()
	if err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func wantCode(t *testing.T, what string, err error, code int32) {
	t.Helper()
	var e *clickhouse.Exception
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: got %v, want code %d", what, err, code)
	}
}

func TestRowsComeBackAsTheyWereSentWhateverTheirBytes(t *testing.T) {
	e := start(t, t.TempDir())
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP, clickhouse.CompressionBrotli} {
		t.Run(method.String(), func(t *testing.T) {
			conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{e.addr}, Protocol: clickhouse.HTTP, Compression: &clickhouse.Compression{Method: method, Level: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			name := "d.t_" + method.String()
			exec1(t, conn, "CREATE DATABASE IF NOT EXISTS d")
			exec1(t, conn, "CREATE TABLE "+name+" (id UInt64, s String, at DateTime64(3)) ENGINE = MergeTree ORDER BY id")
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO "+name)
			if err != nil {
				t.Fatal(err)
			}
			const rows = 20_000
			at := time.UnixMilli(1_753_747_200_123).UTC()
			value := func(i int) string {
				return fmt.Sprintf("row %d\n\nDROP TABLE %s\r\n\t'\\\x00; %s", i, name, strings.Repeat("\n", i%5))
			}
			for i := range rows {
				if err := batch.Append(uint64(i), value(i), at.Add(time.Duration(i)*time.Millisecond)); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			got, err := conn.Query(t.Context(), "SELECT id, s, at FROM "+name+" ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			n := 0
			for ; got.Next(); n++ {
				var (
					id   uint64
					s    string
					when time.Time
				)
				if err := got.Scan(&id, &s, &when); err != nil {
					t.Fatal(err)
				}
				if id != uint64(n) || s != value(n) || !when.Equal(at.Add(time.Duration(n)*time.Millisecond)) {
					t.Fatalf("row %d: %d %q %v", n, id, s, when)
				}
			}
			if err := got.Err(); err != nil || n != rows {
				t.Fatalf("%d rows, %v", n, err)
			}
		})
	}
}

func TestAnyNumberOfColumnsSurvivesTheSplit(t *testing.T) {
	e := start(t, t.TempDir())
	conn := e.connect(t, "", "")
	exec1(t, conn, "CREATE DATABASE d")
	for _, columns := range []int{8, 9, 10, 11, 12, 13, 32, 34, 39, 59, 96} { // their number is the first byte of the data
		table, row := fmt.Sprintf("d.w%d", columns), make([]any, columns)
		names := make([]string, columns)
		for i := range row {
			names[i], row[i] = fmt.Sprintf("c%d UInt8", i), uint8(i)
		}
		exec1(t, conn, "CREATE TABLE "+table+" ("+strings.Join(names, ", ")+") ENGINE = MergeTree ORDER BY c0")
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO "+table)
		if err != nil {
			t.Fatal(err)
		}
		for range columns {
			if err := batch.Append(row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
		var count uint64
		var last uint8
		if err := conn.QueryRow(t.Context(), fmt.Sprintf("SELECT count(), max(c%d) FROM %s", columns-1, table)).Scan(&count, &last); err != nil || count != uint64(columns) || int(last) != columns-1 {
			t.Errorf("%d columns: %d rows, last %d, %v", columns, count, last, err)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	e := start(t, t.TempDir())
	conn := e.connect(t, "", "")
	ctx := t.Context()
	wantCode(t, "unknown table", conn.Exec(ctx, "INSERT INTO nope VALUES (1)"), 60)
	wantCode(t, "unknown database", conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"nope": 1})), "SELECT 1"), 115)
	wantCode(t, "second statement", conn.Exec(ctx, "SELECT 1; SELECT 2"), 62)
	rows, err := conn.Query(ctx, "SELECT throwIf(number = 3000000, 'boom') FROM numbers(5000000)")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	wantCode(t, "in mid-stream", err, 395)
	wantCode(t, "over time", conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 1})), "SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1"), 159)
	wantCode(t, "wrong password", e.connect(t, "reader", "wrong").Ping(ctx), 516)
	wantCode(t, "unknown user", e.connect(t, "somebody", "").Ping(ctx), 516)
	if status, code, text := e.post(t, "query=SELECT+nope", ""); status != 404 || code != "47" || !strings.HasPrefix(text, "Code: 47. DB::Exception:") {
		t.Error(status, code, text)
	}
	if status, code, text := e.post(t, "query=SELECT+1", "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n1\r\n--x--\r\n", "Content-Type", "multipart/form-data; boundary=x"); status != 501 || code != "48" {
		t.Error(status, code, text)
	}
}

func TestValuesParametersAndSessions(t *testing.T) {
	e := start(t, t.TempDir())
	for _, c := range []struct{ query, body, want string }{
		{"", "CREATE DATABASE d", ""},
		{"", "CREATE TABLE d.t (a UInt8, s String) ENGINE = MergeTree ORDER BY a", ""},
		{"query=" + url.QueryEscape("INSERT INTO d.t FORMAT CSV"), "1,\"x\n\nDROP TABLE d.t\"\n", ""},
		{"database=d", "INSERT INTO t (s, a) VALUES ('b;\n\n', 1 + 1), (upper('c'), 3)", ""},
		{"database=d", "INSERT INTO t SETTINGS max_threads = 1 VALUES (4, 'd');", ""},
		{"param_a=2", "SELECT hex(s) FROM d.t WHERE a = {a:UInt8}", "623B0A0A"},
		{"", "SELECT count() FROM d.t FORMAT JSONCompactEachRow", "[4]"},
		{"session_id=s&max_threads=3", "CREATE TEMPORARY TABLE x AS SELECT getSetting('max_threads') AS n", ""},
		{"session_id=s", "SELECT n, getSetting('max_threads') = n, getSetting('max_execution_time') FROM x", "3\t0\t300"},
		{"", "SELECT getSetting('max_execution_time'), getSetting('max_memory_usage')", "300\t4294967296"},
		{"max_execution_time=900", "SELECT getSetting('max_execution_time')", "900"},
		{"", "SELECT timezone(), toString(toDateTime(0)), toHour(toDateTime(0))", "UTC\t1970-01-01 00:00:00\t0"},
		{"", "SELECT a, count() FROM d.t GROUP BY a WITH TOTALS ORDER BY a LIMIT 1", "1\t1\n\n0\t4"},
		{"", "DESCRIBE TABLE d.t FORMAT JSONCompactEachRow", `["a", "UInt8", "", "", "", "", ""]` + "\n" + `["s", "String", "", "", "", "", ""]`},
	} {
		if status, code, text := e.post(t, c.query, c.body); status != 200 || text != c.want {
			t.Errorf("%s: %d %s %q, want %q", c.body, status, code, text, c.want)
		}
	}
	if status, code, text := e.post(t, "", "INSERT INTO d.t VALUES (9, 'x'); DROP TABLE d.t"); status == 200 {
		t.Error("a statement behind VALUES:", status, code, text)
	}
	if status, _, text := e.post(t, "session_id=s", "SELECT count() FROM d.t"); status != 200 || text != "4" {
		t.Error("after it:", status, text)
	}
}

func TestReadersReadAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	e := start(t, filepath.Join(dir, "data"))
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := e.connect(t, "", "")
	exec1(t, full, "CREATE DATABASE d")
	exec1(t, full, "CREATE TABLE d.t (a UInt8) ENGINE = MergeTree ORDER BY a")
	exec1(t, full, "INSERT INTO d.t VALUES (1)")
	reader := e.connect(t, "reader", "look")
	var sum uint64
	if err := reader.QueryRow(t.Context(), "SELECT sum(a) FROM d.t").Scan(&sum); err != nil || sum != 1 {
		t.Errorf("sum %d, %v", sum, err)
	}
	var limits string
	if err := reader.QueryRow(t.Context(), "SELECT concat(toString(getSetting('readonly')), ' ', toString(getSetting('max_execution_time')), ' ', toString(getSetting('max_memory_usage')))").Scan(&limits); err != nil || limits != "1 7 2147483648" {
		t.Errorf("limits %q, %v", limits, err)
	}
	for _, statement := range []string{
		"INSERT INTO d.t VALUES (2)", "INSERT INTO d.t SELECT 2", "CREATE TABLE d.u (a UInt8) ENGINE = Memory", "DROP TABLE d.t", "TRUNCATE TABLE d.t",
		"SET max_execution_time = 0", "SELECT 1 SETTINGS max_execution_time = 0", "SELECT 1 SETTINGS readonly = 0", "KILL QUERY WHERE 1", "SYSTEM FLUSH LOGS",
		"SELECT file('" + secret + "')", "SELECT * FROM file('" + secret + "', 'LineAsString')", "DESCRIBE file('" + secret + "', 'LineAsString')",
		"DESCRIBE TABLE file('" + secret + "', 'LineAsString')", "DESCRIBE TABLE `file`('" + secret + "', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1', 'CSV', 'a String')", "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')",
	} {
		wantCode(t, statement, reader.Exec(t.Context(), statement), codeReadonly)
	}
	wantCode(t, "INTO OUTFILE", reader.Exec(t.Context(), "SELECT 1 INTO OUTFILE '"+secret+".out'"), codeNotImplemented)
	for name, value := range map[string]any{"max_execution_time": 100, "max_memory_usage": 0, "max_threads": 1} {
		wantCode(t, "setting "+name, reader.Exec(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{name: value})), "SELECT 1"), codeReadonly)
	}
	if err := reader.Exec(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 3, "readonly": 2})), "SELECT 1"); err != nil {
		t.Errorf("less time: %v", err)
	}
	if status, code, text := e.post(t, "readonly=0&session_id=s&user=reader&password=look", "INSERT INTO d.t SELECT 3"); status != 403 || code != "164" {
		t.Error("by URL:", status, code, text)
	}
	if err := full.QueryRow(t.Context(), "SELECT sum(a) FROM d.t").Scan(&sum); err != nil || sum != 1 {
		t.Errorf("after all that: sum %d, %v", sum, err)
	}
}

func TestAGetAndAStrangersPageChangeNothing(t *testing.T) {
	e := start(t, t.TempDir())
	resp, err := http.Get("http://" + e.addr + "/?query=CREATE+DATABASE+d")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("X-ClickHouse-Exception-Code"); got != "164" {
		t.Errorf("GET: code %q", got)
	}
	if status, _, text := e.post(t, "", "CREATE DATABASE d", "Sec-Fetch-Site", "cross-site"); status != 403 {
		t.Error("cross-site:", status, text)
	}
}

func TestAQueryEndsWhenItsClientGoes(t *testing.T) {
	e := start(t, t.TempDir())
	conn := e.connect(t, "", "")
	running := func() (n uint64) {
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000000000)%' AND query NOT LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until := func(n uint64) bool {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if running() == n {
				return true
			}
		}
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- conn.Exec(ctx, "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)") }()
	if !until(1) {
		t.Fatal("the query never ran")
	}
	gone := time.Now()
	cancel()
	if err := <-done; err == nil {
		t.Error("the query came to an end")
	}
	if !until(0) {
		t.Fatal("the query still runs")
	}
	t.Logf("killed after %v", time.Since(gone))
}

func TestAcknowledgedRowsSurviveAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e := start(t, dir)
	conn := e.connect(t, "", "")
	exec1(t, conn, "CREATE DATABASE d")
	exec1(t, conn, "CREATE TABLE d.t (a UInt64) ENGINE = MergeTree ORDER BY a")
	const batches, size = 20, 1000
	for i := range batches {
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO d.t")
		if err != nil {
			t.Fatal(err)
		}
		for j := range size {
			if err := batch.Append(uint64(i*size + j)); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e.cmd.Wait()
	var count, distinct uint64
	if err := start(t, dir).connect(t, "", "").QueryRow(t.Context(), "SELECT count(), uniqExact(a) FROM d.t").Scan(&count, &distinct); err != nil || count != batches*size || distinct != count {
		t.Errorf("%d rows, %d distinct, %v", count, distinct, err)
	}
}

func TestADataDirectoryHasOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, dir)
	err := Serve(t.Context(), Config{Library: "unused", DataDir: dir, Addr: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "another process holds") {
		t.Error(err)
	}
}

func TestADataDirectoryThatCannotBeMadeIsOneClearError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Serve(t.Context(), Config{Library: "unused", DataDir: filepath.Join(file, "data"), Addr: "127.0.0.1:0"})
	if err == nil || !strings.HasPrefix(err.Error(), "clickhouse: make the data directory: ") {
		t.Error(err)
	}
}
