// Package library puts libchdb.so, the ClickHouse engine of a local stack, on this machine.
//
// The engine is one shared object inside an npm package. Fetch asks the user's own npm for that package, so that the user's registry, proxy and
// credentials apply, takes the one file out of it, and keeps it in the user's cache under the name of its version. Limits: linux/amd64 with glibc; about
// 170 MB are downloaded and 560 MB kept; the digest is checked when the file comes in, its size alone each time after that.
package library

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A Stage is what Fetch is doing.
type Stage string

const (
	Waiting     Stage = "waiting for another process" // which fetches the same file
	Downloading Stage = "downloading"                 // npm does not report its progress: Done stays 0
	Unpacking   Stage = "unpacking"
)

// Progress says how far Fetch is, in bytes of the stage.
type Progress struct {
	Stage       Stage
	Done, Total int64
}

// ErrPlatform is wrapped in every error that says this machine cannot run the embedded engine.
var ErrPlatform = errors.New("the embedded ClickHouse engine needs linux/amd64 with glibc: install clickhouse and put it on PATH")

// release is one pinned build of the engine.
type release struct {
	spec        string // what npm is asked for
	version     string
	member      string // the file inside the package
	sha256      string
	packageSize int64
	size        int64
}

func pinned() release {
	return release{
		spec:        "@chdb/lib-linux-x64-gnu@26.5.3",
		version:     "26.5.3",
		member:      "package/libchdb.so",
		sha256:      "4330da79405733f7572f27c1442f46c03a08301f00859dce0368645731b1e1dc",
		packageSize: 166_572_008,
		size:        559_044_752,
	}
}

// Fetch returns the path of the engine, and downloads it first where the cache lacks it. Any number of processes may call it at once: one downloads, the
// others wait for it. The cache is $PULSE_CACHE, else m7pulse in the user's cache directory. progress may be nil.
func Fetch(ctx context.Context, progress func(Progress)) (string, error) {
	if err := supported(runtime.GOOS, runtime.GOARCH, "/lib64/ld-linux-x86-64.so.2"); err != nil {
		return "", err
	}
	cache := os.Getenv("PULSE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory (set PULSE_CACHE): %w", err)
		}
		cache = filepath.Join(dir, "m7pulse")
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	return fetch(ctx, pinned(), cache, progress)
}

// supported says whether the engine can run: loader is the path that glibc gives its dynamic loader, and musl does not.
func supported(goos, goarch, loader string) error {
	if goos != "linux" || goarch != "amd64" {
		return fmt.Errorf("%w (this is %s/%s)", ErrPlatform, goos, goarch)
	}
	if _, err := os.Stat(loader); err != nil {
		return fmt.Errorf("%w (this system has no glibc)", ErrPlatform)
	}
	return nil
}

func fetch(ctx context.Context, r release, cache string, progress func(Progress)) (string, error) {
	dir := filepath.Join(cache, "chdb", r.version)
	target := filepath.Join(dir, filepath.Base(r.member))
	if complete(target, r) {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the engine's cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"), func() { progress(Progress{Stage: Waiting}) })
	if err != nil {
		return "", fmt.Errorf("lock the engine's cache: %w", err)
	}
	defer unlock()
	if complete(target, r) { // the one we waited for has fetched it
		return target, nil
	}
	scratch, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", fmt.Errorf("make the engine's cache: %w", err)
	}
	defer os.RemoveAll(scratch)
	progress(Progress{Stage: Downloading, Total: r.packageSize})
	archive, err := pack(ctx, r, scratch)
	if err != nil {
		return "", err
	}
	fresh := filepath.Join(scratch, filepath.Base(r.member))
	if err := unpack(ctx, r, archive, fresh, progress); err != nil {
		return "", fmt.Errorf("unpack %s: %w", r.spec, err)
	}
	if err := os.Rename(fresh, target); err != nil {
		return "", fmt.Errorf("keep the engine: %w", err)
	}
	return target, nil
}

// complete trusts the size: only a file whose digest was right, and which was on disk by then, ever gets this name.
func complete(path string, r release) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == r.size
}

// pack has npm download the package and returns the path of the archive.
func pack(ctx context.Context, r release, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("the embedded ClickHouse engine is fetched with npm, which is not on PATH: install Node.js, or install clickhouse and put it on PATH")
	}
	cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", dir, r.spec)
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("npm pack %s: %w", r.spec, context.Cause(ctx))
		}
		return "", fmt.Errorf("npm pack %s: %w: %s", r.spec, err, firstLine(stderr.String()))
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack %s: expected one archive, found %d", r.spec, len(found))
	}
	return found[0], nil
}

// firstLine picks what npm says is wrong out of what it says.
func firstLine(stderr string) string {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "npm error "); ok && !strings.HasPrefix(rest, "code ") {
			return rest
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	return line
}

// unpack writes the engine to path and makes sure that it is the pinned one, and on disk.
func unpack(ctx context.Context, r release, archive, path string, progress func(Progress)) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()
	plain, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	files := tar.NewReader(plain)
	for {
		header, err := files.Next()
		if err == io.EOF {
			return fmt.Errorf("it holds no %s", r.member)
		}
		if err != nil {
			return err
		}
		if header.Name == r.member {
			break
		}
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	digest := sha256.New()
	var done int64
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.CopyN(io.MultiWriter(out, digest), files, 8<<20)
		done += n
		progress(Progress{Stage: Unpacking, Done: done, Total: r.size})
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if done > r.size {
			return fmt.Errorf("%s is larger than the pinned %d bytes", r.member, r.size)
		}
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != r.sha256 {
		return fmt.Errorf("sha256 of %s is %s, pinned is %s", r.member, got, r.sha256)
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}
