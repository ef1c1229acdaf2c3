// Package library puts libchdb.so, the ClickHouse engine of a local stack, on this machine.
//
// The engine is one shared object inside an npm package. Limits: Linux with glibc or
// macOS, amd64 or arm64; about 170 MB are downloaded and 560 MB kept.
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
var ErrPlatform = errors.New("the embedded ClickHouse engine needs Linux with glibc or macOS, on amd64 or arm64: install clickhouse and put it on PATH")

// engine is the pinned build for a platform: loader is the path that glibc gives its
// dynamic loader there, and musl does not. Only that for linux/amd64 has been run, so
// only its digest is pinned; the others are checked against what npm says of them.
func engine(goos, goarch string) (file download.File, loader string, ok bool) {
	file = download.File{Folder: "chdb", Version: "26.5.3", Member: "package/libchdb.so", Limit: 2 << 30}
	switch goos + "/" + goarch {
	case "linux/amd64":
		file.Package, loader = "@chdb/lib-linux-x64-gnu", "/lib64/ld-linux-x86-64.so.2"
		file.SHA256, file.Size, file.PackageSize = "4330da79405733f7572f27c1442f46c03a08301f00859dce0368645731b1e1dc", 559_044_752, 166_572_008
	case "linux/arm64":
		file.Package, loader = "@chdb/lib-linux-arm64-gnu", "/lib/ld-linux-aarch64.so.1"
	case "darwin/arm64":
		file.Package = "@chdb/lib-darwin-arm64"
	case "darwin/amd64":
		file.Package = "@chdb/lib-darwin-x64"
	default:
		return file, "", false
	}
	return file, loader, true
}

// Fetch returns the path of the engine, and downloads it first where the user's cache lacks it. Any number of processes may call it at once. progress may
// be nil.
func Fetch(ctx context.Context, progress func(download.Progress)) (string, error) {
	file, loader, ok := engine(runtime.GOOS, runtime.GOARCH)
	if !ok {
		return "", fmt.Errorf("%w (this is %s/%s)", ErrPlatform, runtime.GOOS, runtime.GOARCH)
	}
	if err := glibc(loader); err != nil {
		return "", err
	}
	path, err := file.Fetch(ctx, progress)
	if err != nil {
		err = fmt.Errorf("the embedded ClickHouse engine: %w", err)
	}
	if errors.Is(err, download.ErrNoNPM) {
		err = fmt.Errorf("%w, or install clickhouse and put it on PATH", err)
	}
	return path, err
}

// glibc reports an error if a system that needs a loader lacks it.
func glibc(loader string) error {
	if loader == "" {
		return nil
	}
	if _, err := os.Stat(loader); err != nil {
		return fmt.Errorf("%w (this system has no glibc)", ErrPlatform)
	}
	return nil
}
