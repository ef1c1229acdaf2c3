package replay_test

import (
	"compress/gzip"
	"context"
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

func TestBadFileIsOneErrorThatNamesThePlace(t *testing.T) {
	bad := func(name, text, why string, before int) {
		t.Helper()
		events, err := read(write(t, name, text))
		if err == nil || !strings.Contains(err.Error(), why) || len(events) != before {
			t.Errorf("%s: %d events, %v; want %d and %q", name, len(events), err, before, why)
		}
	}
	bad("a.jsonl", first+"\n{\n", "line 2", 1)
	bad("a.jsonl", strings.Replace(first, `"id":"1",`, "", 1), "id", 0)
	bad("a.json", first, "array", 0)
	bad("a.json", "["+first+", 5]", "event 2", 1)
}

func TestAddressIsTriedAgainAsKnativeWould(t *testing.T) {
	answers := []int{503, 429, 204}
	posts := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") != "1" {
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
	to := &replay.ToURL{URL: srv.URL, Client: srv.Client()}
	if err := to.Send(context.Background(), events[0]); err != nil || posts != 3 {
		t.Errorf("%d posts, %v", posts, err)
	}
	answers, posts = []int{422}, 0
	if err := to.Send(context.Background(), events[0]); err == nil || !strings.Contains(err.Error(), "422") || posts != 1 {
		t.Errorf("%d posts, %v: what can never succeed is posted once", posts, err)
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
