package chdb_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
	"github.com/m7pulse/m7pulse/infra/local/library"
)

// The engine serves one path per process, so everything that needs it runs in a process of its own: this binary again, with the path in its environment.
const pathVariable = "CHDB_TEST_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(pathVariable); path != "" {
		if err := engine(path, os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// engine runs the statements one after the other and prints what they give.
func engine(path string, statements []string) error {
	lib, err := chdb.Open(os.Getenv("CHDB_TEST_LIBRARY"))
	if err != nil {
		return err
	}
	conn, err := lib.Connect(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, text := range statements {
		if stream, ok := strings.CutPrefix(text, "stream:"); ok {
			err = conn.Stream(stream, "TSV", nil, func(data []byte, _ chdb.Stats) error {
				_, err := os.Stdout.Write(data)
				return err
			})
		} else {
			var data []byte
			data, _, err = conn.Query(text, "TSV", map[string]string{"who": "Ada"})
			os.Stdout.Write(data)
		}
		if err != nil {
			var engine chdb.Error
			if errors.As(err, &engine) {
				os.Stdout.WriteString("engine: ")
			}
			return err
		}
	}
	return nil
}

func run(t *testing.T, path string, env []string, statements ...string) (string, error) {
	t.Helper()
	so, err := library.Fetch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], statements...)
	cmd.Env = append(append(os.Environ(), pathVariable+"="+path, "CHDB_TEST_LIBRARY="+so), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestStatementsParametersAndStreams(t *testing.T) {
	out, err := run(t, t.TempDir(), nil, "SELECT {who:String}", "stream:SELECT number FROM numbers(3)")
	if err != nil || out != "Ada\n0\n1\n2\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestTheEngineIsInUTCWhateverTheHostIs(t *testing.T) {
	out, err := run(t, t.TempDir(), []string{"TZ=Asia/Kolkata"}, "SELECT timezone(), toString(toDateTime(0))")
	if err != nil || out != "UTC\t1970-01-01 00:00:00\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestTheEnginesErrorIsTyped(t *testing.T) {
	out, err := run(t, t.TempDir(), nil, "SELECT nope")
	if err == nil || !strings.HasPrefix(out, "engine: Code: 47. DB::Exception") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAPathThatCannotBeUsedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, file, nil, "SELECT 1"); err == nil || !strings.Contains(out, "the engine cannot open") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAMissingLibraryIsAnError(t *testing.T) {
	if _, err := chdb.Open("/no/such/libchdb.so"); err == nil || !strings.Contains(err.Error(), "load /no/such/libchdb.so") {
		t.Error(err)
	}
}
