package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// batchBytes is what Kafka takes by default in one batch, less the batch's own
// header and the lengths within.
const batchBytes = 1_000_012 - 256

func size(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Whatever text is accepted, the processed row that follows from it can be
// written, and whatever can be written can be a dead letter.
func TestAcceptedEventOfAnySizeGoesThrough(t *testing.T) {
	c, random := newCodec(t), rand.New(rand.NewPCG(1, 2))
	accepted, refused, cases := 0, 0, 200
	if testing.Short() {
		cases = 40
	}
	for range cases {
		o := observation()
		grow(&o, random)
		body, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		e := cloudevents.NewEvent()
		e.SetID(strings.Repeat("i", 1+random.IntN(17_000)))
		e.SetSource("/" + strings.Repeat("s", random.IntN(17_000)))
		e.SetType(event.TypeRepoObserved)
		if err := e.SetData(event.ContentJSON, json.RawMessage(body)); err != nil {
			t.Fatal(err)
		}
		r, err := c.Accept(t.Context(), e)
		if errors.Is(err, event.ErrInvalid) {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		accepted++
		read, err := c.Observed(t.Context(), r)
		if err != nil {
			t.Fatalf("an accepted event of %d bytes cannot be read: %v", len(body), err)
		}
		p, err := c.Record(t.Context(), widest(*read), true)
		if err != nil {
			t.Fatal(err)
		}
		if size(p) > batchBytes {
			t.Fatalf("an accepted event of %d bytes leads to a processed row of %d bytes, more than Kafka's %d", len(body), size(p), batchBytes)
		}
		letter, err := event.NewDeadLetter("test", p, errors.New("no reason")).Record()
		if err != nil {
			t.Fatal(err)
		}
		if size(letter) > batchBytes {
			t.Fatalf("a row of %d bytes leads to a dead letter of %d bytes", size(p), size(letter))
		}
	}
	if accepted < 10 || refused < 10 {
		t.Errorf("%d accepted, %d refused: the sizes do not lie around the limits", accepted, refused)
	}
}

// grow fills an observation with text, in pieces and lists of any length.
func grow(o *event.RepoObserved, random *rand.Rand) {
	long := []int{100, 440, 1_100, 18_000}[random.IntN(4)]
	for _, field := range []**string{&o.Description, &o.License, &o.DefaultBranch, &o.PrimaryLanguage, &o.LatestRelease, &o.Company} {
		s := strings.Repeat("t", random.IntN(min(long, 17_000)))
		*field = &s
	}
	for left := 1_200_000; left > 0 && len(o.Topics) < 900+random.IntN(200); {
		s := strings.Repeat("t", random.IntN(long))
		o.Topics = append(o.Topics, s)
		o.Languages = append(o.Languages, event.Language{Name: s, Bytes: math.MaxInt64})
		left -= 2*len(s) + 50
	}
}

// widest is an observation with every velocity at its longest.
func widest(o event.RepoObserved) *event.RepoProcessed {
	p := &event.RepoProcessed{Observation: o, ProcessedAt: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), Revision: math.MaxInt64, Late: true}
	for i, d := range velocity.Definitions() {
		switch f := velocity.Field(i); d.Kind {
		case field.Float:
			p.SetFloat(f, math.MaxFloat64)
		case field.Bool:
			p.SetBool(f, true)
		default:
			p.SetInt(f, math.MinInt64)
		}
	}
	return p
}

func TestDeadLetterFitsWhateverItsRecordAndSaysThatItWasCut(t *testing.T) {
	f := func(name string, r *kgo.Record, reason error, cut bool) {
		t.Helper()
		r.Topic, r.Partition, r.Offset = event.TopicBaseRepos, 3, 77
		l, err := event.NewDeadLetter("test", r, reason).Record()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if size(l) > batchBytes {
			t.Errorf("%s: a letter of %d bytes", name, size(l))
		}
		var d event.DeadLetter
		if err := json.Unmarshal(l.Value, &d); err != nil {
			t.Fatal(err)
		}
		if d.ID() != "github.base_repos/3/77" || d.Reason == "" {
			t.Errorf("%s: %s, reason %q", name, d.ID(), d.Reason)
		}
		if (d.Cut != nil) != cut {
			t.Errorf("%s: cut %v, want %v", name, d.Cut, cut)
			return
		}
		if !cut {
			if !bytes.Equal(d.Value64, r.Value) || !bytes.Equal(d.Key64, r.Key) {
				t.Errorf("%s: bytes are lost", name)
			}
			return
		}
		digest := sha256.Sum256(r.Value)
		if d.Cut.Bytes != len(r.Value) || d.Cut.SHA256 != hex.EncodeToString(digest[:]) || !bytes.HasPrefix(r.Value, d.Value64) {
			t.Errorf("%s: %+v does not say which bytes are missing", name, d.Cut)
		}
		if _, err := d.Original(); err == nil {
			t.Errorf("%s: a record that was cut is taken for the original", name)
		}
		if err := d.Restore(&kgo.Record{Value: []byte("another")}); err == nil {
			t.Errorf("%s: restored from another record", name)
		}
		if err := d.Restore(r); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		back, err := d.Original()
		if err != nil || !bytes.Equal(back.Value, r.Value) || !bytes.Equal(back.Key, r.Key) {
			t.Errorf("%s: restored %d bytes of %d, %v", name, len(back.Value), len(r.Value), err)
		}
	}
	text := func(s string, n int) []byte { return []byte(strings.Repeat(s, n)) }
	why := errors.New("why")
	f("small", &kgo.Record{Key: []byte("k"), Value: text("v", 10)}, why, false)
	f("empty", &kgo.Record{}, why, false)
	f("readable, whole without its text", &kgo.Record{Value: text("v", 700_000)}, why, false)
	f("control characters", &kgo.Record{Value: text("\x00", 150_000)}, why, false)
	f("as large as a record", &kgo.Record{Value: text("v", 999_000)}, why, true)
	f("larger than a record", &kgo.Record{Value: text("\xff", 5_000_000)}, why, true)
	f("a large key", &kgo.Record{Key: text("\xff", 990_000), Value: []byte("v")}, why, true)
	f("large headers", &kgo.Record{Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: text("\x01", 990_000)}}}, why, true)
	var many []kgo.RecordHeader
	for i := range 100_000 {
		many = append(many, kgo.RecordHeader{Key: fmt.Sprint("h", i)})
	}
	f("many headers", &kgo.Record{Value: []byte("v"), Headers: many}, why, true)
	f("a long reason", &kgo.Record{Value: text("v", 740_000)}, errors.New(strings.Repeat("\xff", 2_000_000)), false)
}

func TestReasonOfAnyLengthCanBeReadBack(t *testing.T) {
	c := newCodec(t)
	for _, n := range []int{0, 10, 100_000} {
		line := event.OwnerSwept{SweepID: "s", Owner: "o", Status: event.StatusFailed, Reason: event.Reason(strings.Repeat("ä", n))}
		r, err := c.Record(t.Context(), &line, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Swept(t.Context(), r); err != nil || *got.Reason != *line.Reason {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}
