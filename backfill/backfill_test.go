package backfill

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

// kept is a target that keeps what it gets.
type kept struct {
	events  map[feed.Key]int
	durable int // of them, at the last Flush
	sent    int
	lines   []feed.Reading
	fails   error
	after   int // events
}

func (k *kept) Send(_ context.Context, e *feed.Event) error {
	if k.fails != nil && k.sent >= k.after {
		return k.fails
	}
	if k.events == nil {
		k.events = map[feed.Key]int{}
	}
	k.events[e.Key()]++
	k.sent++
	return nil
}

func (k *kept) Note(_ context.Context, line *feed.Reading) error {
	k.lines = append(k.lines, *line)
	return line.Validate(time.Now())
}

func (k *kept) Flush(context.Context) error {
	k.durable = k.sent
	return nil
}

// realLines are lines of both generations, as GH Archive has them.
func realLines(t testing.TB) [][]byte { return slices.Concat(feedtest.Newer(t), feedtest.Older(t)) }

func packed(t testing.TB, lines ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, l := range lines {
		_, _ = z.Write(append(slices.Clone(l), '\n'))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func archive(t *testing.T, f Filter) (*Archive, *kept) {
	t.Helper()
	j, err := OpenJournal(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	to := &kept{}
	return &Archive{Filter: f, Reader: feed.Reader{Bots: feed.NewBots(), Source: "gharchive"}, To: to, Journal: j, Client: http.DefaultClient, Pause: time.Millisecond}, to
}

// owned are the keys of the events of some owners, by reading every line whole.
func owned(t testing.TB, lines [][]byte, owners ...string) map[feed.Key]int {
	keys := map[feed.Key]int{}
	for _, l := range lines {
		e, err := feedtest.Reader().Read(l, feedtest.At())
		if err != nil {
			t.Fatal(err)
		}
		if len(owners) == 0 || slices.ContainsFunc(owners, func(o string) bool { return strings.EqualFold(o, e.Owner) }) {
			keys[e.Key()]++
		}
	}
	return keys
}

// someOwners are every tenth of the owners in the lines.
func someOwners(t testing.TB, lines [][]byte) (out []string) {
	all := map[string]bool{}
	for _, l := range lines {
		e, err := feedtest.Reader().Read(l, feedtest.At())
		if err != nil {
			t.Fatal(err)
		}
		if owner := strings.ToUpper(e.Owner); !all[owner] {
			if all[owner] = true; len(all)%10 == 0 {
				out = append(out, owner)
			}
		}
	}
	return out
}

func TestTheFilterTakesWhatParsingWouldTake(t *testing.T) {
	lines := realLines(t)
	owners := someOwners(t, lines)
	for name, c := range map[string]struct {
		filter Filter
		want   map[feed.Key]int
	}{
		"everything": {Everything(), owned(t, lines)},
		"owners":     {Owners(owners, nil), owned(t, lines, owners...)},
		"nobody":     {Owners(nil, nil), map[feed.Key]int{}},
	} {
		a, to := archive(t, c.filter)
		got, err := a.read(t.Context(), bytes.NewReader(packed(t, lines...)))
		if err != nil || got.Unreadable != 0 || got.Lines != int64(len(lines)) || got.Events != int64(to.sent) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if len(to.events) != len(c.want) || name == "owners" && len(c.want) < 50 {
			t.Errorf("%s: %d events, want %d", name, len(to.events), len(c.want))
		}
		for key, n := range c.want {
			if to.events[key] != n {
				t.Errorf("%s: %s comes %d times, want %d", name, key, to.events[key], n)
			}
		}
	}
	parsed := 0
	f := Owners(owners, nil)
	for _, l := range lines {
		if f.mayTake(l) {
			parsed++
		}
	}
	if few := len(owned(t, lines, owners...)); parsed > 2*few {
		t.Errorf("%d lines of %d are parsed for %d events", parsed, len(lines), few)
	}
}

// Lines in forms that GH Archive does not have today are parsed, not passed over.
func TestALineOfAnotherFormIsParsed(t *testing.T) {
	event := func(format string) string {
		return fmt.Sprintf(format, `"id":"7","type":"WatchEvent","created_at":"2020-01-01T00:00:00Z","actor":{"id":1,"login":"ada"}`)
	}
	other := `{"action":"started","issue":{"title":"\"repo\":{\"id\":1,\"name\":\"other/x\"}"},"repo":{"id":3,"name":"other/x"}}`
	for name, line := range map[string]string{
		"blanks":             event(`{%s, "repo": {"id": 5, "name": "acme/tool"}, "payload": {}}`),
		"payload first":      event(`{"payload":` + other + `,%s,"repo":{"id":5,"name":"acme/tool"}}`),
		"name first":         event(`{%s,"repo":{"name":"acme/tool","id":5},"payload":` + other + `}`),
		"more before a name": event(`{%s,"repo":{"id":5,"node":"` + strings.Repeat("x", 200) + `","name":"acme/tool"},"payload":{}}`),
		"escaped":            event(`{%s,"repo":{"id":5,"name":"\u0061cme/tool"},"payload":{}}`),
		"another case":       event(`{%s,"repo":{"id":5,"name":"ACME/tool"},"payload":{}}`),
	} {
		a, to := archive(t, Owners([]string{"Acme"}, nil))
		if got, err := a.read(t.Context(), bytes.NewReader(packed(t, []byte(line)))); err != nil || to.sent != 1 {
			t.Errorf("%s: %d events, %+v, %v", name, to.sent, got, err)
		}
	}
	a, to := archive(t, Owners([]string{"acme"}, func(_, name string) bool { return name == "acme/other" }))
	if _, err := a.read(t.Context(), bytes.NewReader(packed(t, []byte(event(`{%s,"repo":{"id":5,"name":"acme/tool"},"payload":{}}`))))); err != nil || to.sent != 0 {
		t.Errorf("a repository that is not wanted: %d events, %v", to.sent, err)
	}
}

func TestWhatCannotBeReadIsCountedAndTheRestIsTaken(t *testing.T) {
	good := feedtest.Newer(t)[0]
	long := []byte(`{"id":"1","type":"PushEvent","repo":{"id":5,"name":"acme/tool"},"payload":{"x":"` + strings.Repeat("y", feed.MaxRaw) + `"}}`)
	a, to := archive(t, Everything())
	file := packed(t, good, []byte(`{"id":`), long, good, nil, []byte(`{}`))
	got, err := a.read(t.Context(), bytes.NewReader(file))
	if err != nil || to.sent != 2 || got.Unreadable != 3 || !strings.HasPrefix(got.Fault, "line 2: ") {
		t.Errorf("%d events, %+v, %v", to.sent, got, err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(file)); got.SHA256 != want {
		t.Errorf("checksum %s, want %s", got.SHA256, want)
	}
}

func TestABackfillGoesOnWhereItStopped(t *testing.T) {
	lines := realLines(t)
	asked := map[string]int{}
	broken := map[string]int{"/2026-06-01-2.json.gz": 1, "/2026-06-01-4.json.gz": 100} // answers that break off
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		file := packed(t, lines[:500]...)
		switch {
		case r.URL.Path == "/2026-06-01-3.json.gz":
			http.NotFound(w, r)
		case asked[r.URL.Path] <= broken[r.URL.Path]:
			_, _ = w.Write(file[:len(file)/2])
		default:
			_, _ = w.Write(file)
		}
	}))
	defer server.Close()
	from := time.Date(2026, 6, 1, 1, 0, 0, 0, time.UTC)
	hours, err := Hours(server.URL+"/{date}-{hour}.json.gz", from, from.Add(4*time.Hour))
	if err != nil || len(hours) != 4 {
		t.Fatal(hours, err)
	}
	path := filepath.Join(t.TempDir(), "journal")
	pass := func() (statuses []string, to *kept) {
		j, err := OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		a, to := archive(t, Everything())
		a.Journal = j
		for _, h := range hours {
			line, err := a.Hour(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			if line.Skipped {
				line.Status = "skipped"
			}
			statuses = append(statuses, line.Status)
		}
		if to.durable != to.sent {
			t.Errorf("%d events of %d are durable", to.durable, to.sent)
		}
		return statuses, to
	}
	statuses, to := pass()
	if want := []string{Done, Done, Missing, Failed}; !slices.Equal(statuses, want) {
		t.Errorf("first pass %q, want %q", statuses, want)
	}
	if len(to.events) != 500 || asked["/2026-06-01-2.json.gz"] != 2 || asked["/2026-06-01-4.json.gz"] != tries {
		t.Errorf("%d events, asked %v", len(to.events), asked)
	}
	// A crash cuts the line that is being written.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"hour":"2026-06-01T05","fil`); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	broken["/2026-06-01-4.json.gz"] = 0
	if statuses, _ = pass(); !slices.Equal(statuses, []string{"skipped", "skipped", Missing, Done}) {
		t.Errorf("second pass %q", statuses)
	}
	if statuses, to = pass(); !slices.Equal(statuses, []string{"skipped", "skipped", Missing, "skipped"}) || to.sent != 0 {
		t.Errorf("third pass %q, %d events", statuses, to.sent)
	}
}

func TestAnHourWhoseEventsCannotBeSentIsNotDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "2026-06-01-15.json.gz")
	if err := os.WriteFile(path, packed(t, feedtest.Newer(t)[:10]...), 0o600); err != nil {
		t.Fatal(err)
	}
	hours, err := Files([]string{path}, time.Time{}, time.Time{})
	if err != nil || len(hours) != 1 || hours[0].Name != "2026-06-01T15" {
		t.Fatal(hours, err)
	}
	a, to := archive(t, Everything())
	to.fails, to.after = errors.New("kafka is away"), 5
	if _, err := a.Hour(t.Context(), hours[0]); err == nil || err.Error() != "kafka is away" {
		t.Errorf("got %v", err)
	}
	to.fails = nil
	if line, err := a.Hour(t.Context(), hours[0]); err != nil || line.Skipped || line.Events != 10 {
		t.Errorf("again: %+v, %v", line, err)
	}
}

