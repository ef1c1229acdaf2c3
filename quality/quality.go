// Package quality holds the data of both stores against the suites of infra/quality, by
// Great Expectations, and keeps and announces what it found.
package quality

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/python"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Checker runs the suites.
type Checker struct {
	Source string            // infra/quality: requirements, runner and suites
	Cache  string            // of this user: the Python environment
	Env    map[string]string // where the stores are
	Log    io.Writer         // what the installers and the runner print besides
	Say    func(format string, args ...any)
}

// Order says what to look at.
type Order struct {
	Since      time.Time // observations before it are left out
	Until      time.Time // what was processed after it is on its way
	FreshSince time.Time // the newest observation of each store must not be older
	AtRest     bool      // no function has work left
	Draft      bool      // the draft of pulse reprocess, by the suites that it is held against
	Suites     []string  // by name; all if there are none
}

// Result is what became of one expectation.
type Result struct {
	sinkclickhouse.QualityResult
	Says     string   `json:"says"`
	Examples []string `json:"examples"` // a few of what was not expected
}

// Report is what one run found.
type Report struct {
	At          time.Time `json:"checked_at"`
	Results     []Result  `json:"results"`
	ReadRows    int64     `json:"read_rows"`
	ReadBytes   int64     `json:"read_bytes"`   // as ClickHouse counts, and of Iceberg whole files: more than what is read of them
	LoadSeconds float64   `json:"load_seconds"` // until Great Expectations is there
	Seconds     float64   `json:"seconds"`
}

// Failed are the expectations of a severity that do not hold, or of all if it is "".
func (r *Report) Failed(severity string) (failed []Result) {
	for _, one := range r.Results {
		if !one.Passed && (severity == "" || one.Severity == severity) {
			failed = append(failed, one)
		}
	}
	return failed
}

const (
	// rowsInMemory is how many rows of a table of Iceberg are looked at, the newest
	// days first: some 500 MB.
	rowsInMemory = 2_000_000
	// runLimit is the longest run.
	runLimit = 30 * time.Minute
	// answerLimit is the largest result, in bytes.
	answerLimit = 16 << 20
	stopGrace   = 10 * time.Second
)

// published is where ClickHouse has the observations.
const published = "github_metrics_timeseries"

func (c Checker) environment() python.Environment {
	return python.Environment{
		Name: "quality", Requirements: filepath.Join(c.Source, "requirements.txt"), Cache: c.Cache,
		Making: func() { c.Say("Installing Great Expectations, once (700 MB; it takes minutes) …") },
		Step:   func(number, of int, name string) { c.Say("step %d of %d: %s …", number, of, name) },
	}
}

// Installed says whether Great Expectations is there.
func (c Checker) Installed(ctx context.Context) (bool, error) {
	found, err := c.environment().Find(ctx)
	if err != nil {
		return false, fmt.Errorf("quality: %w", err)
	}
	return found != "", nil
}

// Install brings Great Expectations into the user's cache, if it is not there.
func (c Checker) Install(ctx context.Context) (interpreter string, err error) {
	if interpreter, err = c.environment().Make(ctx, c.Log); err != nil {
		return "", fmt.Errorf("quality: install Great Expectations: %w", err)
	}
	return interpreter, nil
}

// Run evaluates every expectation that the order asks for. That some do not hold is no
// error; that it cannot be said is.
func (c Checker) Run(ctx context.Context, o Order) (*Report, error) {
	interpreter, err := c.Install(ctx)
	if err != nil {
		return nil, err
	}
	env, err := c.settings()
	if err != nil {
		return nil, err
	}
	table := published
	if o.Draft {
		table = sinkclickhouse.DraftTable
	}
	const form = "2006-01-02T15:04:05"
	order, err := json.Marshal(map[string]any{
		"since": o.Since.UTC().Format(form), "until": o.Until.UTC().Format(form), "fresh_since": o.FreshSince.UTC().Format(form), "rest": o.AtRest,
		"database": "pulse", "timeseries": table, "draft": o.Draft, "suites": append([]string{}, o.Suites...), "rows": rowsInMemory,
	})
	if err != nil {
		return nil, fmt.Errorf("quality: write the order: %w", err)
	}
	report := &Report{At: time.Now().UTC().Truncate(time.Millisecond)}
	var out bytes.Buffer
	cmd := exec.Command(interpreter, filepath.Join(c.Source, "check.py"))
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, bytes.NewReader(order), &out, c.Log
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, fmt.Errorf("no result within %s", runLimit))
	defer cancel()
	if err := child.Run(ctx, cmd, stopGrace); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("quality: run Great Expectations: %w", err)
	}
	if out.Len() > answerLimit {
		return nil, fmt.Errorf("quality: the result has %d bytes, more than %d", out.Len(), answerLimit)
	}
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		return nil, fmt.Errorf("quality: read the result: %w", err)
	}
	if len(report.Results) == 0 {
		return nil, errors.New("quality: no expectation was evaluated: want a suite of infra/quality/suites")
	}
	return report, nil
}

// settings is the environment of the runner: where the stores are, and nothing else of
// the stack's.
func (c Checker) settings() ([]string, error) {
	address := c.Env["CLICKHOUSE_READER_URL"]
	u, err := url.Parse(address)
	if err != nil || u.User == nil || u.Host == "" {
		return nil, errors.New("quality: CLICKHOUSE_READER_URL must be http://user:password@host:port of a user who can only read")
	}
	q := url.Values{"autogenerate_session_id": {"false"}}
	if u.Scheme == "https" {
		q.Set("secure", "true")
	}
	env := []string{
		"CLICKHOUSE_URI=" + (&url.URL{Scheme: "clickhousedb", User: u.User, Host: u.Host, Path: "/pulse", RawQuery: q.Encode()}).String(),
		"PYTHONDONTWRITEBYTECODE=1",
	}
	for _, name := range []string{"ICEBERG_CATALOG_URI", "ICEBERG_WAREHOUSE", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} {
		env = append(env, name+"="+c.Env[name])
	}
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_DIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env, nil
}

// CheckDraft holds the draft of days against the critical expectations, and returns
// those that fail.
func (c Checker) CheckDraft(ctx context.Context) (failures []string, err error) {
	report, err := c.Run(ctx, Order{Since: time.Unix(0, 0), Until: time.Now(), Draft: true})
	if err != nil {
		return nil, err
	}
	for _, f := range report.Failed(signal.Critical) {
		failures = append(failures, f.Sentence())
	}
	return failures, nil
}

// Sentence says what was expected and what was seen.
func (r Result) Sentence() string {
	switch {
	case r.Error != "":
		return fmt.Sprintf("%s: %s It could not be evaluated: %s", r.Expectation, r.Says, r.Error)
	case r.Unexpected != nil && *r.Unexpected > 0:
		return fmt.Sprintf("%s: %s Not so in %d", r.Expectation, r.Says, *r.Unexpected)
	case r.Observed != "":
		return fmt.Sprintf("%s: %s Seen: %s", r.Expectation, r.Says, r.Observed)
	}
	return fmt.Sprintf("%s: %s It is not so", r.Expectation, r.Says)
}
