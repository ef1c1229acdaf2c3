package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
)

type replayCommand struct {
	Files []string `arg:"" name:"file" help:"CloudEvents as JSON Lines, a JSON batch (.json) or conformance YAML; .gz too."`
	To    string   `default:"kafka" help:"kafka: each event to the topic of its type; or the URL of a function."`
	Speed string   `default:"max" help:"max, or how many times faster than recorded: 1, 60, …"`
	JSON  bool     `help:"Print JSON."`
}

// sender is where events go.
type sender interface {
	Send(ctx context.Context, e cloudevents.Event) error
	Flush(ctx context.Context) error
}

// Run sends the files' events, in their order.
func (r *replayCommand) Run(ctx context.Context, p *place) error {
	pace, err := r.pace()
	if err != nil {
		return err
	}
	to, done, err := r.target(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	leave, err := p.home.EnterReplay()
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	sent := 0
	for _, file := range r.Files {
		n, err := send(ctx, file, 0, pace, to, nil)
		sent += n
		if err != nil {
			return err
		}
	}
	if r.JSON {
		return printJSON(map[string]any{"sent": sent, "seconds": time.Since(began).Seconds()})
	}
	fmt.Printf("%s events sent in %s\n", count(int64(sent)), time.Since(began).Round(time.Millisecond))
	return nil
}

func (r *replayCommand) pace() (*replay.Pace, error) {
	if r.Speed == "max" {
		return &replay.Pace{}, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(r.Speed, "x"), 64)
	if err != nil || speed <= 0 {
		return nil, fmt.Errorf("--speed %s: want max or a number above 0", r.Speed)
	}
	return &replay.Pace{Speed: speed}, nil
}

func (r *replayCommand) target(ctx context.Context, p *place) (sender, func(), error) {
	if r.To != "kafka" {
		u, err := url.Parse(r.To)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, fmt.Errorf("--to %s: want kafka or the URL of a function", r.To)
		}
		return &replay.ToURL{URL: r.To, Client: &http.Client{Timeout: time.Minute}}, func() {}, nil
	}
	env, err := p.addresses()
	if err != nil {
		return nil, nil, err
	}
	k, err := toKafka(ctx, env)
	if err != nil {
		return nil, nil, err
	}
	return k, k.Close, nil
}

func toKafka(ctx context.Context, env map[string]string) (*replay.ToKafka, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return nil, err
	}
	codec, err := event.NewCodec(env["SCHEMA_REGISTRY_URL"])
	if err != nil {
		return nil, err
	}
	return replay.NewToKafka(cfg, codec)
}

// flushEvery is how many events go between two points of no return.
const flushEvery = 5_000

// send sends a file's events but for the first skip of them. durable, if given,
// learns how many of the file's events are safe. It returns how many were sent.
func send(ctx context.Context, file string, skip int, pace *replay.Pace, to sender, durable func(int) error) (sent int, err error) {
	bar, err := progress(file)
	if err != nil {
		return 0, err
	}
	defer bar.Close()
	flush := func(at int) error {
		if err := to.Flush(ctx); err != nil {
			return err
		}
		if durable != nil {
			return durable(at)
		}
		return nil
	}
	at := 0
	for e, err := range replay.Read(file) {
		if err != nil {
			return sent, errors.Join(err, flush(at))
		}
		at++
		if at <= skip {
			continue
		}
		if err := pace.Wait(ctx, e); err != nil {
			return sent, errors.Join(err, to.Flush(context.WithoutCancel(ctx)))
		}
		if err := to.Send(ctx, e); err != nil {
			return sent, errors.Join(err, flush(at-1))
		}
		sent++
		if err := bar.Add(1); err != nil {
			return sent, err
		}
		if at%flushEvery == 0 {
			if err := flush(at); err != nil {
				return sent, err
			}
		}
	}
	return sent, flush(at)
}

// progress shows a bar on a terminal, and nothing elsewhere.
func progress(what string) (*progressbar.ProgressBar, error) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return progressbar.DefaultSilent(-1), nil
	}
	return progressbar.NewOptions(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("replay "+what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish()), nil
}
