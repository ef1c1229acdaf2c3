package registry

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
)

func serve(t *testing.T, dir string) (*sr.Client, *Registry) {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r.Handler())
	t.Cleanup(func() { server.Close(); r.Close() })
	client, err := sr.NewClient(sr.URLs(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	return client, r
}

// record is an Avro schema with these fields.
func record(fields ...string) sr.Schema {
	return sr.Schema{Type: sr.TypeAvro, Schema: `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`}
}

const (
	id       = `{"name":"id","type":"long"}`
	count    = `{"name":"n","type":"int"}`
	countStr = `{"name":"n","type":"string"}`
	optional = `{"name":"o","type":["null","string"],"default":null}`
	required = `{"name":"r","type":"string"}`
)

func register(t *testing.T, client *sr.Client, subject string, schema sr.Schema) int {
	t.Helper()
	got, err := client.CreateSchema(t.Context(), subject, schema)
	if err != nil {
		t.Fatalf("register %s: %v", schema.Schema, err)
	}
	return got.ID
}

func wantCode(t *testing.T, what string, err error, code int) {
	t.Helper()
	var e *sr.ResponseError
	if !errors.As(err, &e) || e.ErrorCode != code {
		t.Errorf("%s: got %v, want code %d", what, err, code)
	}
}

func TestEachLevelRefusesWhatBreaksItsReaders(t *testing.T) {
	both, less, more := record(id, count), record(id), record(id, count, required)
	for _, c := range []struct {
		level            sr.CompatibilityLevel
		name             string
		versions         []sr.Schema // registered before, with level NONE
		schema           sr.Schema
		allowed, checked bool // by a registration, by a check against the newest version
	}{
		{sr.CompatNone, "anything", []sr.Schema{both}, record(countStr), true, true},
		{sr.CompatBackward, "a field less", []sr.Schema{both}, less, true, true},
		{sr.CompatBackward, "a field more without default", []sr.Schema{both}, more, false, false},
		{sr.CompatBackward, "a field more with default", []sr.Schema{both}, record(id, count, optional), true, true},
		{sr.CompatBackward, "another type", []sr.Schema{both}, record(id, countStr), false, false},
		{sr.CompatBackward, "another type than an older version's", []sr.Schema{both, less}, record(id, `{"name":"n","type":"string","default":""}`), true, true},
		{sr.CompatBackwardTransitive, "another type than an older version's", []sr.Schema{both, less}, record(id, `{"name":"n","type":"string","default":""}`), false, true},
		{sr.CompatForward, "a field more without default", []sr.Schema{both}, more, true, true},
		{sr.CompatForward, "a field less", []sr.Schema{both}, less, false, false},
		{sr.CompatForward, "a field less than an older version", []sr.Schema{both, less}, record(id, required), true, true},
		{sr.CompatForwardTransitive, "a field less than an older version", []sr.Schema{both, less}, record(id, required), false, true},
		{sr.CompatFull, "a field more with default", []sr.Schema{both}, record(id, count, optional), true, true},
		{sr.CompatFull, "a field more without default", []sr.Schema{both}, more, false, false},
		{sr.CompatFull, "a field less", []sr.Schema{both}, less, false, false},
		{sr.CompatFull, "a field less than an older version", []sr.Schema{both, less}, record(id, optional), true, true},
		{sr.CompatFullTransitive, "a field less than an older version", []sr.Schema{both, less}, record(id, optional), false, true},
		{sr.CompatFullTransitive, "a field more with default", []sr.Schema{record(id), record(id, optional)}, record(id, `{"name":"p","type":"int","default":0}`), true, true},
	} {
		t.Run(c.level.String()+"/"+c.name, func(t *testing.T) {
			client, _ := serve(t, t.TempDir())
			ctx := t.Context()
			setLevel(t, client, sr.CompatNone)
			for _, version := range c.versions {
				register(t, client, "s", version)
			}
			setLevel(t, client, c.level)
			if got, err := client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), "s", -1, c.schema); err != nil || got.Is != c.checked || (len(got.Messages) == 0) != c.checked {
				t.Errorf("check: %+v, %v, want %v", got, err, c.checked)
			}
			_, err := client.CreateSchema(ctx, "s", c.schema)
			if c.allowed && err != nil {
				t.Errorf("register: %v", err)
			}
			if !c.allowed {
				wantCode(t, "register", err, 409)
			}
		})
	}
}

