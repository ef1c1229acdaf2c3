package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/schollz/progressbar/v3"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/replay"
)

type upCommand struct {
	Detach    bool          `help:"Return once the stack is ready and its replay, if any, is done."`
	Empty     bool          `help:"Start without the recording."`
	Demo      bool          `help:"Show two simulated months of the seven companies instead of the recording, with every counter, events and ledgers, in a home of their own (.pulse-demo)."`
	IdleAfter time.Duration `default:"60s" help:"Stop a function that has had no event for this long."`
	Superset  bool          `help:"Bring up the dashboards too, in the background (make up does)."`
	Trace     bool          `help:"Trace each sweep from tick to row, which bin/pulse trace shows, and keep metrics. Builds an OpenTelemetry Collector the first time."`
	DropBells float64       `hidden:"" help:"Share of bells to lose, for tests."`
	BellRate  float64       `hidden:"" help:"Most bells a second of one source, for tests; 0: no limit."`
	Status    string        `hidden:"" help:"File in which to report readiness."`
}

// recording is the recorded data that ships with the project.
const recording = "data/m7-2025.jsonl.gz"

// Run brings the stack up, and runs it until a signal stops it.
func (u *upCommand) Run(ctx context.Context, p *place) error {
	if math.IsNaN(u.DropBells) || u.DropBells < 0 || u.DropBells > 1 {
		return fmt.Errorf("--drop-bells %g: want 0 to 1", u.DropBells)
	}
	if u.Demo {
		stack.Simulate(p.env)
		if p.env["PULSE_HOME"] == "" {
			p.home = demoHome
		}
	}
	if err := completed(ctx, p); err != nil {
		return err
	}
	if u.Detach {
		return u.detach(ctx, p)
	}
	self, err := stack.Self()
	if err != nil {
		return err
	}
	home, err := filepath.Abs(string(p.home))
	if err != nil {
		return fmt.Errorf("find PULSE_HOME: %w", err)
	}
	p.home = stack.Home(home)
	kind := stack.KindOf(p.env)
	if err := errors.Join(checkStart(ctx, p), p.home.CheckKind(kind)); err != nil {
		return err
	}
	if err := pipeline.KeepKind(ctx, p.env, kind); err != nil {
		return err
	}
	quiet()
	fmt.Printf("Starting Kafka, schema registry, Redis, ClickHouse, Iceberg and the functions in %s …\n", p.home)
	began := time.Now()
	var engine bar // while its package is unpacked: npm does not say how far a download is
	s, err := stack.Up(ctx, stack.Config{
		Root: p.root, Home: p.home, Self: self, Env: p.env,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
		Fetching: func(done, total int64) {
			if done == 0 {
				return
			}
			if engine.silent() {
				engine = newBar("Unpacking the ClickHouse engine", "", progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(false))
			}
			engine.show(done, total)
		},
		Trace: u.Trace, IdleAfter: u.IdleAfter, DropBells: u.DropBells, BellRate: u.BellRate,
	})
	engine.close()
	if err != nil {
		return err
	}
	err = u.show(ctx, p, s, began)
	if err == nil {
		dashboardsEnded := func() {}
		if u.Superset {
			dashboardsEnded = dashboards(ctx, p, s)
		}
		checksEnded, watchEnded := u.checkHourly(ctx, p, s), func() {}
		reads := !kind.Ends() && kind != stack.Emulated
		if reads || u.Trace {
			if watchEnded, err = watchStack(ctx, p, s, reads); err != nil {
				fmt.Printf("Nothing is watched: %v\n", err)
				watchEnded, err = func() {}, nil
			}
		}
		u.report("ready")
		<-ctx.Done()
		fmt.Println("\nstopping …")
		checksEnded()
		watchEnded()
		dashboardsEnded()
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 80*time.Second)
	defer cancel()
	closed := s.Close(closing)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err := errors.Join(err, closed); err != nil {
		return err
	}
	fmt.Printf("stopped; all data is kept in %s\n", p.home)
	return nil
}

// report writes the state for the process that detached this one.
func (u *upCommand) report(state string) {
	if u.Status == "" {
		return
	}
	if err := os.WriteFile(u.Status, []byte(state), 0o644); err != nil {
		slog.Error("report readiness", "error", err)
	}
}

