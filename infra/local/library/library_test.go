package library

import (
	"context"
	"errors"
	"os"
	"runtime"
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

func TestEachPlatformHasItsPackage(t *testing.T) {
	f := func(goos, goarch, packed string) {
		t.Helper()
		file, loader, ok := engine(goos, goarch)
		if ok != (packed != "") || file.Package != packed {
			t.Errorf("%s/%s: package %q, known %t", goos, goarch, file.Package, ok)
		}
		if ok && (loader != "") != (goos == "linux") {
			t.Errorf("%s/%s: loader %q", goos, goarch, loader)
		}
	}
	f("linux", "amd64", "@chdb/lib-linux-x64-gnu")
	f("linux", "arm64", "@chdb/lib-linux-arm64-gnu")
	f("darwin", "arm64", "@chdb/lib-darwin-arm64")
	f("darwin", "amd64", "@chdb/lib-darwin-x64")
	f("windows", "amd64", "")
	f("linux", "riscv64", "")
	if err := glibc("/no/such/loader"); !errors.Is(err, ErrPlatform) {
		t.Errorf("without glibc: %v", err)
	}
}

func TestTheRealEngineIsFetched(t *testing.T) {
	seen := map[download.Stage]bool{}
	path, err := Fetch(context.Background(), func(p download.Progress) { seen[p.Stage] = true })
	if err != nil {
		t.Fatal(err)
	}
	file, _, _ := engine(runtime.GOOS, runtime.GOARCH)
	if info, err := os.Stat(path); err != nil || info.Size() != file.Size && file.Size != 0 {
		t.Errorf("%s: %v %v", path, info, err)
	}
	t.Log(path, seen)
}
