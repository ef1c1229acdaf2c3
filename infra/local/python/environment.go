// Package python makes Python environments in the user's cache, each from a file of
// pinned requirements. All stacks of the user share them.
package python

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/download"
)

// Environment is one that is made of a file of requirements.
type Environment struct {
	Name         string // of its folder in the cache
	Requirements string // the file
	Cache        string // of this user
	// Making, if not nil, is called before the environment is made, which takes minutes.
	Making func()
	// Step, if not nil, is called as each step begins.
	Step func(number, of int, name string)
}

// ErrNone says that there is no Python that can be used.
var ErrNone = errors.New("it needs Python 3.11 or 3.12 with venv, and there is none on PATH")

// uvVersion is the installer's: it takes a tenth of pip's time.
const uvVersion = "0.13.9"

// stopGrace is how long an installer that is asked to stop may take.
const stopGrace = 10 * time.Second

// Make returns the Python of the environment, and makes it if it is not there; what
// the installers print goes to log. One process makes it, the others wait. It is safe
// to repeat, also after it was ended.
func (e Environment) Make(ctx context.Context, log io.Writer) (string, error) {
	base, dir, err := e.place(ctx)
	if err != nil {
		return "", err
	}
	python, complete := interpreter(dir), marker(dir)
	if _, err := os.Stat(complete); err == nil {
		return python, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make its cache: %w", err)
	}
	unlock, err := download.Lock(ctx, dir+".lock", func() {})
	if err != nil {
		return "", fmt.Errorf("lock its cache: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(complete); err == nil { // the one we waited for has made it
		return python, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clear a broken environment: %w", err)
	}
	if e.Making != nil {
		e.Making()
	}
	steps := []struct {
		name string
		args []string
	}{
		{"make its Python environment", []string{base, "-m", "venv", dir}},
		{"get the installer", []string{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv==" + uvVersion}},
		{"install the packages", []string{filepath.Join(dir, "bin", "uv"), "pip", "install", "--quiet", "--python", python, "--compile-bytecode", "-r", e.Requirements}},
	}
	for i, step := range steps {
		if e.Step != nil {
			e.Step(i+1, len(steps), step.name)
		}
		cmd := exec.Command(step.args[0], step.args[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := child.Run(ctx, cmd, stopGrace); err != nil {
			return "", fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return python, os.WriteFile(complete, nil, 0o644)
}

// Find returns the Python of the environment if it was made, else "".
func (e Environment) Find(ctx context.Context) (string, error) {
	_, dir, err := e.place(ctx)
	if errors.Is(err, ErrNone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(marker(dir)); err != nil {
		return "", nil
	}
	return interpreter(dir), nil
}

// place is where the environment is, and the Python that it is made with: another
// one, or other requirements, are another place.
func (e Environment) place(ctx context.Context) (base, dir string, err error) {
	base, version, err := find(ctx)
	if err != nil {
		return "", "", err
	}
	wanted, err := os.ReadFile(e.Requirements)
	if err != nil {
		return "", "", fmt.Errorf("read its requirements: %w", err)
	}
	digest := sha256.Sum256(append(wanted, base+version...))
	return base, filepath.Join(e.Cache, e.Name, hex.EncodeToString(digest[:8])), nil
}

func interpreter(dir string) string { return filepath.Join(dir, "bin", "python") }

func marker(dir string) string { return filepath.Join(dir, "complete") }

// find looks for a Python that the pinned packages support.
func find(ctx context.Context) (path, version string, err error) {
	for _, name := range []string{"python3.11", "python3.12", "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])").Output()
		if version := strings.TrimSpace(string(out)); err == nil && slices.Contains([]string{"3.11", "3.12"}, version) {
			return path, version, nil
		}
	}
	return "", "", ErrNone
}
