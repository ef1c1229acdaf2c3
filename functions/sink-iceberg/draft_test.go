package sinkiceberg

import (
	"context"
	"errors"
	"iter"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

const daysOfDrafts = 6

// newDrafting is a world in the catalog that NESSIE_URL names, such as
// http://127.0.0.1:19120/iceberg/main, with S3_ENDPOINT and its keys, or else in an
// embedded one. What that catalog holds of ours is dropped.
func newDrafting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	nessie := os.Getenv("NESSIE_URL")
	if nessie == "" {
		return w
	}
	w.cold = &lazyCatalog{at: Location{
		Catalog: nessie, Endpoint: os.Getenv("S3_ENDPOINT"), Region: "us-east-1",
		AccessKey: os.Getenv("S3_ACCESS_KEY_ID"), SecretKey: os.Getenv("S3_SECRET_ACCESS_KEY"),
	}}
	for _, name := range []string{TableBase, TableProcessed} {
		if err := w.open().DropTable(context.Background(), table.Identifier{namespace, name}); err != nil && !errors.Is(err, catalog.ErrNoSuchTable) && !errors.Is(err, catalog.ErrNoSuchNamespace) {
			t.Fatal(err)
		}
	}
	d := w.draft()
	if d.branch == nil {
		t.Fatalf("%s is no catalog with branches", nessie)
	}
	if err := d.Drop(context.Background()); err != nil {
		t.Fatal(err)
	}
	return w
}

// published fills both tables with two repositories on some days, all in one
// file of processed_repos, so that each day shares it with the others.
func (w *world) published() {
	w.t.Helper()
	var raw, rows []any
	for day := range daysOfDrafts {
		for id := int64(1); id <= 2; id++ {
			raw, rows = append(raw, observed(id, day)), append(rows, processedRow(id, day, 1))
		}
	}
	for i := range raw {
		w.put(base(w.cold, w.letters, w.codec), w.block(event.TopicBaseRepos, w.record(raw[i])))
	}
	b := w.block(event.TopicProcessedRepos)
	for _, r := range rows {
		more := w.block(event.TopicProcessedRepos, w.record(r))
		b.Records, b.Next = append(b.Records, more.Records...), more.Next
	}
	w.put(processed(w.cold, w.letters, w.codec), b)
}

func dayOf(day int) Day { return DayOf(observed(1, day).ObservedAt) }

// computed are the rows of a day as some program computes them.
func computed(day int, delta int64) iter.Seq2[[]*event.RepoProcessed, error] {
	return func(yield func([]*event.RepoProcessed, error) bool) {
		for id := int64(1); id <= 2; id++ {
			p := processedRow(id, day, 1)
			p.ProcessedAt = p.ProcessedAt.AddDate(0, 3, 0)
			p.SetInt(velocity.Delta(velocity.Stars, velocity.Day), delta)
			if !yield([]*event.RepoProcessed{p}, nil) {
				return
			}
		}
	}
}