func setLevel(t *testing.T, client *sr.Client, level sr.CompatibilityLevel, subjects ...string) {
	t.Helper()
	for _, r := range client.SetCompatibility(t.Context(), sr.SetCompatibility{Level: level}, subjects...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func TestTheLevelIsBackwardUnlessSet(t *testing.T) {
	client, _ := serve(t, t.TempDir())
	for _, r := range client.Compatibility(t.Context()) {
		if r.Err != nil || r.Level != sr.CompatBackward {
			t.Errorf("%v %v", r.Level, r.Err)
		}
	}
}

func TestAnOldVersionRegisteredAgainKeepsItsID(t *testing.T) {
	client, _ := serve(t, t.TempDir())
	old := register(t, client, "s", record(id, count, required))
	register(t, client, "s", record(id))
	if again := register(t, client, "s", record(id, count, required)); again != old { // against the newest it would be refused
		t.Errorf("id %d, want %d", again, old)
	}
	if other := register(t, client, "another", record(id, count, required)); other != old {
		t.Errorf("under another subject: id %d, want %d", other, old)
	}
}

func TestErrorsHaveTheirCodes(t *testing.T) {
	client, _ := serve(t, t.TempDir())
	ctx := t.Context()
	register(t, client, "s", record(id))
	_, err := client.CheckCompatibility(ctx, "unknown", -1, record(id))
	wantCode(t, "check on an unknown subject", err, 40401)
	_, err = client.CheckCompatibility(ctx, "s", 7, record(id))
	wantCode(t, "check on an unknown version", err, 40402)
	_, err = client.SchemaByVersion(ctx, "s", 7)
	wantCode(t, "unknown version", err, 40402)
	_, err = client.SchemaByVersion(ctx, "unknown", 1)
	wantCode(t, "version of an unknown subject", err, 40401)
	_, err = client.SchemaByID(ctx, 99)
	wantCode(t, "unknown id", err, 40403)
	_, err = client.CreateSchema(ctx, "s", sr.Schema{Schema: `{"type":"rec`})
	wantCode(t, "broken schema", err, 42201)
	_, err = client.CreateSchema(ctx, "s", sr.Schema{Schema: `syntax = "proto3";`, Type: sr.TypeProtobuf})
	wantCode(t, "not Avro", err, 42201)
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	client, _ := serve(t, dir)
	first := register(t, client, "a/b", record(id))
	second := register(t, client, "a/b", record(id, optional))
	gone := register(t, client, "gone", record(count))
	register(t, client, "soft", record(id, count))
	setLevel(t, client, sr.CompatFull)
	setLevel(t, client, sr.CompatNone, "free")
	if _, err := client.DeleteSubject(ctx, "soft", sr.SoftDelete); err != nil {
		t.Fatal(err)
	}
	if err := client.DeleteSchema(ctx, "a/b", 1, sr.SoftDelete); err != nil {
		t.Fatal(err)
	}
	for _, how := range []sr.DeleteHow{sr.SoftDelete, sr.HardDelete} {
		if _, err := client.DeleteSubject(ctx, "gone", how); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // twice: replaying adds nothing
		client, _ = serve(t, dir)
		if got, err := client.SchemaByID(ctx, first); err != nil || got.Schema != record(id).Schema {
			t.Errorf("id %d: %v %v", first, got, err)
		}
		if got, err := client.SchemaByVersion(ctx, "a/b", -1); err != nil || got.ID != second || got.Version != 2 {
			t.Errorf("newest: %+v %v", got, err)
		}
		if got, err := client.Subjects(ctx); err != nil || strings.Join(got, " ") != "a/b" {
			t.Errorf("subjects %v %v", got, err)
		}
		if got, err := client.SubjectVersions(ctx, "a/b"); err != nil || len(got) != 1 || got[0] != 2 {
			t.Errorf("versions %v %v", got, err)
		}
		for _, r := range client.Compatibility(ctx, "a/b", "free") {
			if want := map[string]sr.CompatibilityLevel{"a/b": sr.CompatFull, "free": sr.CompatNone}[r.Subject]; r.Err != nil || r.Level != want {
				t.Errorf("level of %s: %v %v", r.Subject, r.Level, r.Err)
			}
		}
	}
	if next := register(t, client, "next", record(required)); next <= gone {
		t.Errorf("id %d after %d", next, gone)
	}
}

func TestAnUnfinishedLastLineIsDropped(t *testing.T) {
	dir := t.TempDir()
	client, r := serve(t, dir)
	first := register(t, client, "s", record(id))
	register(t, client, "s", record(id, optional))
	r.Close()
	path := filepath.Join(dir, "schemas.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := bytes.IndexByte(text, '\n') + 1; cut < len(text); cut += 7 {
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		client, r := serve(t, dir)
		if got, err := client.SchemaByVersion(t.Context(), "s", -1); err != nil || got.Version != 1 || got.ID != first {
			t.Fatalf("cut at %d: %+v %v", cut, got, err)
		}
		register(t, client, "s", record(id, optional))
		r.Close()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("cut at %d: the journal became %s, %v", cut, got, err)
		}
	}
}

func TestADamagedJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	client, r := serve(t, dir)
	register(t, client, "s", record(id))
	register(t, client, "s", record(id, optional))
	r.Close()
	path := filepath.Join(dir, "schemas.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"a byte":          bytes.Replace(text, []byte("long"), []byte("lonk"), 1),
		"a line lost":     text[bytes.IndexByte(text, '\n')+1:],
		"half of a line":  text[20:],
		"the last's text": bytes.Replace(text, []byte(`"id\":2`), []byte(`"id\":3`), 1),
		"a blank line":    append([]byte("\n"), text...),
	} {
		if bytes.Equal(damaged, text) {
			t.Fatalf("%s: nothing was damaged", name)
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is damaged in line") {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, damaged) {
			t.Errorf("%s: the journal was changed, %v", name, err)
		}
	}
}

func TestNothingChangesOnceTheJournalCannotBeWritten(t *testing.T) {
	client, r := serve(t, t.TempDir())
	register(t, client, "s", record(id))
	r.journal.close()
	for range 2 {
		_, err := client.CreateSchema(t.Context(), "s", record(id, optional))
		wantCode(t, "register", err, 50001)
	}
}
