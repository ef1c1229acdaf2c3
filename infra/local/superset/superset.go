// Package superset runs the dashboards of infra/superset on one machine: a Python environment in the user's cache, Superset's own database and secrets
// in the home of the stack, and a server on the loopback.
//
// Limits: Python 3.11 or 3.12 with venv, and a package index for the first time (about 700 MB in the cache). Nothing of it is needed by the pipeline: an
// error here is reported, and all else goes on.
package superset

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/python"
	"github.com/m7pulse/m7pulse/shared/child"
)

// Config says what to run.
type Config struct {
	Source     string // infra/superset: requirements, configuration, installer and bundle
	Dir        string // of this stack: Superset's database, secrets, cache and log
	Cache      string // of this user: the Python environment
	ClickHouse string // http://user:password@host:port of a user who can only read
	Trino      string // http://user@host:port or https://user:password@host:port; empty where there is none
	Port       int    // on the loopback
	Say        func(format string, args ...any)
}

// AdminUser is who can log in; the password is in the file that PasswordFile names.
const AdminUser = "admin"

// PasswordFile is where the admin's password is kept, readable by its owner only.
func (c Config) PasswordFile() string { return filepath.Join(c.Dir, "admin-password") }

// URL is where the dashboards are.
func (c Config) URL() string { return "http://localhost:" + strconv.Itoa(c.Port) }

// Run brings Superset up and serves until ctx ends. Each step that fails ends it with an error that names the log. It is safe to repeat: what is
// installed already is not installed again, and the dashboards are imported only when they, or where they read, have changed.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("superset: make its folder: %w", err)
	}
	password, err := secret(cfg.PasswordFile())
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(cfg.Dir, "superset.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("superset: %w", err)
	}
	defer log.Close()
	python, err := environment(ctx, cfg, log)
	if err != nil {
		return err
	}
	env, err := settings(cfg)
	if err != nil {
		return err
	}
	shown := func(ctx context.Context) (data, error) {
		has, err := contents(ctx, cfg.ClickHouse)
		if err != nil {
			return data{}, failed(cfg, "ask ClickHouse what it has", err)
		}
		return has, install(ctx, cfg, has, python, env, password, log)
	}
	has, err := shown(ctx)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { end(follow(ctx, cfg, has, shown)) }()
	return serve(ctx, cfg, python, env, log)
}

// followEvery is how often ClickHouse is asked whether it has something that dashboards were left out for.
const followEvery = time.Minute

// follow brings the dashboards up again when ClickHouse has what it did not have, until ctx ends: the first events, the first pull requests.
func follow(ctx context.Context, cfg Config, has data, show func(context.Context) (data, error)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followEvery):
		}
		now, err := contents(ctx, cfg.ClickHouse)
		if err != nil || now.folders == has.folders && now.absent == has.absent {
			continue // ClickHouse may be away for a while; the dashboards say so
		}
		if has, err = show(ctx); err != nil {
			return err
		}
	}
}

// secret reads a file of one line, or makes it with a random one.
func secret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("superset: %w", err)
	}
	value := rand.Text()
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("superset: %w", err)
	}
	return value, nil
}

// environment returns the Python of an environment that holds the pinned requirements.
func environment(ctx context.Context, cfg Config, log io.Writer) (string, error) {
	interpreter, err := python.Environment{
		Name: "superset", Requirements: filepath.Join(cfg.Source, "requirements.txt"), Cache: cfg.Cache,
		Making: func() {
			cfg.Say("Superset: installing it in the background, once (700 MB; the first time takes minutes) …")
		},
		Step: func(number, of int, name string) { cfg.Say("Superset: step %d of %d: %s …", number, of, name) },
	}.Make(ctx, log)
	if errors.Is(err, python.ErrNone) {
		return "", fmt.Errorf("superset: %w", err)
	}
	if err != nil {
		return "", failed(cfg, "install it", err)
	}
	return interpreter, nil
}

// settings is the environment of Superset's processes: what superset_config.py reads, and no secret of the stack.
func settings(cfg Config) ([]string, error) {
	key, err := secret(filepath.Join(cfg.Dir, "secret-key"))
	if err != nil {
		return nil, err
	}
	env := []string{
		"SUPERSET_CONFIG_PATH=" + filepath.Join(cfg.Source, "superset_config.py"),
		"SUPERSET_SECRET_KEY=" + key,
		"SUPERSET_DB=" + filepath.Join(cfg.Dir, "superset.db"),
		"SUPERSET_CACHE=" + filepath.Join(cfg.Dir, "cache"),
		"PYTHONDONTWRITEBYTECODE=1", // beside superset_config.py
	}
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env, nil
}

