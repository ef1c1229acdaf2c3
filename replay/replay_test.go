package replay_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/replay"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if strings.HasSuffix(name, ".gz") {
		z := gzip.NewWriter(f)
		defer z.Close()
		_, err = z.Write([]byte(text))
	} else {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func read(path string) (events []cloudevents.Event, err error) {
	for e, err := range replay.Read(path) {
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
	return events, nil
}

const (
	first  = `{"specversion":"1.0","id":"1","type":"t","source":"/s","datacontenttype":"application/json","knativekafkaoffset":"7","kafkatopic":"x","mine":"kept","data":{"n":1}}`
	second = `{"specversion":"1.0","id":"2","type":"t","source":"/s","datacontenttype":"application/json","data":{"n":2}}`
)

func TestEveryFormGivesTheSameEvents(t *testing.T) {
	yaml := ""
	for id := 1; id <= 2; id++ {
		mine := ""
		if id == 1 {
			mine = "\n  Extensions:\n    mine: kept\n    knativekafkapartition: \"3\""
		}
		yaml += fmt.Sprintf("Mode: binary\nContextAttributes:\n  specversion: \"1.0\"\n  type: t\n  id: \"%d\"\n  source: /s\n  datacontenttype: application/json%s\nData: |-\n  {\"n\":%d}\n---\n", id, mine, id)
	}
	for name, text := range map[string]string{
		"a.jsonl": first + "\n\n" + second + "\n", "a.jsonl.gz": first + "\n" + second,
		"a.json": "[" + first + ",\n" + second + "]", "a.json.gz": "[" + first + "," + second + "]",
		"a.yaml": yaml, "a.yml.gz": yaml,
	} {
		events, err := read(write(t, name, text))
		if err != nil || len(events) != 2 {
			t.Errorf("%s: %d events, %v", name, len(events), err)
			continue
		}
		for i, e := range events {
			if e.ID() != fmt.Sprint(i+1) || e.Source() != "/s" || string(e.Data()) != fmt.Sprintf(`{"n":%d}`, i+1) {
				t.Errorf("%s: %s", name, e)
			}
		}
		// Where an event once stood in Kafka is not where it will stand.
		if ext := events[0].Extensions(); ext["mine"] != "kept" || len(ext) != 1 {
			t.Errorf("%s: extensions %v", name, ext)
		}
	}
}

func TestWhatIsBrokenIsRefusedWithItsPlaceAndTheRestIsRead(t *testing.T) {
	refused := func(name, text string, ids string, why ...string) {
		t.Helper()
		var got []string
		var faults []string
		for e, err := range replay.Read(write(t, name, text)) {
			var r *replay.Refused
			switch {
			case errors.As(err, &r):
				faults = append(faults, r.Error())
			case err != nil:
				t.Errorf("%s: %v", name, err)
			default:
				got = append(got, e.ID())
			}
		}
		if strings.Join(got, " ") != ids || len(faults) != len(why) {
			t.Errorf("%s: events %v, refused %q; want %s and %q", name, got, faults, ids, why)
			return
		}
		for i, w := range why {
			if !strings.Contains(faults[i], w) {
				t.Errorf("%s: refused %q, want %q", name, faults[i], w)
			}
		}
	}
	long := strings.Replace(first, `"kept"`, `"`+strings.Repeat("x", 4<<20)+`"`, 1)
	none := strings.Replace(first, `"id":"1",`, "", 1)
	refused("a.jsonl", first+"\n{\n"+second+"\n", "1 2", "line 2: ")
	refused("a.jsonl.gz", "\x00\xff\n"+first+"\nnull\n[]\n"+none+"\n"+second, "1 2", "line 1: ", "line 3: ", "line 4: ", "line 5: event \"\": id")
	refused("a.jsonl", long+"\n"+second+"\n"+long, "2", "line 1: more than 4194304 bytes", "line 3: more than 4194304 bytes")
	refused("a.jsonl", strings.Replace(first, `"specversion":"1.0"`, `"specversion":"9.9"`, 1)+"\n"+second, "2", "line 1: ")
	refused("a.json", "["+first+", 5, "+none+", "+second+"]", "1 2", "event 2: ", "event 3: ")
	refused("a.json", "["+long+", "+second+"]", "2", "event 1: more than 4194304 bytes")
	const document = "ContextAttributes:\n  type: t\n  id: \"3\"\n  source: /s\n"
	refused("a.yaml", document+"---\nContextAttributes: [\n---\nMode: magic\n---\n"+strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 5000)+"---\n"+document, "3 3",
		"document 2: ", "document 3: mode", "document 4: more than 4194304 bytes")
}

func TestForeignBytesAreRefusedByNameAndTheRestIsRead(t *testing.T) {
	const document = "Mode: structured\nContextAttributes:\n  specversion: %s\n  type: t\n  time: 2026-11-20T00:00:00Z\n  id: %s\n  source: /s\n  Extensions:\n    mayrepeat: true\nData: |\n  {\"n\":1}\n---\n"
	for _, c := range []struct{ name, text, ids, want string }{
		{"a.yaml", fmt.Sprintf(document, "1.0", "a") + fmt.Sprintf(document, `"1.0"`, "b"), "b", `line 3: "1.0" is not a text`},
		{"a.yaml", fmt.Sprintf(document, `"1.0"`, "007") + fmt.Sprintf(document, `"1.0"`, "b"), "b", `line 6: "007" is not a text`},
		{"a.yaml", fmt.Sprintf(document, `"9.9"`, "a") + fmt.Sprintf(document, `"1.0"`, "b"), "b", `specversion "9.9"`},
		{"a.yaml", fmt.Sprintf(document, `"1.0"`, "a\xe9") + fmt.Sprintf(document, `"1.0"`, "b"), "b", "not UTF-8"},
		{"a.yaml", strings.Replace(fmt.Sprintf(document, `"1.0"`, "a"), "Data", "data", 1) + fmt.Sprintf(document, `"1.0"`, "b"), "b", "data"},
		{"a.yaml", fmt.Sprintf(document, `"1.0"`, "a\n  id: b") + fmt.Sprintf(document, `"1.0"`, "b"), "b", "id"},
		{"a.jsonl", strings.Replace(first, `"data":{"n":1}`, `"data_base64":5`, 1) + "\n" + second, "2", "data_base64"},
		{"a.jsonl", strings.Replace(first, `"data"`, `"Data"`, 1) + "\n" + second, "2", `"Data"`},
		{"a.jsonl", strings.Replace(first, "kept", "k\xe9pt", 1) + "\n" + second, "2", "not UTF-8"},
		{"a.json", "[" + strings.Replace(first, `"data":{"n":1}`, `"data_base64":5`, 1) + "," + second + "]", "2", "data_base64"},
		{"a.jsonl", "\ufeff" + second, "2", ""},
		{"a.json", "\ufeff[" + second + "]", "2", ""},
		{"a.yaml", "\ufeff" + strings.ReplaceAll(fmt.Sprintf(document, `"1.0"`, "b"), "\n", "\r\n"), "b", ""},
		{"a.jsonl", "\xff\xfe{\x00", "", "UTF-16"},
		{"a.json", "\xfe\xff\x00[", "", "UTF-16"},
	} {
		var ids, faults []string
		for e, err := range replay.Read(write(t, c.name, c.text)) {
			if err != nil {
				faults = append(faults, err.Error())
				continue
			}
			ids = append(ids, e.ID())
			if e.DataContentType() != "application/json" {
				t.Errorf("%s: %q: content type %q", c.name, c.text, e.DataContentType())
			}
		}
		if got := strings.Join(faults, "\n"); strings.Join(ids, " ") != c.ids || !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q: events %v, refused %q; want %s and %q", c.name, c.text, ids, faults, c.ids, c.want)
		}
	}
}

