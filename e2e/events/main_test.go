// Package events_test asks what follows from the events of feeds over an embedded
// ClickHouse: rows in, figures out.
package events_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/e2e/storetest"
	"github.com/m7pulse/m7pulse/functions/api"
	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/feed"
)

// store is the embedded ClickHouse of this process. Each test has owners and
// repositories of its own in it.
var store storetest.Store //nolint:gochecknoglobals // one engine for each process

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(ctx context.Context, s storetest.Store) error {
		store = s
		_, err := s.Ask(ctx, `INSERT INTO pulse.github_events (event_type, event_id, created_at, repo_id, name_with_owner, owner, observed_at, source)
			VALUES ('PublicEvent', 1, '`+asOf().Format(time.DateTime)+`', 1, 'end/end', 'end', '2026-12-01', 'rest')`)
		return err
	}))
}

// insert adds rows to a table of pulse.
func insert[R any](t *testing.T, table string, rows ...R) {
	t.Helper()
	var b strings.Builder
	b.WriteString("INSERT INTO pulse." + table + " SETTINGS date_time_input_format = 'best_effort' FORMAT JSONEachRow\n")
	for _, r := range rows {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	if _, err := store.Ask(t.Context(), b.String()); err != nil {
		t.Fatal(err)
	}
}

// row is a row by the names of its columns.
type row map[string]any

// reader is a connection as the API has it.
func reader(t *testing.T) *hot.Conn {
	t.Helper()
	conn, err := hot.Open(store.Reader, hot.Limits{Queries: 2, Wait: time.Minute, Time: time.Minute, Rows: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// want holds what a query answers, fields parted by spaces, against lines.
func want(t *testing.T, query string, lines ...string) {
	t.Helper()
	got, err := store.Ask(t.Context(), query+" FORMAT TSV")
	if err != nil {
		t.Fatal(err)
	}
	if got = strings.ReplaceAll(got, "\t", " "); got != strings.Join(lines, "\n") {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", query, got, strings.Join(lines, "\n"))
	}
}

// world is repositories of one owner, made by hand.
type world struct {
	t     *testing.T
	owner string

	events []feed.Event
}

// repository is known by its id, with readings of its counters at the end of days.
func (w *world) repository(id int64, name string, readings ...row) {
	w.t.Helper()
	newest := row{"repo_id": id, "name_with_owner": w.owner + "/" + name, "owner": w.owner, "company": w.owner, "name": name, "observed_at": day(0), "version": id}
	for i, r := range readings {
		r["repo_id"], r["version"] = id, i
		r["day"] = r["observed_at"].(time.Time).Format(time.DateOnly)
		newest["observed_at"], newest["stars"] = r["observed_at"], r["stars"]
	}
	insert(w.t, "github_processed_repos", newest)
	if len(readings) > 0 {
		insert(w.t, "github_daily", readings...)
	}
}

// happens makes an event of a repository, which store stores. More fields may be given
// than type, action, actor and time.
func (w *world) happens(repo int64, at time.Time, typ, action, actor string, more ...func(*feed.Event)) {
	e := feed.Event{Type: typ, ID: int64(len(w.events)) + 1, CreatedAt: at, RepoID: repo, NameWithOwner: w.owner + "/x", Owner: w.owner, ObservedAt: at, Source: "rest",
		ActorLogin: &actor, ActorID: new(identity(actor)), ActorIsBot: feed.NewBots().Is(actor, "")}
	if action != "" {
		e.Action = &action
	}
	for _, m := range more {
		m(&e)
	}
	w.events = append(w.events, e)
}

// store stores what has happened.
func (w *world) store() { insert(w.t, "github_events", w.events...) }

// issue and pull are what an event is about, since October 2025.
func issue(number int64) func(*feed.Event) { return about(feed.KindIssue, number) }
func pull(number int64) func(*feed.Event)  { return about(feed.KindPullRequest, number) }

func about(kind string, number int64) func(*feed.Event) {
	return func(e *feed.Event) { e.SubjectKind, e.Number = &kind, &number }
}

// begun is what a payload may say of a subject besides.
func begun(author string, at time.Time) func(*feed.Event) {
	return func(e *feed.Event) {
		e.AuthorID, e.AuthorLogin, e.AuthorIsBot, e.SubjectCreatedAt = new(identity(author)), &author, new(feed.NewBots().Is(author, "")), &at
	}
}

// identity is the id of an account.
func identity(login string) (id int64) {
	for _, c := range login {
		id = id*31 + int64(c)
	}
	return id
}

// asOf is the newest event of all, at which windows end.
func asOf() time.Time { return day(300) }

// day is the start of a day of 2026, counted from 1 January.
func day(n int) time.Time { return time.Date(2026, 1, 1+n, 0, 0, 0, 0, time.UTC) }

// served is the API over the store.
func served(t *testing.T) *httptest.Server {
	t.Helper()
	function := api.New()
	if err := function.Start(t.Context(), map[string]string{"CLICKHOUSE_READER_URL": store.Reader, "API_RATE": "100000"}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(function.Handle))
	t.Cleanup(func() {
		server.Close()
		if err := function.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

// get asks the API for a path, and reads the answer into v unless that is nil.
func get(t *testing.T, server *httptest.Server, path string, status int, v any) {
	t.Helper()
	resp, err := http.Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("GET %s: %d %v, want %d\n%s", path, resp.StatusCode, err, status, body)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, body)
	}
}