// show fills the stack and shows what is in it.
func (u *upCommand) show(ctx context.Context, p *place, s *stack.Stack, began time.Time) error {
	fmt.Printf("Open %s: it fills while you look. (Up after %s; Knative is emulated.)\n", s.Env["API_URL"], time.Since(began).Round(time.Millisecond))
	live := stack.Live(p.env)
	replayed := false
	if !live && !u.Empty {
		var err error
		fill := u.fill
		if u.Demo {
			fill = u.demonstrate
		}
		if replayed, err = fill(ctx, p, s); err != nil {
			return err
		}
	}
	if live && !u.Empty {
		if err := u.sweep(ctx, p, s); err != nil {
			return err
		}
	}
	if replayed { // a later start has nothing new to show or to compare
		if err := migrate(ctx, s); err != nil {
			return err
		}
		if err := u.movers(ctx, s); err != nil {
			return err
		}
	} else if !live && !u.Empty {
		// With no redis-server a sink waits for its lease for half a minute, though nothing is left to store.
		go func() {
			if err := migrate(ctx, s); err != nil && ctx.Err() == nil {
				fmt.Printf("The schema may be an older one until the next start: %v\n", err)
			}
		}()
	}
	addresses(s)
	fmt.Println("\nNext: bin/pulse top --window 30d   bin/pulse status   bin/pulse audit   bin/pulse down (or Ctrl-C)")
	return nil
}

// migrate wakes the sinks: one brings the schema of its store up to date when it starts. Until then a home of an older version lacks columns that are queried.
func migrate(ctx context.Context, s *stack.Stack) error {
	for _, sink := range []string{"sink-clickhouse", "sink-iceberg"} {
		if err := stack.NewControl(s.Env).Wake(ctx, sink); err != nil {
			return fmt.Errorf("wake %s: %w", sink, err)
		}
	}
	return nil
}

// fill replays the recording, from where an earlier start stopped, and waits until
// it has gone through all stages. It says whether anything was replayed now.
func (u *upCommand) fill(ctx context.Context, p *place, s *stack.Stack) (replayed bool, err error) {
	file := filepath.Join(p.root, recording)
	state, err := p.home.Replayed(file)
	if err != nil {
		return false, err
	}
	st, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return false, err
	}
	defer closeStores(st)
	if state.Done {
		fmt.Println("The recording was replayed before; nothing is replayed twice. `bin/pulse audit` compares the stores again.")
	}
	began := time.Now()
	sent := 0
	if !state.Done {
		fmt.Printf("Replaying %s: daily readings of 2025, through Kafka and every function …\n", recording)
		to, err := toKafka(ctx, s.Env, "")
		if err != nil {
			return false, err
		}
		defer to.Close()
		bar := newBar("replay "+recording, "events")
		sent, err = replay.File{Path: file, Skip: state.Sent, Pace: &replay.Pace{}, To: to, Sent: bar.step, Durable: func(at int) error {
			state.Sent = at
			return p.home.NoteReplayed(state)
		}}.Send(ctx)
		bar.close()
		if err != nil {
			return false, err
		}
		state.Done = true
		if err := p.home.NoteReplayed(state); err != nil {
			return false, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := st.WaitAtRest(waiting, p.runner(s.Env)); err != nil {
		return false, err
	}
	if sent > 0 {
		took := time.Since(began)
		fmt.Printf("%s events through all stages in %s: %s a second\n", count(int64(sent)), took.Round(10*time.Millisecond), count(int64(float64(sent)/took.Seconds())))
	}
	return sent > 0, nil
}

// movers shows the first tables and the audit.
func (u *upCommand) movers(ctx context.Context, s *stack.Stack) error {
	st, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return err
	}
	defer closeStores(st)
	for _, window := range []string{"7d", "30d"} {
		movers, err := hot.Movers(ctx, st.Hot, window, 3)
		if err != nil {
			return err
		}
		fmt.Println()
		printMovers(window, movers)
	}
	fmt.Println()
	at, err := st.Snapshot(ctx)
	if err != nil {
		return err
	}
	report, err := st.Audit(ctx, at)
	if err != nil {
		return err
	}
	printReport(report)
	return nil
}

func addresses(s *stack.Stack) {
	fmt.Println()
	t := newTable("Server", "What it is", "Address")
	for _, v := range s.Servers {
		t.AppendRow(table.Row{v.Name, v.Kind, v.Address})
	}
	t.Render()
}
