package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

type rebuildCommand struct {
	Hot rebuildHot `cmd:"" help:"Fill a second set of ClickHouse tables and exchange it for the current one."`
}

type rebuildHot struct {
	From string `required:"" enum:"cold" placeholder:"cold" help:"Source: cold, the tables in Iceberg."`
	JSON bool   `help:"Print JSON."`
}

// Run makes the hot store hold what the cold store holds; what Kafka has beyond
// that the function stores afterwards. It may be stopped and started again.
func (r *rebuildHot) Run(ctx context.Context, p *place) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	s, err := openStores(ctx, env)
	if err != nil {
		return err
	}
	defer s.close()
	began := time.Now()
	partitions := 0
	for _, topic := range []string{event.TopicProcessedRepos, event.TopicSweeps} {
		ends, err := kafka.Ends(ctx, s.kafka, topic)
		if err != nil {
			return err
		}
		partitions = max(partitions, len(ends))
	}
	rows, err := sinkiceberg.Rows(ctx, s.cold, sinkiceberg.TableProcessed)
	if err != nil {
		return err
	}
	hot, err := sinkclickhouse.BeginRebuild(ctx, env, partitions)
	if err != nil {
		return err
	}
	bar := progressbar.DefaultSilent(rows)
	if term.IsTerminal(int(os.Stderr.Fd())) {
		bar = progressbar.NewOptions64(rows, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("rebuild hot"),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionClearOnFinish())
	}
	err = fill(ctx, s, hot, bar)
	if err := errors.Join(err, hot.Close(), bar.Close()); err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if r.JSON {
		return printJSON(map[string]any{"rows": rows, "seconds": seconds})
	}
	fmt.Printf("hot: %s rows in %.1f s\n", count(rows), seconds)
	return nil
}

func fill(ctx context.Context, s *stores, hot *sinkclickhouse.Rebuild, bar *progressbar.ProgressBar) error {
	processed, err := sinkiceberg.ReadProcessed(ctx, s.cold, nil, func(rows []*event.RepoProcessed) error {
		_ = bar.Add(len(rows)) // a bar that cannot be drawn stops nothing
		return hot.Processed(rows)
	})
	if err != nil {
		return err
	}
	swept, err := sinkiceberg.ReadSwept(ctx, s.cold, hot.Swept)
	if err != nil {
		return err
	}
	return hot.Publish(map[string][]kafka.Mark{event.TopicProcessedRepos: processed.Marks(), event.TopicSweeps: swept.Marks()})
}