// install brings Superset's own database to what the bundle says, unless it is there already.
func install(ctx context.Context, cfg Config, has data, python string, env []string, password string, log io.Writer) error {
	clickHouse, err := clickHouseURI(cfg.ClickHouse)
	if err != nil {
		return err
	}
	trino, err := trinoURI(cfg.Trino)
	if err != nil {
		return err
	}
	state, err := digest(cfg.Source, python, clickHouse, trino, has.folders, has.choices, has.absent)
	if err != nil {
		return err
	}
	marker := filepath.Join(cfg.Dir, "installed")
	if b, err := os.ReadFile(marker); err == nil && string(b) == state {
		return nil
	}
	steps, stdout := io.Pipe()
	cmd := exec.Command(python, filepath.Join(cfg.Source, "install.py"), AdminUser)
	cmd.Env = append(env, "CLICKHOUSE_URI="+clickHouse, "TRINO_URI="+trino, "FOLDERS="+has.folders, "CHOICES="+has.choices, "ABSENT="+has.absent)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(password+"\n"), stdout, log
	ended := make(chan error, 1)
	go func() {
		err := child.Run(ctx, cmd, stopGrace)
		_ = stdout.Close() // always nil
		ended <- err
	}()
	last, complete := "start", true
	for lines := bufio.NewScanner(steps); lines.Scan(); {
		if step, ok := strings.CutPrefix(lines.Text(), "step: "); ok {
			last = step
			cfg.Say("Superset: %s …", step)
		}
		if left, ok := strings.CutPrefix(lines.Text(), "later: "); ok {
			complete = false
			cfg.Say("Superset: %s.", left)
		}
	}
	_ = steps.Close() // a line that is too long must not block the process
	if err := <-ended; err != nil {
		return failed(cfg, last, err)
	}
	if !complete {
		return nil
	}
	return os.WriteFile(marker, []byte(state), 0o600)
}

// data is what ClickHouse has, so far as it decides which dashboards and charts there are.
type data struct {
	folders string // those beside bundle that it has data for, separated by commas
	choices string // what filters may choose at first, as JSON by column; empty if there is nothing yet
	absent  string // signals of the dataset "flows" that no repository has and no sweep will bring, separated by commas
}

// contents asks ClickHouse what it has.
func contents(ctx context.Context, address string) (has data, err error) {
	if has.folders, err = offered(ctx, address); err != nil {
		return data{}, err
	}
	if has.choices, err = choices(ctx, address); err != nil || has.choices == "" {
		return has, err
	}
	// While all was recorded, what the recording lacks is not waited for.
	has.absent, err = answer(ctx, address, `SELECT if(max(source) = 'replay' AND min(source) = 'replay', arrayStringConcat(arrayFilter(s -> s != '', [
		if(count(open_prs) = 0, 'pull requests', ''), if(count(closed_issues) = 0, 'issues', ''), if(count(commits_total) = 0, 'commits', ''), if(count(releases) = 0, 'releases', '')
	]), ','), '') FROM pulse.github_processed_repos FORMAT TSVRaw`)
	return has, err
}

// offered names the folders whose dashboards ClickHouse has data for, separated by commas. Those of bundle are always there.
func offered(ctx context.Context, address string) (string, error) {
	var all []string
	for _, f := range []struct{ folder, has string }{
		{"operations", "SELECT count() = 4 FROM system.tables WHERE database = 'otel' AND name IN ('otel_traces', 'otel_metrics_gauge', 'otel_metrics_sum', 'otel_metrics_histogram')"},
		{"flow", "SELECT sum(total_rows) > 0 FROM system.tables WHERE database = 'pulse' AND name = 'github_events'"},
	} {
		if has, err := ask(ctx, address, f.has); err != nil {
			return "", err
		} else if has {
			all = append(all, f.folder)
		}
	}
	return strings.Join(all, ","), nil
}

