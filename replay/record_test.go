package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

func TestWhatIsWrittenReadsBack(t *testing.T) {
	e := cloudevents.NewEvent()
	e.SetID("1\n---\n2")
	e.SetType("t")
	e.SetSource("/s")
	e.SetSubject("=cmd|x")
	e.SetTime(time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC))
	e.SetExtension("mine", "a: {b}")
	if err := e.SetData("application/json", map[string]string{"text": "---\n\t\x00\u2028"}); err != nil {
		t.Fatal(err)
	}
	binary := e.Clone()
	if err := binary.SetData("application/octet-stream", []byte{0, 0xff, 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.jsonl", "a.jsonl.gz", "a.yaml", "a.yml.gz"} {
		path := filepath.Join(t.TempDir(), name)
		w, err := replay.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		want := []cloudevents.Event{e, e}
		var refused *replay.Refused
		if err := w.Write(binary); strings.HasPrefix(name, "a.j") {
			want = append(want, binary)
		} else if !errors.As(err, &refused) {
			t.Errorf("%s: binary data: %v", name, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := read(path)
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %d events, %v", name, len(got), err)
			continue
		}
		for i := range got {
			if got[i].String() != want[i].String() || !bytes.Equal(got[i].Data(), want[i].Data()) {
				t.Errorf("%s: %s\nwant %s", name, got[i], want[i])
			}
		}
		if _, err := replay.Create(path); err == nil {
			t.Errorf("%s is written over", name)
		}
	}
	if _, err := replay.Create("a.json"); err == nil {
		t.Error("a batch is begun, which nothing would end")
	}
}

func TestTopicIsRecordedAndReplayedAndInvalidRecordsAreNamed(t *testing.T) {
	cfg, codec := servers(t, kfake.SeedTopics(2, event.TopicBaseRepos, "other"), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	ctx := t.Context()
	to := func(topic string) *replay.ToKafka {
		k, err := replay.NewToKafka(cfg, codec, topic)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	}
	observed := func(id int) cloudevents.Event {
		e := cloudevents.NewEvent()
		e.SetID(fmt.Sprint(id))
		e.SetSource("/test")
		e.SetType(event.TypeRepoObserved)
		if err := e.SetData(event.ContentJSON, map[string]any{"repo_id": id, "name_with_owner": "a/b", "stars": 1, "observed_at": "2026-01-02T00:00:00Z"}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	foreign := cloudevents.NewEvent()
	foreign.SetID("7")
	foreign.SetSource("/elsewhere")
	foreign.SetType("elsewhere.happened")
	foreign.SetSubject("key")
	foreign.SetExtension("mine", "kept")
	if err := foreign.SetData("text/plain", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	send := func(k *replay.ToKafka, events ...cloudevents.Event) {
		t.Helper()
		for _, e := range events {
			if err := k.Send(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	record := func(topic string) (events []cloudevents.Event, refused []string) {
		t.Helper()
		err := replay.Topic(ctx, cfg, codec, topic, func(e cloudevents.Event) error {
			events = append(events, e)
			return nil
		}, func(err error) { refused = append(refused, err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		return events, refused
	}
	send(to(""), observed(1), observed(2), observed(3))
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, r := range []*kgo.Record{
		{Topic: event.TopicBaseRepos, Value: []byte("invalid")},
		{Topic: event.TopicBaseRepos, Value: []byte{0, 0, 0, 0, 1, 2}, Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte(event.TypeRepoObserved)}, {Key: "content-type", Value: []byte(event.ContentAvro)}}},
	} {
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	events, refused := record(event.TopicBaseRepos)
	if len(events) != 3 || len(refused) != 2 || !strings.Contains(strings.Join(refused, "\n"), "offset") {
		t.Fatalf("recorded %v, refused %q", events, refused)
	}
	for _, e := range events {
		if e.DataContentType() != event.ContentJSON || e.Extensions()["kafkatopic"] != event.TopicBaseRepos || e.Extensions()["mayrepeat"] != "true" {
			t.Errorf("recorded %s", e)
		}
	}
	send(to("other"), append(events, foreign)...)
	again, refused := record("other")
	if len(again) != 4 || len(refused) != 0 {
		t.Fatalf("recorded %v, refused %q", again, refused)
	}
	for _, e := range again {
		if e.Type() == foreign.Type() && (e.ID() != "7" || e.Subject() != "key" || e.Extensions()["mine"] != "kept" || string(e.Data()) != "hello" || e.DataContentType() != "text/plain") {
			t.Errorf("recorded %s", e)
		}
	}
	if err := to("").Send(ctx, foreign); !errors.As(err, new(*replay.Refused)) {
		t.Errorf("an event of no topic of ours: %v", err)
	}
}

func TestListenAnswersWhenTheEventIsWritten(t *testing.T) {
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	address = "http://" + address
	ctx, stop := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "a.yaml")
	w, err := replay.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	ended := make(chan error, 1)
	go func() {
		ended <- replay.Listen(ctx, address, func(e cloudevents.Event) error {
			return errors.Join(w.Write(e), w.Flush())
		}, func(err error) { refused = append(refused, err.Error()) })
	}()
	post := func(content, body string, want int) {
		t.Helper()
		var resp *http.Response
		var err error
		for range 100 {
			req := httptest.NewRequest(http.MethodPost, address, strings.NewReader(body))
			req.RequestURI = ""
			req.Header.Set("Content-Type", content)
			for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/t", "Ce-Type": "t"} {
				if want != http.StatusUnsupportedMediaType {
					req.Header.Set(k, v)
				}
			}
			if resp, err = http.DefaultClient.Do(req); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("answered %s, want %d", resp.Status, want)
		}
	}
	post("application/json", `{"a":1}`, 204)
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `{"a":1}`) {
		t.Errorf("answered before it was written: %q, %v", text, err)
	}
	post("application/octet-stream", "\xff\x00", 422)
	post("text/plain", "hello", 415)
	stop()
	if err := errors.Join(<-ended, w.Close()); err != nil {
		t.Fatal(err)
	}
	if events, err := read(path); err != nil || len(events) != 1 || len(refused) != 2 {
		t.Errorf("%d events, %v, refused %q", len(events), err, refused)
	}
	if err := replay.Listen(ctx, "ftp://x", nil, nil); err == nil {
		t.Error("listens by ftp")
	}
}

// FuzzRead: whatever a file holds, reading ends, each event is one that can be
// sent, and what was written of it reads back the same.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"a.jsonl", "a.json", "a.yaml", "a.jsonl.gz"} {
		f.Add(name, []byte(first+"\n"+second))
		f.Add(name, []byte("["+first+","+second+"]"))
		f.Add(name, []byte("ContextAttributes:\n  type: t\n  id: \"3\"\n  source: /s\nData: x\n---\n---\n"))
		f.Add(name, []byte("\x1f\x8b\x08\x00"))
		f.Add(name, []byte("\ufeff"+strings.Replace(first, `"data":{"n":1}`, `"data_base64":5`, 1)))
		f.Add(name, []byte(`{"datacontentencoding":"","specversion":"0.3"}`))
		f.Add(name, []byte("Mode: structured\nContextAttributes:\n  specversion: 1.0\n  type: t\n  id: 007\n  source: /s\n"))
		f.Add(name, []byte("ContextAttributes:\n  type: &a t\n  id: *a\n  source: /s\nData: \"---\\r\\n \\0\"\n"))
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		switch name {
		case "a.jsonl", "a.json", "a.yaml", "a.jsonl.gz":
		default:
			return
		}
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := replay.Create(filepath.Join(dir, "out.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		documents, err := replay.Create(filepath.Join(dir, "out.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var want, inDocuments []string
		for e, err := range replay.Read(path) {
			if err != nil {
				continue
			}
			if err := e.Validate(); err != nil {
				t.Errorf("%v", err)
			}
			if err := w.Write(e); err == nil {
				want = append(want, e.ID()+"\x00"+string(e.Data()))
			}
			if err := documents.Write(e); err == nil {
				inDocuments = append(inDocuments, e.ID()+"\x00"+string(e.Data()))
			}
		}
		if err := errors.Join(w.Close(), documents.Close()); err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string][]string{"out.jsonl": want, "out.yaml": inDocuments} {
			got, err := read(filepath.Join(dir, file))
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s: %d events read back, %v; want %d", file, len(got), err, len(want))
			}
			for i := range got {
				if g := got[i].ID() + "\x00" + string(got[i].Data()); g != want[i] {
					t.Errorf("%s: event %d is %q, want %q", file, i, g, want[i])
				}
			}
		}
	})
}
