package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/m7pulse/m7pulse/functions/notify/target"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/lease"
)

const (
	lockKey  = prefix + "lock"
	leaseTTL = 10 * time.Second
	// No message is sent after sendFor. A handler has 20 s, a target answerLimit.
	sendFor = 10 * time.Second
	// batch is how many messages are read at once, and the most signals of a digest that
	// are listed, as far as digestBytes allows.
	batch       = 50
	digestBytes = 12 << 10
	// giveUp is how long a message is tried after it was due.
	giveUp = 12 * time.Hour
	// Pauses before the next try.
	firstPause = 5 * time.Second
	lastPause  = time.Hour
	// soon is how long a bell is asked to come again for a message that is not yet due.
	soon = time.Minute
)

// deliver sends what is due, target beside target, under the lease.
func (f *function) deliver(ctx context.Context, began time.Time) error {
	select { // of this process's handlers one sends, the others then find nothing due
	case f.sending <- struct{}{}:
		defer func() { <-f.sending }()
	case <-time.After(sendFor):
		return fmt.Errorf("another handler is sending: %w", kafka.ErrBehind)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	held, err := lease.Acquire(ctx, f.rdb, lockKey, leaseTTL)
	var other *lease.Held
	if errors.As(err, &other) {
		return fmt.Errorf("another handler is sending: %w", kafka.ErrBehind)
	}
	if err != nil {
		return err
	}
	work, stop := held.Keep(ctx)
	err = f.deliverAll(work, began)
	if lost := context.Cause(work); err != nil && errors.Is(lost, lease.ErrLost) {
		err = fmt.Errorf("send messages: %w", lost)
	}
	stop()
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if e := held.Release(releasing); e != nil {
		slog.Warn("release the lease of the outbox: it expires by itself", "error", e)
	}
	return err
}

func (f *function) deliverAll(ctx context.Context, began time.Time) error {
	names, err := f.outbox.targets(ctx)
	if err != nil {
		return err
	}
	failed := make([]error, len(names))
	var targets sync.WaitGroup
	for i, name := range names {
		targets.Go(func() { failed[i] = f.deliverTo(ctx, name, began) })
	}
	targets.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var behind error
	for _, err := range failed {
		if err != nil && !errors.Is(err, kafka.ErrBehind) {
			return err
		}
		behind = cmp.Or(behind, err)
	}
	return behind
}

// deliverTo sends a target what is due, one message after the other, until nothing is
// due, the target has to be left alone, or the time is up.
func (f *function) deliverTo(ctx context.Context, name string, began time.Time) error {
	for first := true; ; first = false {
		due, err := f.outbox.ready(ctx, name, f.now(), batch)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			return f.awaited(ctx, name)
		}
		if f.targets[name] == nil {
			if err := f.abandon(ctx, name, due, errors.New("no such target is configured any more")); err != nil {
				return err
			}
			continue
		}
		if !first && !sleep(ctx, f.targets[name].Pace()) {
			return context.Cause(ctx)
		}
		if time.Since(began) > sendFor {
			return fmt.Errorf("messages for %s are due: %w", name, kafka.ErrBehind)
		}
		pause, err := f.sendSome(ctx, name, due)
		switch {
		case err != nil:
			return err
		case pause > soon: // the target is left alone: a wake goes on
			return nil
		case pause > 0:
			return fmt.Errorf("target %s is left alone for %s: %w", name, pause, kafka.ErrBehind)
		}
	}
}