func TestFileThatIsCutOffOrOfAnotherFormIsOneError(t *testing.T) {
	bad := func(name, text, why string, before int) {
		t.Helper()
		events, err := read(write(t, name, text))
		var r *replay.Refused
		if err == nil || errors.As(err, &r) || !strings.Contains(err.Error(), why) || len(events) != before {
			t.Errorf("%s: %d events, %v; want %d and %q", name, len(events), err, before, why)
		}
	}
	bad("a.json", first, "array", 0)
	bad("a.json", "["+first+",", "event 2", 1)
	bad("a.json", "["+first+", {\"id\":", "event 2", 1)
	bad("a.json", "["+first, "after event 1", 1)
	bad("b.jsonl.GZ", first, "gzip", 0)
	whole, err := os.ReadFile(write(t, "a.jsonl.gz", strings.Repeat(first+"\n", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	if events, err := read(write(t, "a.jsonl.GZ", string(whole[:len(whole)-9]))); err == nil {
		t.Errorf("%d events of a file that is cut off", len(events))
	}
}

func TestAddressIsTriedAgainAsKnativeWould(t *testing.T) {
	answers := []int{503, 429, 204}
	posts := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") != "1" || r.Header.Get("Ce-Subject") != "%E2%82%AC" {
			t.Errorf("headers %v", r.Header)
		}
		w.WriteHeader(answers[min(posts, len(answers)-1)])
		posts++
	}))
	defer srv.Close()
	events, err := read(write(t, "a.jsonl", first))
	if err != nil {
		t.Fatal(err)
	}
	events[0].SetSubject("€")
	to := &replay.ToURL{URL: srv.URL, Client: srv.Client()}
	if err := to.Send(context.Background(), events[0]); err != nil || posts != 3 {
		t.Errorf("%d posts, %v", posts, err)
	}
	answers, posts = []int{422}, 0
	if err := to.Send(context.Background(), events[0]); !errors.As(err, new(*replay.Refused)) || !strings.Contains(err.Error(), "422") || posts != 1 {
		t.Errorf("%d posts, %v: what can never succeed is posted once", posts, err)
	}
}

func TestRateBoundsWhatGoesInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		pace := replay.Pace{Rate: 4, Speed: 1}
		at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
		// Four at once, then one that was recorded ten seconds later.
		for i, want := range []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, 10 * time.Second, 10*time.Second + 250*time.Millisecond} {
			e := cloudevents.NewEvent()
			e.SetTime(at.Add(time.Duration(i/4) * 10 * time.Second))
			if err := pace.Wait(context.Background(), e); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != want {
				t.Errorf("event %d went after %s, want %s", i, got, want)
			}
		}
	})
}

func TestSpanHasItsBeginningAndNotItsEnd(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2025, 1, d, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		span replay.Span
		at   time.Time
		want bool
	}{
		{replay.Span{}, time.Time{}, true}, {replay.Span{From: day(2)}, day(1), false}, {replay.Span{From: day(2)}, day(2), true},
		{replay.Span{Until: day(2)}, day(1), true}, {replay.Span{Until: day(2)}, day(2), false}, {replay.Span{From: day(1), Until: day(3)}, day(2), true},
	} {
		e := cloudevents.NewEvent()
		e.SetTime(c.at)
		if got, err := c.span.Has(e); err != nil || got != c.want {
			t.Errorf("%v of %v: %v, %v", c.at, c.span, got, err)
		}
	}
	var r *replay.Refused
	if _, err := (replay.Span{From: day(1)}).Has(cloudevents.NewEvent()); !errors.As(err, &r) {
		t.Errorf("an event without a time: %v", err)
	}
}

func TestPaceKeepsTheRecordedDistances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		pace := replay.Pace{Speed: 60}
		for _, minutes := range []int{0, 60, 90} {
			e := cloudevents.NewEvent()
			e.SetTime(time.Date(2025, 1, 1, 0, minutes, 0, 0, time.UTC))
			if err := pace.Wait(context.Background(), e); err != nil {
				t.Fatal(err)
			}
			if got, want := time.Since(began), time.Duration(minutes)*time.Second; got != want {
				t.Errorf("the event of minute %d went after %s, want %s", minutes, got, want)
			}
		}
	})
}
