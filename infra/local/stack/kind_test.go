package stack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAHomeKeepsItsKind(t *testing.T) {
	kinds := map[Kind]map[string]string{
		"recorded":                 {},
		"emulated":                 {"GITHUB_TOKEN": "t", "GITHUB_GRAPHQL_URL": "http://127.0.0.1:9470/graphql"},
		"live from api.github.com": {"GITHUB_TOKEN": "t"},
		"live from ghe.example":    {"GITHUB_TOKEN": "t", "GITHUB_GRAPHQL_URL": "https://GHE.example/api/graphql"},
	}
	for kind, env := range kinds {
		if got := KindOf(env); got != kind {
			t.Errorf("%v is %s, want %s", env, got, kind)
		}
		h := Home(t.TempDir())
		for range 2 { // again as the same kind
			if err := h.keepKind(kind); err != nil {
				t.Fatal(err)
			}
		}
		for other := range kinds {
			if err := h.keepKind(other); errors.Is(err, ErrKind) != (other != kind) {
				t.Errorf("a home of %s started as %s: %v", kind, other, err)
			}
		}
		if holds, err := h.Kind(); err != nil || holds != kind {
			t.Errorf("a home of %s holds %s, %v", kind, holds, err)
		}
	}
	old := Home(t.TempDir())
	if err := os.WriteFile(filepath.Join(string(old), "recording.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := old.CheckKind("live from api.github.com"); !errors.Is(err, ErrKind) {
		t.Errorf("a home of an older version, with a recording: %v", err)
	}
}
