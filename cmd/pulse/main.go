// Command pulse runs M7 Pulse on one machine and looks after it anywhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type commands struct {
	Version   kong.VersionFlag `help:"Print the version and exit."`
	Up        upCommand        `cmd:"" help:"Start the local stack, replay the recording, show the fastest movers."`
	Down      downCommand      `cmd:"" help:"Stop the local stack; nothing is lost."`
	Status    statusCommand    `cmd:"" help:"Show what runs, how far each stage has come, and what failed."`
	Tick      tickCommand      `cmd:"" help:"Sweep GitHub now instead of at the hour."`
	Wake      wakeCommand      `cmd:"" help:"Make functions process now what is left."`
	Replay    replayCommand    `cmd:"" help:"Send recorded CloudEvents through the pipeline."`
	Record    recordCommand    `cmd:"" help:"Write CloudEvents to a file: those of a topic, or those posted to an address."`
	Drain     drainCommand     `cmd:"" help:"Work off a stage's backlog in bulk mode, in one or more processes."`
	Reprocess reprocessCommand `cmd:"" help:"Compute days or histories again from the observations."`
	Maintain  maintainCommand  `cmd:"" help:"Compact Iceberg's files, expire old snapshots, delete orphaned files."`
	Rebuild   rebuildCommand   `cmd:"" help:"Fill one store again from the other."`
	Audit     auditCommand     `cmd:"" help:"Check that Kafka, ClickHouse and Iceberg have the same observations, each once."`
	DLQ       dlqCommand       `cmd:"" name:"dlq" help:"List the dead letters; send them again, or drop them."`
	Owners    ownersCommand    `cmd:"" help:"List, add and remove the owners to sweep, and forecast their cost."`
	Top       topCommand       `cmd:"" help:"Show the fastest growing repositories of each company."`
	Repo      repoCommand      `cmd:"" help:"Show the counters of one repository, day by day."`
	Compare   compareCommand   `cmd:"" help:"Show repositories side by side, raw and as an index."`
	Trends    trendsCommand    `cmd:"" help:"Rank companies, owners or languages by stars a day."`
	Emulator  emulatorCommand  `cmd:"" name:"github-emulator" help:"Run a stand-in for GitHub that can be swept without a token."`
	Function  functionCommand  `cmd:"" help:"Run one function in this process, as a cluster would."`
	Embedded  embeddedCommand  `cmd:"" hidden:"" help:"Run one embedded server in this process."`
}

// place is where a command finds its stack.
type place struct {
	home stack.Home
	root string
	env  map[string]string // the process's own environment
}

func main() {
	if err := noteWidth(os.Stdout); err != nil {
		fail(err)
	}
	finish, err := checkOutput()
	if err != nil {
		fail(err)
	}
	var c commands
	parser, err := kong.New(&c, kong.Name("pulse"), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		durations(), kong.Vars{"version": version()}, kong.Exit(func(code int) {
			if err := finish(); err != nil && code == 0 {
				fail(err)
			}
			os.Exit(code)
		}),
		kong.Description("How fast open source moves at the Magnificent 7. Environment: PULSE_HOME holds the state of a stack (.pulse; .pulse-live with GITHUB_TOKEN)."))
	if err != nil {
		fail(err)
	}
	parsed, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := locate()
	if err == nil {
		parsed.BindTo(ctx, (*context.Context)(nil))
		err = parsed.Run(p)
	}
	written := finish()
	var silent exitStatus
	if errors.As(err, &silent) && written != nil {
		err = nil
	}
	if err := errors.Join(err, written); err != nil {
		fail(err)
	}
}

// fail says what is wrong, in one line where one is enough, and ends.
func fail(err error) {
	var silent exitStatus
	if errors.As(err, &silent) {
		os.Exit(int(silent))
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			line = "pulse: " + line
		}
		fmt.Fprintln(os.Stderr, visible(line))
	}
	os.Exit(1)
}

// exitStatus ends the program without a further message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

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
	for _, home := range []stack.Home{liveHome, emulatedHome} {
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
// binary. A function in a cluster has none, and needs none.
func findRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of pulse: %w", err)
	}
	for _, from := range []string{wd, filepath.Dir(self)} {
		for dir := from; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "infra", "knative", "sources.yaml")); err == nil {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return wd, nil
}

// quiet logs errors only, for commands that show something else on the terminal.
func quiet() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
}
