package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/m7pulse/m7pulse/functions/aggregate"
)

type reprocessCommand struct {
	State bool `required:"" help:"Forget the histories in Redis and make them anew from Kafka. Nothing is emitted."`
	JSON  bool `help:"Print JSON."`
}

// Run rebuilds aggregate's state. It may be run beside the function, be stopped
// and be started again.
func (r *reprocessCommand) Run(ctx context.Context, p *place) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	bar := progressbar.DefaultSilent(-1)
	if term.IsTerminal(int(os.Stderr.Fd())) {
		bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("reprocess the state"),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"), progressbar.OptionClearOnFinish())
	}
	began := time.Now()
	records, err := aggregate.Rebuild(ctx, env, func(done, all int64) {
		bar.ChangeMax64(all)
		_ = bar.Set64(done) // a bar that cannot be drawn stops nothing
	})
	if err := errors.Join(err, bar.Close()); err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if r.JSON {
		return printJSON(map[string]any{"records": records, "seconds": seconds})
	}
	fmt.Printf("state: %s records in %.1f s\n", count(records), seconds)
	return nil
}
