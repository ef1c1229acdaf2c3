package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/m7pulse/m7pulse/shared/freeport"
)

// Home is the folder that holds all state of one local stack.
type Home string

// ErrRunning says that a stack is up in this home.
var ErrRunning = errors.New("a stack is already running here")

// ErrDied says that the stack of this home ended without being stopped.
var ErrDied = errors.New("the stack has died")

// Died says whether the last stack in this home ended without being stopped.
func (h Home) Died() bool {
	_, err := os.Stat(h.EnvFile())
	return err == nil && h.Running() == 0
}

func (h Home) path(names ...string) string {
	return filepath.Join(append([]string{string(h)}, names...)...)
}

// EnvFile holds the addresses of a running stack.
func (h Home) EnvFile() string { return h.path("env") }

// BackfillJournal is where a backfill notes which hours of GH Archive it has read.
func (h Home) BackfillJournal() string { return h.path("backfill-gharchive.jsonl") }

// QualityDir is where the pages of the data's quality are.
func (h Home) QualityDir() string { return h.path("quality") }

// LogDir is where the servers and functions log to.
func (h Home) LogDir() string { return h.path("log") }

// lock makes this process the only one in the home, until the returned file is
// closed or the process ends.
func (h Home) lock() (*os.File, error) {
	if err := os.MkdirAll(h.LogDir(), 0o755); err != nil {
		return nil, fmt.Errorf("create the home: %w", err)
	}
	f, err := os.OpenFile(h.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the home: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s (pid %s): see `pulse status`, stop it with `pulse down`, or set PULSE_HOME to another folder", ErrRunning, h, h.pid())
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid()))); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the home: %w", err)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func (h Home) pid() string {
	b, err := os.ReadFile(h.path("lock"))
	if err != nil || len(b) == 0 {
		return "unknown"
	}
	return string(b)
}

// Running returns the pid of the stack in this home, or 0.
func (h Home) Running() int {
	f, err := os.OpenFile(h.path("lock"), os.O_RDWR, 0o644)
	if err != nil {
		return 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0
	}
	pid, err := strconv.Atoi(h.pid())
	if err != nil {
		return 0
	}
	return pid
}

// plain values need no quotes in a shell.
const plain = `^[A-Za-z0-9_./:,@%+=-]*$`

// writeEnv writes the addresses as NAME=value lines that a shell can source.
func (h Home) writeEnv(env map[string]string) error {
	unquoted := regexp.MustCompile(plain)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := env[name]
		if !unquoted.MatchString(value) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		fmt.Fprintf(&b, "%s=%s\n", name, value)
	}
	return replaceFile(h.EnvFile(), []byte(b.String()))
}

// ReadEnv reads the addresses of the stack in this home.
func (h Home) ReadEnv() (map[string]string, error) {
	b, err := os.ReadFile(h.EnvFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no stack is up in %s: start one with `pulse up`", h)
	}
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	if h.Running() == 0 {
		return nil, fmt.Errorf("%w: %s (its pid was %s): start it again with `pulse up`, which goes on where it was", ErrDied, h, h.pid())
	}
	env := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if quoted, ok := strings.CutPrefix(value, "'"); ok {
			value = strings.ReplaceAll(strings.TrimSuffix(quoted, "'"), `'\''`, "'")
		}
		env[name] = value
	}
	return env, nil
}

// replaceFile writes a file in one step; its content may hold secrets.
func replaceFile(path string, content []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ports remembers which port each server had, so that addresses last from one
// start to the next as long as nobody else takes them.
type ports struct {
	home  Home
	taken map[string]int
}

func (h Home) ports() (*ports, error) {
	p := &ports{home: h, taken: map[string]int{}}
	b, err := os.ReadFile(h.path("ports.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p.taken)
	}
	if err != nil {
		return nil, fmt.Errorf("read the ports: %w", err)
	}
	return p, nil
}

// get returns a free port for a server, the one it had if it can, and never that
// of another server: several are chosen before the first is listened on.
func (p *ports) get(server string) (int, error) {
	others := map[int]bool{}
	for name, port := range p.taken {
		others[port] = others[port] || name != server
	}
	if had := p.taken[server]; had != 0 && !others[had] {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(had))); err == nil {
			return had, l.Close()
		}
	}
	for range 100 {
		port, err := freeport.Find()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", server, err)
		}
		if !others[port] {
			p.taken[server] = port
			return port, nil
		}
	}
	return 0, fmt.Errorf("%s: find a port that no other server has: none of 100 tried", server)
}

func (p *ports) save() error {
	b, err := json.Marshal(p.taken)
	if err != nil {
		return fmt.Errorf("write the ports: %w", err)
	}
	return replaceFile(p.home.path("ports.json"), b)
}

// Port returns the port that is wanted for a server if it is free, else any, and
// remembers it.
func (h Home) Port(server string, wanted int) (int, error) {
	p, err := h.ports()
	if err != nil {
		return 0, err
	}
	p.taken[server] = wanted
	port, err := p.get(server)
	if err != nil {
		return 0, err
	}
	return port, p.save()
}
