package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/mod/semver"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/download"
)

// errAlone says that this pulse lacks what belongs to it: it was copied without it.
var errAlone = errors.New("this pulse does not have beside it what it runs: run it from a checkout or an archive of a release (docs/releases.md)")

// released is where what belongs to a program that `go install` made is kept: a folder
// of the cache by its version. "" if that is no release.
func released() (dir, module, version string, err error) {
	info, ok := debug.ReadBuildInfo()
	if !ok || !semver.IsValid(info.Main.Version) || info.Main.Sum == "" {
		return "", "", "", nil // built in a checkout: `go install` alone notes the checksum of what it fetched
	}
	cache, err := download.Dir()
	if err != nil {
		return "", "", "", err
	}
	return filepath.Join(cache, "release", info.Main.Version), info.Main.Path, info.Main.Version, nil
}

// completed returns if this pulse has what belongs to it, and does not return if it
// could become one that has.
//
// `go install` makes a program alone. What else an archive of the release holds, Go
// then fetches, checked by its checksum database, and builds. It is safe to repeat: the
// folder of the cache gets its name when it is whole.
func completed(ctx context.Context, p *place) error {
	dir, module, version, err := released()
	if err != nil {
		return err
	}
	_, alone := stack.Program("aggregate")
	switch {
	case dir == "" && !isComplete(p.root):
		return errAlone
	case dir == "" || alone == nil:
		return nil
	case isComplete(dir):
		return become(dir)
	}
	program, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("fetch the rest of %s@%s: %w", module, version, err)
	}
	fmt.Printf("Fetching the rest of %s %s and building its functions, once (a minute or two) …\n", module, version)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("fetch the rest of %s@%s: %w", module, version, err)
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".making-")
	if err != nil {
		return fmt.Errorf("fetch the rest of %s@%s: %w", module, version, err)
	}
	defer os.RemoveAll(made)
	if err := assemble(ctx, program, module, version, made); err != nil {
		return fmt.Errorf("fetch the rest of %s@%s: %w", module, version, err)
	}
	if err := os.Rename(made, dir); err != nil && !isComplete(dir) { // another process may have been first
		return fmt.Errorf("keep the rest of %s@%s: %w", module, version, err)
	}
	return become(dir)
}

// become runs the pulse of a folder in the place of this one, with the same arguments.
func become(dir string) error {
	self := filepath.Join(dir, "bin", "pulse")
	return fmt.Errorf("run %s: %w", self, syscall.Exec(self, append([]string{self}, os.Args[1:]...), os.Environ()))
}

// assemble puts into a folder what an archive of the release has.
func assemble(ctx context.Context, program, module, version, into string) error {
	main, err := fetchModule(ctx, program, module, version)
	if err != nil {
		return err
	}
	if err := os.CopyFS(into, os.DirFS(main)); err != nil {
		return fmt.Errorf("copy %s: %w", main, err)
	}
	functions, err := os.ReadDir(filepath.Join(main, "cmd", "functions"))
	if err != nil {
		return fmt.Errorf("list the functions: %w", err)
	}
	// What has a go.mod of its own is not in the main module.
	nested := []string{"infra/collector"}
	for _, f := range functions {
		nested = append(nested, "functions/"+f.Name())
	}
	for _, n := range nested {
		from, err := fetchModule(ctx, program, module+"/"+n, version)
		if err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(into, filepath.FromSlash(n)), os.DirFS(from)); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	build := exec.CommandContext(ctx, program, "install", "-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w", module+"/cmd/pulse@"+version, module+"/cmd/functions/...@"+version)
	build.Dir, build.Env = into, append(os.Environ(), "GOBIN="+filepath.Join(into, "bin"), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the functions: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// fetchModule has Go fetch a module, and says where it is.
func fetchModule(ctx context.Context, program, module, version string) (dir string, err error) {
	get := exec.CommandContext(ctx, program, "mod", "download", "-json", module+"@"+version)
	get.Dir, get.Env = os.TempDir(), append(os.Environ(), "GOWORK=off")
	out, err := get.Output()
	var got struct{ Dir, Error string }
	if json.Unmarshal(out, &got) == nil && got.Error != "" {
		return "", errors.New(strings.TrimSpace(got.Error))
	}
	if err != nil || got.Dir == "" {
		return "", fmt.Errorf("fetch %s@%s: %w", module, version, err)
	}
	return got.Dir, nil
}

// isComplete says whether a folder has what a stack is started from.
func isComplete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "infra", "knative", "sources.yaml"))
	return err == nil
}
