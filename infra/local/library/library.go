// Package library puts libchdb.so, the ClickHouse engine of a local stack, on this machine.
//
// The engine is one shared object inside an npm package. Limits: linux/amd64 with glibc; about 170 MB are downloaded and 560 MB kept.
package library

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/m7pulse/m7pulse/shared/download"
)

// ErrPlatform is wrapped in every error that says this machine cannot run the embedded engine.
var ErrPlatform = errors.New("the embedded ClickHouse engine needs linux/amd64 with glibc: install clickhouse and put it on PATH")

// engine is the pinned build.
func engine() download.File {
	return download.File{
		Folder:      "chdb",
		Package:     "@chdb/lib-linux-x64-gnu",
		Version:     "26.5.3",
		Member:      "package/libchdb.so",
		SHA256:      "4330da79405733f7572f27c1442f46c03a08301f00859dce0368645731b1e1dc",
		Size:        559_044_752,
		PackageSize: 166_572_008,
	}
}

// Fetch returns the path of the engine, and downloads it first where the user's cache lacks it. Any number of processes may call it at once. progress may
// be nil.
func Fetch(ctx context.Context, progress func(download.Progress)) (string, error) {
	if err := supported(runtime.GOOS, runtime.GOARCH, "/lib64/ld-linux-x86-64.so.2"); err != nil {
		return "", err
	}
	path, err := engine().Fetch(ctx, progress)
	if err != nil {
		err = fmt.Errorf("the embedded ClickHouse engine: %w", err)
	}
	if errors.Is(err, download.ErrNoNPM) {
		err = fmt.Errorf("%w, or install clickhouse and put it on PATH", err)
	}
	return path, err
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
