package backfill

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestAMissingHourIsAGapOfEachRepositoryUntilItIsRead: of two hours the archive has one;
// later it has both.
func TestAMissingHourIsAGapOfEachRepositoryUntilItIsRead(t *testing.T) {
	lines := realLines(t)
	complete := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !complete && strings.Contains(r.URL.Path, "-5.") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(packed(t, lines...))
	}))
	defer server.Close()
	a, to := archive(t, Owners([]string{"acme"}, func(_, name string) bool { return name != "acme/unwanted" }))
	a.Repositories = []Repository{{7, "Acme/tool", "Acme"}, {8, "acme/unwanted", "acme"}, {9, "other/tool", "other"}, {-3, "acme/recorded", "acme"}}
	from := time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)
	hours, err := Hours(server.URL+"/{date}-{hour}.json.gz", from, from.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	backfilled := func() []string {
		t.Helper()
		to.lines = nil
		var done []Line
		for _, h := range hours {
			line, err := a.Hour(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, line)
		}
		if err := a.Gaps(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		said := []string{}
		for _, l := range to.lines {
			text := fmt.Sprint(l.RepoID, " ", l.NameWithOwner, " ", l.Status, " ", l.Since.Format(hourForm), " ", l.ReadAt.Format(hourForm))
			if l.GapFrom != nil {
				text += fmt.Sprint(" ", l.GapFrom.Format(hourForm), " ", l.GapTo.Format(hourForm), " ", *l.Reason)
			}
			said = append(said, text)
		}
		return said
	}
	gap := []string{"7 Acme/tool gap 2026-06-01T05 2026-06-01T06 2026-06-01T05 2026-06-01T06 the archive has no file for this hour"}
	for range 2 { // the same line each time
		if got := backfilled(); !reflect.DeepEqual(got, gap) {
			t.Errorf("the ledger says %q, want %q", got, gap)
		}
	}
	complete = true
	if got, want := backfilled(), []string{"7 Acme/tool complete 2026-06-01T05 2026-06-01T06"}; !reflect.DeepEqual(got, want) {
		t.Errorf("of an hour that was a gap the ledger says %q, want %q", got, want)
	}
	if got := backfilled(); len(got) != 0 {
		t.Errorf("of hours that are done the ledger says %q again", got)
	}
}

// TestAFileThatDoesNotSayItsHourIsNoGap: nobody knows of when it is.
func TestAFileThatDoesNotSayItsHourIsNoGap(t *testing.T) {
	a, to := archive(t, Everything())
	a.Repositories = []Repository{{7, "acme/tool", "acme"}}
	line, err := a.Hour(t.Context(), Hour{Name: "some.gz", Source: t.TempDir() + "/some.gz"})
	if err != nil || line.Status != Missing {
		t.Fatal(line.Status, err)
	}
	if err := a.Gaps(t.Context(), []Line{line}); err != nil || len(to.lines) != 0 {
		t.Errorf("%d lines, %v", len(to.lines), err)
	}
}