// choices are what filters may choose at first, as JSON by column: the repositories and the company with the most stars. "" if there are none yet.
func choices(ctx context.Context, address string) (string, error) {
	if has, err := ask(ctx, address, "SELECT sum(total_rows) > 0 FROM system.tables WHERE database = 'pulse' AND name = 'github_processed_repos'"); err != nil || !has {
		return "", err
	}
	return answer(ctx, address, `SELECT toJSONString(map(
		'repository', (SELECT groupArray(label) FROM (SELECT label FROM pulse.repositories WHERE NOT is_former ORDER BY stars DESC, label LIMIT 5)),
		'company', (SELECT groupArray(company_name) FROM (SELECT company_name FROM pulse.repositories GROUP BY company_name ORDER BY sum(stars) DESC, company_name LIMIT 1)))) FORMAT TSVRaw`)
}

// ask has ClickHouse answer a question whose answer is 1 for yes.
func ask(ctx context.Context, address, question string) (bool, error) {
	text, err := answer(ctx, address, question)
	return text == "1", err
}

// answerLimit bounds what ClickHouse may answer: names, at most 140 bytes each.
const answerLimit = 4 << 10

// answer is what ClickHouse answers to a question, one value.
func answer(ctx context.Context, address, question string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(question))
	if err != nil {
		return "", errors.New("CLICKHOUSE_READER_URL is no address") // the error would quote the password
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err // a password is left out of it
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return string(bytes.TrimSpace(body)), nil
}

// clickHouseURI writes the address of ClickHouse as Superset wants it. Without sessions: Superset would leave one behind for each query.
func clickHouseURI(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil || u.Host == "" {
		return "", errors.New("superset: CLICKHOUSE_READER_URL must be http://user:password@host:port")
	}
	q := url.Values{"autogenerate_session_id": {"false"}}
	if u.Scheme == "https" {
		q.Set("secure", "true")
	}
	return (&url.URL{Scheme: "clickhousedb", User: u.User, Host: u.Host, Path: "/pulse", RawQuery: q.Encode()}).String(), nil
}

// trinoURI writes the address of Trino as Superset wants it, with the place of the views. No address stays none. Trino's client sends no password in the
// clear, and takes https to be meant only by a password or by port 443.
func trinoURI(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.User.Username() != "" {
		_, password := u.User.Password()
		if u.Scheme == "http" && !password || u.Scheme == "https" && password {
			return (&url.URL{Scheme: "trino", User: u.User, Host: u.Host, Path: "/iceberg/pulse"}).String(), nil
		}
	}
	return "", errors.New("superset: TRINO_URL must be http://user@host:port or https://user:password@host:port")
}

// digest is of all that an installation depends on.
func digest(source string, more ...string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n", path, len(b))
		h.Write(b)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("superset: read the dashboards: %w", err)
	}
	fmt.Fprintln(h, more)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// startLimit is how long the server may take until it answers, on a machine that has other things to do.
const startLimit = 2 * time.Minute

// stopGrace is how long a process that is asked to stop may take.
const stopGrace = 10 * time.Second

// serve runs the server until ctx ends.
func serve(ctx context.Context, cfg Config, python string, env []string, log io.Writer) error {
	cmd := exec.Command(python, "-m", "gunicorn", "--bind", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)),
		"--workers", "2", "--preload", "--worker-class", "gthread", "--threads", "8", "--timeout", "120", "--graceful-timeout", "3", "--no-control-socket", "superset.app:create_app()")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = cfg.Dir, env, log, log
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return failed(cfg, "start it", err)
	}
	starting, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("no answer in %s", startLimit))
	defer cancel()
	err = process.Await(starting, 100*time.Millisecond, func(ctx context.Context) bool { return healthy(ctx, cfg.URL()+"/health") })
	if err == nil {
		cfg.Say("Superset is up: %s (user %s, password in %s)", cfg.URL(), AdminUser, cfg.PasswordFile())
		select {
		case <-process.Done():
			err = fmt.Errorf("it ended: %v", process.Err())
		case <-ctx.Done():
		}
	}
	stopped := process.Stop(stopGrace)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return failed(cfg, "run it", errors.Join(err, stopped))
}

// healthy says whether it is Superset that answers: another server may have the port.
func healthy(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	return err == nil && resp.StatusCode == http.StatusOK && bytes.Equal(bytes.TrimSpace(body), []byte("OK"))
}

func failed(cfg Config, step string, err error) error {
	return fmt.Errorf("superset: %s: %w; its log is %s", step, err, filepath.Join(cfg.Dir, "superset.log"))
}
