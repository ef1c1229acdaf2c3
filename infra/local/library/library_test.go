package library

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/download"
)

func TestAMissingNPMIsOneClearLine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("PULSE_CACHE", t.TempDir())
	_, err := Fetch(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "npm, which is not on PATH: install Node.js, or install clickhouse") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestOtherPlatformsAreToldToInstallClickHouse(t *testing.T) {
	for _, c := range []struct{ goos, goarch, loader string }{{"darwin", "arm64", "/"}, {"linux", "arm64", "/"}, {"linux", "amd64", "/no/such/loader"}} {
		if err := supported(c.goos, c.goarch, c.loader); !errors.Is(err, ErrPlatform) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestTheRealEngineIsFetched(t *testing.T) {
	seen := map[download.Stage]bool{}
	path, err := Fetch(context.Background(), func(p download.Progress) { seen[p.Stage] = true })
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != engine().Size {
		t.Errorf("%s: %v %v", path, info, err)
	}
	t.Log(path, seen)
}
