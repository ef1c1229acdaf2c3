package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// place is where a command finds its stack.
type place struct {
	home stack.Home
	root string
	env  map[string]string // the process's own environment
}

// locate finds the home of the stack and the repository's root.
func locate() (*place, error) {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
		switch {
		case !strings.HasPrefix(name, "PULSE_"):
		case name == "PULSE_HOME", name == "PULSE_CACHE", name == "PULSE_CONTROL_URL":
		default:
			return nil, fmt.Errorf("unknown variable %s: want PULSE_HOME or PULSE_CACHE", name)
		}
	}
	p := &place{env: env, home: stack.Home(env["PULSE_HOME"])}
	if p.home == "" {
		p.home = defaultHome(env)
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	p.root = root
	return p, nil
}

// The homes of the kinds of stack. They are separate, so that recorded, live and
// emulated data never mix in one store.
const (
	recordedHome = ".pulse"
	liveHome     = ".pulse-live"
	emulatedHome = ".pulse-emulated"
	demoHome     = ".pulse-demo"
)

func defaultHome(env map[string]string) stack.Home {
	switch {
	case stack.KindOf(env) == stack.Emulated:
		return emulatedHome
	case stack.Live(env):
		return liveHome
	case stack.Home(recordedHome).Running() != 0:
		return recordedHome
	}
	for _, home := range []stack.Home{liveHome, emulatedHome, demoHome} {
		if home.Running() != 0 {
			return home
		}
	}
	return recordedHome
}

// addresses are where the servers are: those of the process's own environment
// if it names them, else those of the stack.
func (p *place) addresses() (map[string]string, error) {
	if p.env["KAFKA_BROKERS"] != "" && p.env["SCHEMA_REGISTRY_URL"] != "" {
		return p.env, nil
	}
	return p.home.ReadEnv()
}

// findRoot looks for the manifests above the working directory, then above the
// binary, then where completed puts them. A function in a cluster has none, and needs
// none.
func findRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	self, err := stack.Self()
	if err != nil {
		return "", err
	}
	for _, from := range []string{wd, filepath.Dir(self)} {
		for dir := from; ; dir = filepath.Dir(dir) {
			if isComplete(dir) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if dir, _, _, err := released(); err != nil || dir != "" && isComplete(dir) {
		return dir, err
	}
	return wd, nil
}

// runner is what runs the functions of the stack.
func (p *place) runner(env map[string]string) pipeline.Runner {
	return runner{p.home, stack.NewControl(env)}
}

type runner struct {
	stack.Home
	*stack.Control
}

// hotStore opens the ClickHouse of the stack that is up.
func (p *place) hotStore() (driver.Conn, error) {
	env, err := p.home.ReadEnv()
	if err != nil {
		return nil, err
	}
	return sinkclickhouse.Open(env["CLICKHOUSE_URL"])
}

// pipeline opens Kafka and both stores of the stack, whose addresses it returns too.
func (p *place) pipeline(ctx context.Context) (*pipeline.Pipeline, map[string]string, error) {
	env, err := p.addresses()
	if err != nil {
		return nil, nil, err
	}
	s, err := pipeline.Open(ctx, env)
	return s, env, err
}

// kafka is how to reach the stack's Kafka.
func (p *place) kafka(ctx context.Context) (kafka.Config, error) {
	env, err := p.addresses()
	if err != nil {
		return kafka.Config{}, err
	}
	return stack.KafkaOf(ctx, env)
}

// ownersEnv is the environment of the stack, overridden by the process's own: with
// REDIS_URL set the commands of owners work on any installation.
func (p *place) ownersEnv() (map[string]string, error) {
	env := map[string]string{}
	if p.env["REDIS_URL"] == "" {
		var err error
		if env, err = p.home.ReadEnv(); err != nil {
			return nil, err
		}
	}
	maps.Copy(env, p.env)
	return env, nil
}

// closeStores closes what a command has read from. An error is printed only: the
// command has done its work.
func closeStores(c io.Closer) {
	if err := c.Close(); err != nil {
		fmt.Println(err)
	}
}

// mark says of what a command has shown to a person that it never was, if so. What
// programs read is not touched.
func (p *place) mark(args []string) {
	if len(args) == 0 || slices.Contains(args, "--json") || slices.Contains(args, "--csv") {
		return
	}
	switch args[0] {
	case "status", "audit", "top", "repo", "compare", "trends", "people", "flow", "signals", "digest", "coverage":
		if kind, err := p.home.Kind(); err == nil && kind == stack.Simulated {
			fmt.Fprintln(os.Stderr, "ALL OF IT IS SIMULATED: these repositories never were.")
		}
	}
}
