package fetchorg

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func TestAllFaultsOfTheConfigurationAreToldAtOnce(t *testing.T) {
	_, err := newSweeper(t.Context(), map[string]string{
		"REDIS_URL": "redis://:hunter2@[broken", "GITHUB_GRAPHQL_URL": "api.github.com", "OWNERS": "a=b=c, x y, p=x",
		"SWEEP_PERIOD": "1s", "PAGE_SIZE": "1000", "KAFKA_BROKERS": "nowhere",
	})
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{"REDIS_URL", "GITHUB_GRAPHQL_URL", "SWEEP_PERIOD", "PAGE_SIZE", "KAFKA_BROKERS", `invalid login "b=c"`, "belongs to both"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password in: %v", err)
	}
}

func TestASecretShowsItselfToNobody(t *testing.T) {
	cfg := Config{Asking: Asking{Tokens: "ghp_x", Redis: "redis://:ghp_x@host"}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "cfg", cfg, "token", cfg.Asking.Tokens)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "cfg", cfg, "token", cfg.Asking.Tokens)
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(text) + fmt.Sprintf("%v %+v %#v %s %q %x", cfg, cfg, cfg, cfg.Asking.Tokens, cfg.Asking.Tokens, cfg.Asking.Tokens)
	if strings.Contains(all, "ghp_x") || strings.Contains(all, fmt.Sprintf("%x", "ghp_x")) {
		t.Errorf("the secret in: %s", all)
	}
}

func TestOwnersComeFromTheListAndTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(file, []byte("companies:\n  meta: [facebook, FacebookResearch]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, errs := readRoster("torvalds nvidia=NVIDIA,meta=facebook", file)
	if errs != nil {
		t.Fatal(errs)
	}
	if got := fmt.Sprint(slices.Sorted(maps.Keys(r))); got != "[facebook facebookresearch nvidia torvalds]" {
		t.Errorf("owners %s", got)
	}
	if c := r["facebookresearch"].Company; c != "meta" {
		t.Errorf("company %q", c)
	}
	if c := r["torvalds"].Company; c != "" {
		t.Errorf("torvalds belongs to %q", c)
	}
	if err := os.WriteFile(file, []byte("company:\n  meta: [facebook]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := readRoster("", file); errs == nil || !strings.Contains(errs.Error(), "company") {
		t.Errorf("a misspelt key: %v", errs)
	}
}

func TestBadInputIsRefusedForGood(t *testing.T) {
	w := newWorld(t)
	instance := serve.New("fetch-org", open)
	if err := instance.Start(t.Context(), w.env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.Stop(t.Context()) })
	known, err := w.codec.Record(t.Context(), &event.FetchRequested{SweepID: w.sweepID(), Login: "jane"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, ceType, contentType, body string
		want                            int
	}{
		{"a request by hand", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + w.sweepID() + `","login":"jane"}`, http.StatusNoContent},
		{"a tick", event.TypeTick, "application/json", `{"do":"wake"}`, http.StatusNoContent},
		{"a tick that asks for something else", event.TypeTick, "application/json", `{"do":"dance"}`, http.StatusUnprocessableEntity},
		{"a tick that is not JSON", event.TypeTick, "application/json", `dance`, http.StatusUnprocessableEntity},
		{"another type", event.TypeRepoObserved, "application/json", `{}`, http.StatusUnprocessableEntity},
		{"no login", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + w.sweepID() + `"}`, http.StatusUnprocessableEntity},
		{"a login that is none", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + w.sweepID() + `","login":"a b"}`, http.StatusUnprocessableEntity},
		{"a sweep that is no time", event.TypeFetchRequested, "application/json", `{"sweep_id":"today","login":"jane"}`, http.StatusUnprocessableEntity},
		{"a sweep in the future", event.TypeFetchRequested, "application/json", `{"sweep_id":"2999-01-01T00:00:00Z","login":"jane"}`, http.StatusUnprocessableEntity},
		{"malformed Avro", event.TypeFetchRequested, "application/avro", "\x00\x00", http.StatusUnprocessableEntity},
		{"an unknown schema, of a registry that may be another one", event.TypeFetchRequested, "application/avro", "\x00\x00\x00\x00\x64xyz", http.StatusServiceUnavailable},
		{"a known schema", event.TypeFetchRequested, "application/avro", string(known.Value), http.StatusNoContent},
		{"an unknown schema", event.TypeFetchRequested, "application/avro", "\x00\x00\x00\x00\x63xyz", http.StatusUnprocessableEntity},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("Ce-Specversion", "1.0")
		r.Header.Set("Ce-Id", "1")
		r.Header.Set("Ce-Source", "/test")
		r.Header.Set("Ce-Type", c.ceType)
		r.Header.Set("Content-Type", c.contentType)
		answer := httptest.NewRecorder()
		instance.Handle(answer, r)
		if answer.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.what, answer.Code, answer.Body, c.want)
		}
	}
}