func TestFilesWithinLimitsOfTimeShowTheHoursThatAreMissing(t *testing.T) {
	from := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	hours, err := Files([]string{"a/2026-06-01-10.json.gz", "a/2026-06-01-8.json.gz", "a/2026-06-01-7.json.gz", "a/2026-06-01-11.json.gz"}, from, from.Add(3*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := []Hour{{"2026-06-01T08", "a/2026-06-01-8.json.gz"}, {"2026-06-01T09", "a/2026-06-01-9.json.gz"}, {"2026-06-01T10", "a/2026-06-01-10.json.gz"}}
	if !slices.Equal(hours, want) {
		t.Errorf("%v, want %v", hours, want)
	}
	for _, bad := range []func() ([]Hour, error){
		func() ([]Hour, error) { return Files([]string{"part.json.gz"}, from, from.Add(time.Hour)) },
		func() ([]Hour, error) { return Files([]string{"2026-06-01-24.json.gz"}, time.Time{}, time.Time{}) },
		func() ([]Hour, error) { return Hours("http://x/{date}.json.gz", from, from.Add(time.Hour)) },
		func() ([]Hour, error) { return Hours("http://x/{date}-{hour}", from, from) },
		func() ([]Hour, error) { return Hours("http://x/{date}-{hour}", time.Time{}, from) },
	} {
		if hours, err := bad(); err == nil {
			t.Errorf("took %v", hours)
		}
	}
}
