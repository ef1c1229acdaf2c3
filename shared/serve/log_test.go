package serve_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// logged returns what is written to stderr by a process of the function test.
func logged(t *testing.T, environ map[string]string, write func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, logger := os.Stderr, slog.Default()
	os.Stderr = w
	defer func() { os.Stderr = stderr; slog.SetDefault(logger) }()
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return &fn{}, nil })
	i.StartLog(environ)
	if err := i.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	write()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "logging/config.go") }) // Knative's own, of its start
	return strings.Join(lines, "")
}

func TestALineOfTheLogIsOneObjectWhateverItsTexts(t *testing.T) {
	text := logged(t, nil, func() { slog.Warn("event refused", "error", "a\n{\"severity\":\"ERROR\"}\r\x1b[2J") })
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil || strings.Count(text, "\n") != 1 {
		t.Fatalf("%q: %v", text, err)
	}
	if line["severity"] != "WARNING" || line["message"] != "event refused" || line["logger"] != "test" || line["error"] != "a\n{\"severity\":\"ERROR\"}\r\x1b[2J" {
		t.Errorf("%v", line)
	}
}

func TestKnativesConfigurationSetsTheLevelOfTheLog(t *testing.T) {
	write := func() { slog.Debug("all of it"); slog.Info("some"); slog.Error("worst") }
	lines := func(config string) (messages string) {
		for line := range strings.Lines(logged(t, map[string]string{"K_LOGGING_CONFIG": config}, write)) {
			var of struct{ Message string }
			if err := json.Unmarshal([]byte(line), &of); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			messages += of.Message + ";"
		}
		return messages
	}
	for config, want := range map[string]string{
		"":                           "some;worst;",
		`{"loglevel.test":"error"}`:  "worst;",
		`{"loglevel.test":"debug"}`:  "all of it;some;worst;",
		`{"loglevel.other":"error"}`: "some;worst;",
		`level: debug`:               "logging as by default: K_LOGGING_CONFIG cannot be read;some;worst;",
	} {
		if got := lines(config); got != want {
			t.Errorf("with %q: %s, want %s", config, got, want)
		}
	}
}
