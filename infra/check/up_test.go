package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs a script with programs that answer as those of an installation
// where all goes well, and returns what it prints and what it called.
func script(t *testing.T, dir, path string, env ...string) (out, called string) {
	t.Helper()
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "called")
	stub := `#!/bin/sh
echo "${0##*/} $*" >>` + log + `
case "$*" in
*clickhouse-client*) echo 42664 ;;
*"get clusters"*) echo m7pulse ;;
esac
`
	for _, name := range []string{"kubectl", "docker", "go", "make", "curl"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(stub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", path)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + bin + ":/usr/bin:/bin"}, env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, text)
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), string(calls)
}

// Whoever has no token sees the recording, and learns how to go on from there.
func TestUpSaysHowToGiveTheTokenThatIsMissing(t *testing.T) {
	compose := t.TempDir() // up.sh writes beside itself
	if err := os.CopyFS(compose, os.DirFS(root+"/infra/compose")); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"infra/kind/up.sh": root, "infra/compose/up.sh": compose} {
		path := name
		if dir == compose {
			path = "up.sh"
		}
		lines := func(env ...string) (n int) {
			out, _ := script(t, dir, path, env...)
			for line := range strings.Lines(out) {
				if strings.Contains(line, "GITHUB_TOKEN is not set") && strings.Contains(line, "GITHUB_TOKEN=… "+name) {
					n++
				}
			}
			return n
		}
		if n := lines(); n != 1 {
			t.Errorf("%s without a token says so in %d lines, want 1", name, n)
		}
		if n := lines("GITHUB_TOKEN=ghp_of_nobody"); n != 0 {
			t.Errorf("%s with a token says that it has none", name)
		}
	}
}

// An object that is applied now on the server and now by the client has two
// owners of its fields, and the later apply is refused or warns. Secrets are the
// client's: stringData does not work well on the server.
func TestKindAppliesEachObjectOneWay(t *testing.T) {
	_, called := script(t, root, "infra/kind/up.sh")
	n := 0
	for line := range strings.Lines(called) {
		if !strings.Contains(line, " apply ") {
			continue
		}
		n++
		if strings.Contains(line, "--server-side") {
			continue
		}
		if !strings.HasSuffix(strings.TrimSpace(line), "apply --filename -") {
			t.Errorf("applied by the client: %s", line)
		}
	}
	if n < 10 {
		t.Errorf("up.sh applies %d times:\n%s", n, called)
	}
}
