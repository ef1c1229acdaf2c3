package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// binary is the pulse that all tests of this run use.
const binary = "../bin/pulse-e2e"

func TestMain(m *testing.M) {
	build := exec.Command("go", "build", "-o", binary, "../cmd/pulse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build pulse: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
