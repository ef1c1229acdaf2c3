// Command pulse runs M7 Pulse on one machine and looks after it anywhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/m7pulse/m7pulse/infra/knative"
)

type commands struct {
	Version   kong.VersionFlag `help:"Print the version and exit."`
	Up        upCommand        `cmd:"" help:"Start the local stack, replay the recording, show the fastest movers."`
	Down      downCommand      `cmd:"" help:"Stop the local stack; nothing is lost."`
	Tour      tourCommand      `cmd:"" help:"Show in a few minutes what there is, with figures of this stack."`
	Status    statusCommand    `cmd:"" help:"Show what runs, how far each stage has come, and what failed."`
	Tick      tickCommand      `cmd:"" help:"Sweep GitHub now instead of at the hour."`
	Wake      wakeCommand      `cmd:"" help:"Make functions process now what is left."`
	Replay    replayCommand    `cmd:"" help:"Send recorded CloudEvents through the pipeline."`
	Backfill  backfillCommand  `cmd:"" help:"Read events of the past from archives."`
	Record    recordCommand    `cmd:"" help:"Write CloudEvents to a file: those of a topic, or those posted to an address."`
	Drain     drainCommand     `cmd:"" help:"Work off a stage's backlog in bulk mode, in one or more processes."`
	Reprocess reprocessCommand `cmd:"" help:"Compute days or histories again from the observations."`
	Maintain  maintainCommand  `cmd:"" help:"Compact Iceberg's files, expire old snapshots, delete orphaned files."`
	Rebuild   rebuildCommand   `cmd:"" help:"Fill one store again from the other."`
	Audit     auditCommand     `cmd:"" help:"Check that Kafka, ClickHouse and Iceberg have the same observations, each once."`
	Quality   qualityCommand   `cmd:"" help:"Hold the data of both stores against what is expected of it, by Great Expectations."`
	Watch     watchCommand     `cmd:"" help:"Look once a minute for what must not go on unseen, and raise signals."`
	Doctor    doctorCommand    `cmd:"" help:"Look at every server, setting and credential, and say what is wrong and how to mend it."`
	DLQ       dlqCommand       `cmd:"" name:"dlq" help:"List the dead letters; send them again, or drop them."`
	Owners    ownersCommand    `cmd:"" help:"List, add and remove the owners to sweep, and forecast their cost."`
	Top       topCommand       `cmd:"" help:"Show the fastest growing repositories of each company."`
	Repo      repoCommand      `cmd:"" help:"Show the counters of one repository, day by day."`
	Compare   compareCommand   `cmd:"" help:"Show repositories side by side, raw and as an index."`
	Trends    trendsCommand    `cmd:"" help:"Rank companies, owners or languages by stars a day."`
	People    peopleCommand    `cmd:"" help:"Show who works in repositories, and on how few people the merged work hangs."`
	Flow      flowCommand      `cmd:"" help:"Show how long issues and pull requests wait, and how much is done."`
	Forget    forgetCommand    `cmd:"" help:"Delete a person's events from Kafka and both stores."`
	Signals   signalsCommand   `cmd:"" help:"Show what happened out of the usual: breakouts, releases, failed sweeps."`
	Notify    notifyCommand    `cmd:"" help:"Try the targets that signals are sent to."`
	Trace     traceCommand     `cmd:"" help:"Show what was done in a sweep, or for one repository, from tick to row: how long each step took."`
	Digest    digestCommand    `cmd:"" help:"Write what happened in a day or a week: movers, signals, completeness."`
	Coverage  coverageCommand  `cmd:"" help:"Show how many events GitHub's feeds have lost, by the counters."`
	MCP       mcpCommand       `cmd:"" name:"mcp" help:"Let an assistant ask the stack's API: a server of the Model Context Protocol on standard input and output."`
	Emulator  emulatorCommand  `cmd:"" name:"github-emulator" help:"Run a stand-in for GitHub that can be swept without a token."`
	Function  functionCommand  `cmd:"" help:"Run one function in this process, as a cluster would."`
	Embedded  embeddedCommand  `cmd:"" hidden:"" help:"Run one embedded server in this process."`
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
	routes, err := knative.ReadRoutes()
	if err != nil {
		fail(err)
	}
	parser, err := kong.New(&c, kong.Name("pulse"), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		durations(), kong.Vars{"version": version(), "functions": strings.Join(append(routes.Functions(), "api"), ",")}, kong.Exit(func(code int) {
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
		p.mark(os.Args[1:])
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

// quiet logs errors only, for commands that show something else on the terminal.
func quiet() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
}