// rows are all of processed_repos, by name and day.
func (w *world) rows() map[string]*event.RepoProcessed {
	w.t.Helper()
	out := map[string]*event.RepoProcessed{}
	_, err := ReadProcessed(context.Background(), w.open(), nil, func(rows []*event.RepoProcessed) error {
		for _, r := range rows {
			out[r.NameWithOwner+string(DayOf(r.ObservedAt))] = r
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) draft() *Draft {
	w.t.Helper()
	d, err := OpenDraft(context.Background(), w.open(), w.cold.at)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// begin begins a draft of the second to the fourth day.
func (w *world) begin(d *Draft, code string) []Day {
	w.t.Helper()
	todo, err := d.Begin(context.Background(), dayOf(1), dayOf(3), code)
	if err != nil {
		w.t.Fatal(err)
	}
	return todo
}

func (w *world) write(d *Draft, delta int64, days ...int) {
	w.t.Helper()
	var all []Day
	for _, day := range days {
		all = append(all, dayOf(day))
	}
	rows := func(day Day) iter.Seq2[[]*event.RepoProcessed, error] {
		return computed(days[slices.Index(all, day)], delta)
	}
	if err := d.Write(context.Background(), all, rows); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) auditDraft(d *Draft) []string {
	w.t.Helper()
	differences, err := d.Audit(context.Background(), func(Day, []*event.RepoProcessed) error { return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return differences
}

func (w *world) publish(d *Draft) []Day {
	w.t.Helper()
	changed, err := d.Publish(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return changed
}

func TestADraftTakesThePlaceOfItsDaysAndOfNoOthers(t *testing.T) {
	t.Parallel()
	w := newDrafting(t)
	w.published()
	before := w.rows()
	d := w.draft()
	w.begin(d, "code")
	w.write(d, 3, 1) // as it is published already
	w.write(d, 99, 2, 3)
	if different := w.auditDraft(d); len(different) > 0 {
		t.Fatal(different)
	}
	if got, want := w.publish(d), []Day{dayOf(2), dayOf(3)}; !slices.Equal(got, want) {
		t.Errorf("changed: %v, want %v", got, want)
	}
	after := w.rows()
	if len(after) != len(before) {
		t.Errorf("%d rows, before %d", len(after), len(before))
	}
	for key, was := range before {
		if day := DayOf(was.ObservedAt); day == dayOf(2) || day == dayOf(3) {
			was.SetInt(velocity.Delta(velocity.Stars, velocity.Day), 99)
		}
		if !reflect.DeepEqual(after[key], was) { // when it was processed too
			t.Errorf("%s:\n%+v, want\n%+v", key, after[key], was)
		}
	}
	reprocessed, err := Reprocessed(context.Background(), w.open())
	if want := map[string]bool{string(dayOf(2)): true, string(dayOf(3)): true}; err != nil || !maps.Equal(reprocessed, want) {
		t.Errorf("reprocessed: %v, %v", reprocessed, err)
	}

	if again := w.publish(d); len(again) > 0 || !reflect.DeepEqual(w.rows(), after) {
		t.Errorf("published twice: %v has changed", again)
	}
	if err := d.Drop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := w.draft().Drop(context.Background()); err != nil {
		t.Errorf("dropped twice: %v", err)
	}
	// The sink goes on where it stood.
	w.put(processed(w.cold, w.letters, w.codec), w.block(event.TopicProcessedRepos, w.record(processedRow(1, 9, 1))))
	if got := w.rows(); len(got) != len(before)+1 {
		t.Errorf("%d rows after the next block, want %d", len(got), len(before)+1)
	}
}

func TestADraftIsGoneOnWithWhereItWasLeft(t *testing.T) {
	long(t)
	t.Parallel()
	w := newDrafting(t)
	w.published()
	expect := func(why string, got []Day, want ...int) {
		t.Helper()
		var days []Day
		for _, d := range want {
			days = append(days, dayOf(d))
		}
		if !slices.Equal(got, days) {
			t.Errorf("%s: %v are to be written, want %v", why, got, days)
		}
	}
	d := w.draft()
	expect("at first", w.begin(d, "code"), 1, 2, 3)
	w.write(d, 99, 1, 2)
	expect("after two days", w.begin(w.draft(), "code"), 3)
	if different := w.auditDraft(d); len(different) != 1 || !strings.Contains(different[0], string(dayOf(3))) {
		t.Errorf("a day that is missing: %v", different)
	}
	d = w.draft()
	w.begin(d, "code")
	w.write(d, 99, 3)
	expect("after all", w.begin(w.draft(), "code"))
	expect("another program", w.begin(w.draft(), "other"), 1, 2, 3)

	// An observation that comes late changes its day and those after it.
	w.put(base(w.cold, w.letters, w.codec), w.block(event.TopicBaseRepos, w.record(observed(3, 2))))
	expect("a late observation", w.begin(w.draft(), "code"), 2, 3)
	if different := w.auditDraft(w.draft()); len(different) != 1 || !strings.Contains(different[0], "2 rows for 3 observations") {
		t.Errorf("a late observation: %v", different)
	}
	if _, err := w.draft().Begin(context.Background(), dayOf(0), dayOf(3), "code"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("other days: %v", err)
	}
	if err := d.Drop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.rows(); len(got) != 2*daysOfDrafts {
		t.Errorf("%d rows after a drop, want %d", len(got), 2*daysOfDrafts)
	}
}

func TestADayIsWrittenAgainInTheDraft(t *testing.T) {
	long(t)
	t.Parallel()
	w := newDrafting(t)
	w.published()
	d := w.draft()
	w.begin(d, "code")
	w.write(d, 98, 1, 2, 3)
	w.write(d, 99, 2)
	if different := w.auditDraft(d); len(different) > 0 {
		t.Error(different)
	}
	// Rows that are not what was computed are found out.
	t2, _, err := d.load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	files, err := d.days.write(context.Background(), t2, []*event.RepoProcessed{processedRow(2, 3, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tx := t2.NewTransaction()
	if err := tx.AddDataFiles(context.Background(), files, nil, table.WithoutDuplicateCheck()); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if different := w.auditDraft(d); len(different) != 1 || !strings.Contains(different[0], "twice") {
		t.Errorf("a row too many: %v", different)
	}
}
