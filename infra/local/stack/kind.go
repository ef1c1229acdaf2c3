package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
)

// Kind says where the data of a stack comes from. Data of two kinds never meet in
// one store: their repository ids may be the same, and rates over both are wrong.
type Kind string

// The kinds, but for "live from HOST".
const (
	Recorded  Kind = "recorded"
	Emulated  Kind = "emulated"
	Simulated Kind = "simulated"
)

// Ends says whether the data of a kind ends at some time: then no new reading is due.
func (k Kind) Ends() bool { return k == Recorded || k == Simulated }

// simulatedVariable, if it is 1, makes a stack one of simulated data.
const simulatedVariable = "SIMULATED"

// Simulate makes an environment one of simulated data, whatever else it says of GitHub.
func Simulate(env map[string]string) {
	env[simulatedVariable] = "1"
	delete(env, "GITHUB_TOKEN")
}

// gitHub is asked where GITHUB_GRAPHQL_URL names no other server.
const gitHub = "api.github.com"

// KindOf is the kind that an environment starts a stack as: simulated if it says so;
// recorded without a token; emulated if the API is on this machine; else live from the
// API's host.
func KindOf(env map[string]string) Kind {
	if env[simulatedVariable] == "1" {
		return Simulated
	}
	if !Live(env) {
		return Recorded
	}
	host := gitHub
	if u, err := url.Parse(env["GITHUB_GRAPHQL_URL"]); err == nil && u.Hostname() != "" {
		host = strings.ToLower(u.Hostname())
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return Emulated
	}
	return Kind("live from " + host)
}

// ErrKind says that a store holds data of another kind.
var ErrKind = errors.New("data of two kinds never meet in one store")

// Admit returns an error that wraps ErrKind if a store that holds data of a kind
// ("" for none yet) cannot take data of this one.
func (k Kind) Admit(store string, holds Kind) error {
	if holds == "" || holds == k {
		return nil
	}
	return fmt.Errorf("%s holds data that is %s, and this start is %s: %w", store, holds, k, ErrKind)
}

// Kind is what the home holds, or "" where nothing says it.
func (h Home) Kind() (Kind, error) {
	b, err := os.ReadFile(h.path("kind"))
	switch {
	case err == nil:
		return Kind(strings.TrimSpace(string(b))), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read what kind of data the home holds: %w", err)
	}
	if _, err := os.Stat(h.path(recordingFile)); err == nil { // of a version that noted no kind
		return Recorded, nil
	}
	return "", nil
}

// CheckKind returns an error if the home cannot be started as this kind.
func (h Home) CheckKind(k Kind) error {
	holds, err := h.Kind()
	if err != nil {
		return err
	}
	if err := k.Admit(string(h), holds); err != nil {
		return fmt.Errorf("%w: set PULSE_HOME to another folder", err)
	}
	return nil
}

// keepKind notes the kind in the home; the caller holds the home's lock.
func (h Home) keepKind(k Kind) error {
	if err := h.CheckKind(k); err != nil {
		return err
	}
	return replaceFile(h.path("kind"), []byte(string(k)+"\n"))
}