// awaited fails with kafka.ErrBehind if the next message for a target is due soon, to be
// sent the event again. For a later one the next wake is early enough.
func (f *function) awaited(ctx context.Context, name string) error {
	next, err := f.outbox.next(ctx, name)
	if wait := next.Sub(f.now()); err == nil && !next.IsZero() && wait <= soon {
		return fmt.Errorf("the next message for %s is due in %s: %w", name, wait, kafka.ErrBehind)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// sendSome sends the first of the messages that are due, or those of a digest together.
// If the target does not take them, it is left alone for a pause.
func (f *function) sendSome(ctx context.Context, name string, due []*message) (pause time.Duration, err error) {
	to := f.rules.Targets[name]
	signals := make([]*event.Signal, len(due))
	for i, m := range due {
		if signals[i], err = f.codec.Signal(ctx, m.Record.kafka(event.TopicSignals)); err != nil {
			return 0, fmt.Errorf("read the signal of message %s: %w", m.id, err)
		}
	}
	sent := due
	if to.Digest == nil {
		if due, signals, err = f.hush(ctx, name, due, signals); err != nil || len(due) == 0 {
			return 0, err
		}
		sent, signals = due[:1], signals[:1]
	}
	failed := f.targets[name].Send(ctx, compose(to, sent, signals))
	if ctx.Err() != nil {
		return 0, context.Cause(ctx) // it may have been accepted: it is sent again
	}
	var rejected *target.Rejected
	switch {
	case failed == nil:
		return 0, f.outbox.remove(ctx, name, sent, false)
	case errors.As(failed, &rejected), f.now().Sub(sent[0].Since) > giveUp:
		return 0, f.abandon(ctx, name, sent, failed)
	}
	pause = min(firstPause<<min(sent[0].Tries, 20), lastPause)
	var busy *target.Busy
	if errors.As(failed, &busy) {
		pause = min(max(pause, busy.After), lastPause)
	}
	for _, m := range sent {
		m.Tries++
	}
	slog.Warn("a message was not sent", "target", name, "try", sent[0].Tries, "pause", pause, "error", failed)
	return pause, f.outbox.postpone(ctx, name, due, f.now().Add(pause))
}

// hush keeps the messages for later that must wait for the end of quiet hours, which began
// after they were put in, and returns the others.
func (f *function) hush(ctx context.Context, name string, due []*message, signals []*event.Signal) (others []*message, theirs []*event.Signal, err error) {
	to, now := f.rules.Targets[name], f.now()
	var quiet []*message
	until := now
	for i, m := range due {
		if end := to.due(signals[i], now); end.After(now) {
			m.Since, until = end, end
			quiet = append(quiet, m)
			continue
		}
		others, theirs = append(others, m), append(theirs, signals[i])
	}
	if len(quiet) == 0 {
		return others, theirs, nil
	}
	return others, theirs, f.outbox.postpone(ctx, name, quiet, until)
}

// compose makes one message of signals.
func compose(to Target, sent []*message, signals []*event.Signal) target.Message {
	m := target.Message{ID: key(sent), Signals: signals, Digest: to.Digest != nil}
	bytes := 0
	for i, s := range signals {
		if bytes += len(s.Words); bytes > digestBytes && i > 0 {
			m.Signals, m.Left = signals[:i], len(signals)-i
			break
		}
	}
	return m
}

// key is the id of the message that some signals are sent in.
func key(due []*message) string {
	h := sha256.New()
	for _, m := range due {
		fmt.Fprintf(h, "%q\n", m.id)
	}
	return "msg_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// abandon writes dead letters for messages that cannot be sent, then takes them out of
// the outbox. A dead letter that is retried is taken in again, for this target alone.
func (f *function) abandon(ctx context.Context, name string, due []*message, cause error) error {
	for _, m := range due {
		dead := event.NewDeadLetter(stage, m.Record.kafka(event.TopicSignals), fmt.Errorf("send it to target %s: %w", name, cause))
		dead.Part = name
		letter, err := dead.Record()
		if err != nil {
			return err
		}
		if err := f.producer.ProduceSync(ctx, letter).FirstErr(); err != nil {
			return fmt.Errorf("write the dead letter of message %s: %w", m.id, err)
		}
	}
	slog.Error("messages are given up: they are dead letters", "target", name, "messages", len(due), "error", cause)
	return f.outbox.remove(ctx, name, due, true)
}
