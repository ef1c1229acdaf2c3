// Package download keeps single files of npm packages in the user's cache. It asks the
// user's own npm for a package, so that the user's registry, proxy and credentials
// apply, and takes the one file out of it. A file's digest is checked when it comes
// in, its size alone each time after that.
package download

import (
	"archive/tar"
	"cmp"
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
	"strings"
	"time"
)

// A Stage is what Fetch is doing.
type Stage string

// The stages.
const (
	Waiting     Stage = "waiting for another process" // which fetches the same file
	Downloading Stage = "downloading"                 // npm does not report its progress: Done stays 0
	Unpacking   Stage = "unpacking"
)

// Progress is how far Fetch is, in bytes of the stage.
type Progress struct {
	Stage       Stage
	Done, Total int64
}

// ErrNoNPM says that a file cannot be downloaded.
var ErrNoNPM = errors.New("it is fetched with npm, which is not on PATH")

// File is one file in a pinned version of an npm package.
type File struct {
	Folder      string // of the cache
	Package     string // as npm knows it
	Version     string
	Member      string // the file's path in the package's archive: package/…
	SHA256      string // in hexadecimal; "": npm's check of the package is enough
	Size        int64  // bytes; 0 if unknown
	Limit       int64  // bytes that a file of unknown size may have
	PackageSize int64  // bytes, for the progress; 0 if unknown
}

func (f File) spec() string { return f.Package + "@" + f.Version }

// Dir is the cache: $PULSE_CACHE, else m7pulse in the user's cache directory.
func Dir() (string, error) {
	if dir := os.Getenv("PULSE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory (set PULSE_CACHE): %w", err)
	}
	return filepath.Join(dir, "m7pulse"), nil
}

// Fetch returns the path of the file in the cache, and downloads it first where the
// cache lacks it. Any number of processes may call it at once: one downloads, the
// others wait for it. progress may be nil.
func (f File) Fetch(ctx context.Context, progress func(Progress)) (string, error) {
	cache, err := Dir()
	if err != nil {
		return "", err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	dir := filepath.Join(cache, f.Folder, f.Version)
	target := filepath.Join(dir, filepath.Base(f.Member))
	if f.complete(target) {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	unlock, err := Lock(ctx, filepath.Join(dir, "lock"), func() { progress(Progress{Stage: Waiting}) })
	if err != nil {
		return "", fmt.Errorf("lock the cache: %w", err)
	}
	defer unlock()
	if f.complete(target) { // the one we waited for has fetched it
		return target, nil
	}
	scratch, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	defer os.RemoveAll(scratch)
	progress(Progress{Stage: Downloading, Total: f.PackageSize})
	archive, err := f.pack(ctx, scratch)
	if err != nil {
		return "", err
	}
	fresh := filepath.Join(scratch, filepath.Base(f.Member))
	if err := f.unpack(ctx, archive, fresh, progress); err != nil {
		return "", fmt.Errorf("unpack %s: %w", f.spec(), err)
	}
	if err := os.Rename(fresh, target); err != nil {
		return "", fmt.Errorf("keep %s: %w", target, err)
	}
	return target, nil
}

// complete trusts the size, or that the file is there: only one whose digest was
// right, and which was on disk by then, ever gets this name.
func (f File) complete(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (info.Size() == f.Size || f.Size == 0)
}

// pack has npm download the package and returns the path of the archive.
func (f File) pack(ctx context.Context, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("%w: install Node.js", ErrNoNPM)
	}
	cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", dir, f.spec())
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("npm pack %s: %w", f.spec(), context.Cause(ctx))
		}
		return "", fmt.Errorf("npm pack %s: %w: %s", f.spec(), err, firstLine(stderr.String()))
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack %s: expected one archive, found %d", f.spec(), len(found))
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

// unpack writes the file to path and makes sure that it is the pinned one, and on disk.
func (f File) unpack(ctx context.Context, archive, path string, progress func(Progress)) error {
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
			return fmt.Errorf("it holds no %s", f.Member)
		}
		if err != nil {
			return err
		}
		if header.Name == f.Member {
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
		progress(Progress{Stage: Unpacking, Done: done, Total: f.Size})
		if most := cmp.Or(f.Size, f.Limit); done > most {
			return fmt.Errorf("%s is larger than %d bytes", f.Member, most)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(digest.Sum(nil)); f.SHA256 != "" && got != f.SHA256 {
		return fmt.Errorf("sha256 of %s is %s, pinned is %s", f.Member, got, f.SHA256)
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}
