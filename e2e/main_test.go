package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the pulse that all tests of this run use; the functions' programs
// are beside it.
const binary = "../bin/e2e/pulse"

// long skips a test that is only slow when tests run with -short, as in `make
// test`. `make long-test` runs them all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: make long-test runs it")
	}
}

func TestMain(m *testing.M) {
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	build := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-o", filepath.Dir(binary)+"/", "../cmd/pulse", "../cmd/functions/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build pulse: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
