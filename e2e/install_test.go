package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/m7pulse/m7pulse/shared/download"
)

// What `go install` makes is a program alone. Here a release is tagged in a clone,
// its modules are served as a module proxy would, and pulse is installed from there
// into an empty cache.
func TestGoInstallNeedsNoRepository(t *testing.T) {
	long(t)
	const version = "v0.0.1-test"
	clone, proxy, bin := filepath.Join(t.TempDir(), "clone"), t.TempDir(), t.TempDir()
	shell := func(dir string, env []string, command string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", command, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	shell("..", nil, "git", "clone", "--quiet", ".", clone)
	// What is not committed yet is released too: the test is of the tree that it stands in.
	if changes := shell("..", nil, "git", "ls-files", "--modified", "--others", "--exclude-standard"); changes != "" {
		for _, name := range strings.Split(changes, "\n") {
			if _, err := os.Stat(filepath.Join("..", name)); err == nil {
				copyFile(t, filepath.Join("..", name), filepath.Join(clone, name))
			} else if err := os.Remove(filepath.Join(clone, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	who := []string{"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@localhost", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@localhost"}
	shell(clone, nil, "git", "add", "--all")
	shell(clone, who, "git", "commit", "--quiet", "--allow-empty", "--message", "The tree")
	was := shell(clone, nil, "git", "rev-parse", "HEAD")
	if out := shell(clone, who, "infra/release/tag.sh", version); !strings.HasSuffix(out, "git push origin "+version) {
		t.Errorf("tag.sh: %s", out)
	}
	if is := shell(clone, nil, "git", "rev-parse", "HEAD"); is != was || shell(clone, nil, "git", "status", "--porcelain") != "" {
		t.Errorf("tag.sh moved the branch from %s to %s", was, is)
	}

	own := shell(clone, []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Path}}")
	for _, tag := range strings.Fields(shell(clone, nil, "git", "tag", "--list", "*"+version)) {
		folder := strings.TrimSuffix(strings.TrimSuffix(tag, version), "/")
		m := module.Version{Path: strings.TrimSuffix(own+"/"+folder, "/"), Version: version}
		at := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		archive, err := os.Create(filepath.Join(at, version+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		if err := zip.CreateFromVCS(archive, m, clone, tag, folder); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			version + ".info": fmt.Sprintf(`{"Version": %q, "Time": "2026-01-01T00:00:00Z"}`, version),
			version + ".mod":  shell(clone, nil, "git", "show", tag+":"+strings.TrimPrefix(folder+"/go.mod", "/")),
			"list":            version,
		} {
			if err := os.WriteFile(filepath.Join(at, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}

	cache := t.TempDir()
	engine, err := download.Dir()
	if err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir(engine)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders { // nothing that is there is fetched again
		if f.Name() != "release" {
			if err := os.Symlink(filepath.Join(engine, f.Name()), filepath.Join(cache, f.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	known := "file://" + shell("..", nil, "go", "env", "GOMODCACHE") + "/cache/download"
	golang := []string{
		"GOPROXY=file://" + proxy + "," + known + "," + shell("..", nil, "go", "env", "GOPROXY"), "GONOSUMDB=" + own + "," + own + "/*", "GOMODCACHE=" + t.TempDir(),
		"GOFLAGS=-modcacherw", "GOWORK=off", "GOBIN=" + bin, "CGO_ENABLED=0", "PULSE_CACHE=" + cache,
	}
	empty := t.TempDir()
	shell(empty, golang, "go", "install", "-trimpath", "-tags=grpcnotrace", own+"/cmd/pulse@"+version)

	p := newPulse(t, golang...)
	p.program = filepath.Join(bin, "pulse")
	if out := p.run("--version"); !strings.HasPrefix(out, "pulse "+version) {
		t.Errorf("--version: %s", out)
	}
	out := p.run("up", "--detach")
	if !strings.Contains(out, "Fetching the rest of") || !strings.Contains(out, "Audit clean") {
		t.Errorf("up:\n%s", out)
	}
	p.wantRecording()
	if out := p.run("tour", "--all"); !strings.Contains(out, "8 of 8") {
		t.Errorf("tour:\n%s", out)
	}
	p.run("down")
	if out := p.run("up", "--detach"); strings.Contains(out, "Fetching") {
		t.Errorf("the second start:\n%s", out)
	}
	p.run("down")
}
