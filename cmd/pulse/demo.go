package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/demo"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// told is the note in a home of the world that was told to its stack.
type told struct {
	From time.Time `json:"from"`
	Done bool      `json:"done"`
}

// demonstrate fills the stack with a world that never was, once, and waits until it has
// gone through all stages. Interrupted, it tells the same world again from its beginning:
// each record has its key, so nothing is stored twice.
func (u *upCommand) demonstrate(ctx context.Context, p *place, s *stack.Stack) (filled bool, err error) {
	note := filepath.Join(string(p.home), "demo.json")
	world, err := readTold(note)
	if err != nil {
		return false, err
	}
	st, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return false, err
	}
	defer closeStores(st)
	began, written := time.Now(), 0
	if !world.Done {
		if world.From.IsZero() {
			world.From, _ = demo.Span(began)
			if err := writeTold(note, world); err != nil {
				return false, err
			}
		}
		fmt.Println("Simulating two months of the seven companies on a GitHub that never was, through Kafka and every function …")
		if written, err = tell(ctx, s.Env, world.From); err != nil {
			return false, err
		}
		world.Done = true
		if err := writeTold(note, world); err != nil {
			return false, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := st.WaitAtRest(waiting, p.runner(s.Env)); err != nil {
		return false, err
	}
	if written > 0 {
		fmt.Printf("%s observations, events and lines of ledgers through all stages in %s. ALL OF IT IS SIMULATED.\n", count(int64(written)), time.Since(began).Round(10*time.Millisecond))
	}
	return written > 0, nil
}

// tell writes a world to Kafka, and rings for it.
func tell(ctx context.Context, env map[string]string, from time.Time) (written int, err error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return 0, err
	}
	codec, err := event.NewWriter(env["SCHEMA_REGISTRY_URL"], kafka.Newest(cfg))
	if err != nil {
		return 0, err
	}
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		return 0, fmt.Errorf("write the simulated world: %w", err)
	}
	defer producer.Close()
	var once sync.Once
	var failed error
	bar := newBar("simulate", "records")
	defer bar.close()
	err = demo.Tell(ctx, from, func(ctx context.Context, v any) error {
		record, err := codec.Record(ctx, v, false)
		if err != nil {
			return err
		}
		producer.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
		written++
		bar.step()
		return nil
	})
	if err = errors.Join(err, producer.Flush(ctx)); err == nil {
		err = failed // after the last of the callbacks
	}
	if err == nil {
		err = producer.ProduceSync(ctx, event.NewBell(event.TopicBaseRepos), event.NewBell(event.TopicEvents)).FirstErr()
	}
	if err != nil {
		return 0, fmt.Errorf("write the simulated world: %w", err)
	}
	return written, nil
}

func readTold(path string) (t told, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return told{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return told{}, fmt.Errorf("read what was simulated: %w", err)
	}
	return t, nil
}

func writeTold(path string, t told) error {
	text, err := json.Marshal(t)
	if err == nil {
		err = os.WriteFile(path+".new", append(text, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note what was simulated: %w", err)
	}
	return nil
}
