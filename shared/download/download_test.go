package download

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeNPM puts an npm on PATH that answers `npm pack` with a package of one engine, and counts its calls in the file it returns.
func fakeNPM(t *testing.T, engine []byte) (calls string) {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "answer.tgz")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for name, data := range map[string][]byte{"package/index.js": []byte("x"), "package/libchdb.so": engine} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{w.Close, z.Close, f.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	calls = filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s\nsleep 0.3\nwhile [ \"$1\" != --pack-destination ]; do shift; done\ncp %s \"$2/package.tgz\"\n", calls, archive)
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}

func fileOf(content []byte) File {
	sum := sha256.Sum256(content)
	return File{Folder: "folder", Package: "engine", Version: "1", Member: "package/libchdb.so", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

func TestOneOfManyProcessesDownloadsAndAllGetTheEngine(t *testing.T) {
	engine := []byte("an engine")
	calls, cache := fakeNPM(t, engine), t.TempDir()
	t.Setenv("PULSE_CACHE", cache)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			path, err := fileOf(engine).Fetch(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(engine) {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	all.Wait()
	log, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "\n"); n != 1 {
		t.Errorf("npm was called %d times, want once:\n%s", n, log)
	}
	left, err := filepath.Glob(filepath.Join(cache, "folder", "1", "fetch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("scratch directories left: %v %v", left, err)
	}
}

func TestAnotherEngineThanThePinnedOneIsRefused(t *testing.T) {
	fakeNPM(t, []byte("an engine!"))
	cache := t.TempDir()
	t.Setenv("PULSE_CACHE", cache)
	_, err := fileOf([]byte("an engine.")).Fetch(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("got %v, want a digest error", err)
	}
	if _, err := os.Stat(filepath.Join(cache, "folder", "1", "libchdb.so")); !os.IsNotExist(err) {
		t.Errorf("the wrong engine was kept: %v", err)
	}
}

func TestFileWithoutAPinnedDigestIsTakenAsNPMGivesIt(t *testing.T) {
	calls := fakeNPM(t, []byte("an engine"))
	t.Setenv("PULSE_CACHE", t.TempDir())
	file := File{Folder: "folder", Package: "engine", Version: "1", Member: "package/libchdb.so", Limit: 8}
	if _, err := file.Fetch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "larger than 8 bytes") {
		t.Errorf("got %v, want that it is too large", err)
	}
	file.Limit = 9
	for range 2 { // the second time it is in the cache
		path, err := file.Fetch(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "an engine" {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if log, err := os.ReadFile(calls); err != nil || strings.Count(string(log), "\n") != 2 {
		t.Errorf("npm was called for %q, %v", log, err)
	}
}

func TestAMissingNPMIsOneClearLine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("PULSE_CACHE", t.TempDir())
	_, err := fileOf(nil).Fetch(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "npm, which is not on PATH") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestWhatNPMSaysIsWrongIsOneLine(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf 'npm error code E404\\nnpm error 404 Not Found\\nnpm error more\\n' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("PULSE_CACHE", t.TempDir())
	_, err := fileOf(nil).Fetch(t.Context(), nil)
	if want := "npm pack engine@1: exit status 1: 404 Not Found"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
