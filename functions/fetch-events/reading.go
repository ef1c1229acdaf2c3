package fetchevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-events/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
)

const (
	// lateBy is how late GitHub may show an event. One can appear below a page that has
	// nothing new, so the whole window is read as often as that, and at least twice
	// before all that is in it has left it.
	lateBy = 6 * time.Hour
	// goneFor is how long a repository is left alone whose feed GitHub does not show.
	goneFor = 24 * time.Hour
	// failedFor is how long a feed is left alone after an answer that was none.
	failedFor = 2 * time.Minute
)

// reading is one reading of a feed.
type reading struct {
	due   *due
	was   checkpoint // zero if it was never read
	first bool
	at    time.Time // when GitHub answered the first page

	etag       string
	wait       time.Duration // that GitHub asks for
	requests   int64
	pages      int
	listed     int // events, repeats among them
	whole      bool
	overlaps   bool // an event was listed that was known
	unreadable int64
	fault      error // of one that could not be read
	fresh      []*event.GitHubEvent
	seen       hashes
	times      []time.Time
}

// read reads the feed of a repository: page by page, until one has nothing new. What
// is new is durable in Kafka before the checkpoint moves. After a crash in between it
// is read and written again: the same events under the same keys, which the stores
// have once, and a ledger line of the same Since.
func (f *function) read(ctx context.Context, d *due, token int64) error {
	cp, err := f.schedule.load(ctx, d.id)
	if err != nil {
		return err
	}
	r := &reading{due: d, first: cp == nil}
	if cp != nil {
		r.was = *cp
	}
	unchanged, err := f.ask(ctx, r)
	if errors.Is(err, github.ErrGone) {
		return f.gone(ctx, r, err)
	}
	if err != nil {
		return err
	}
	next := r.was
	next.ReadAt, next.ETag = r.at, r.etag
	if next.WholeAt.IsZero() || r.whole && !unchanged {
		next.WholeAt, next.Pages = r.at, r.pages
	}
	gapFrom, gapTo := r.gap()
	next.remember(fastestRun(r.times, github.WindowEvents/2), r.at)
	if r.whole && !unchanged {
		next.Span = int64(spread(r.times) / time.Second)
	}
	l := learned{interval: time.Duration(r.was.Interval) * time.Second, elapsed: r.at.Sub(r.was.ReadAt), fresh: len(r.fresh), overrun: gapTo != nil,
		fastest: time.Duration(next.Fastest) * time.Second, spread: spread(r.times)}
	if r.first {
		l.interval = 0
	}
	interval := max(l.next(f.cfg.Longest), r.wait)
	next.Interval = int64(interval / time.Second)
	if !unchanged {
		next.Seen = r.seen
	}
	for _, e := range r.fresh {
		if e.CreatedAt.After(next.Newest) {
			next.Newest = e.CreatedAt
		}
	}
	line := &event.FeedRead{
		RepoID: d.id, NameWithOwner: d.name, Status: feed.StatusComplete, ReadAt: r.at,
		Events: int64(len(r.fresh)), Unreadable: r.unreadable, Requests: r.requests, GapFrom: gapFrom, GapTo: gapTo, NextSeconds: interval.Seconds(),
	}
	if !r.first {
		line.Since = &r.was.ReadAt
	}
	if gapTo != nil {
		line.Status, line.Reason = feed.StatusGap, new(fmt.Sprintf("GitHub's window of %d events or %d days did not reach back to the last reading", github.WindowEvents, int(github.WindowAge.Hours()/24)))
		slog.Warn("gap: events of a feed were lost before they were read", "repository", d.name, "from", gapFrom, "to", gapTo)
	}
	if r.fault != nil {
		line.Reason = reason(line.Reason, fmt.Sprintf("%d events could not be read: %v", r.unreadable, r.fault))
		slog.Warn("events of a feed could not be read", "repository", d.name, "events", r.unreadable, "error", r.fault)
	}
	if len(r.fresh) > 0 || gapTo != nil || r.unreadable > 0 || day(r.was.LineAt) != day(r.at) {
		next.LineAt = r.at
		if err := f.write(ctx, r.fresh, line); err != nil {
			return err
		}
	}
	return f.schedule.save(ctx, d.id, token, &next, r.at.Add(interval))
}

// ask reads the pages. unchanged says that GitHub has nothing new.
func (f *function) ask(ctx context.Context, r *reading) (unchanged bool, err error) {
	etag := r.was.ETag
	everything := r.first || r.was.Pages > 1 && f.now().Sub(r.was.WholeAt) >= r.was.wholeAfter()
	if everything {
		etag = ""
	}
	known := map[uint64]bool{}
	for _, h := range r.was.Seen {
		known[h] = true
	}
	listed := map[uint64]bool{}
	for number := 1; ; number++ {
		p, err := f.github.Events(ctx, r.due.id, r.due.name, number, etag)
		r.requests++
		if err != nil {
			return false, err
		}
		if number == 1 {
			r.at, r.etag, r.wait = f.now().UTC().Truncate(time.Millisecond), p.ETag, p.Wait
			if p.Unchanged {
				r.etag, r.seen, r.overlaps = etag, r.was.Seen, true
				return true, nil
			}
		}
		etag = "" // that of the first page
		r.pages++
		fresh := f.take(r, p, known, listed)
		if !p.More || len(p.Events) == 0 || r.listed >= github.WindowEvents {
			r.whole = true
			break
		}
		// What a fast feed shows late may leave the window before it is read whole again.
		fast := r.was.Pages > 1 && time.Duration(r.was.Span)*time.Second < lateBy
		if fresh == 0 && !everything && !fast {
			break
		}
	}
	for _, h := range r.was.Seen { // which GitHub may show again
		if !listed[h] && len(r.seen) < maxSeen {
			r.seen = append(r.seen, h)
		}
	}
	return false, nil
}

// take takes the events of a page, and returns how many of them are new.
func (f *function) take(r *reading, p github.Page, known, listed map[uint64]bool) (fresh int) {
	for _, raw := range p.Events {
		r.listed++
		e, err := f.reader.Read(raw, r.at)
		if err == nil && e.RepoID != r.due.id { // its name was another repository's before
			err = fmt.Errorf("event %s belongs to repository %d", e.Key(), e.RepoID)
		}
		if err != nil {
			r.unreadable++
			if r.fault == nil {
				r.fault = err
			}
			continue
		}
		h := e.Key().Hash()
		if listed[h] { // the feed has moved on between two pages
			continue
		}
		listed[h] = true
		r.times = append(r.times, e.CreatedAt)
		if len(r.seen) < maxSeen {
			r.seen = append(r.seen, h)
		}
		if known[h] {
			r.overlaps = true
			continue
		}
		fresh++
		r.fresh = append(r.fresh, e)
	}
	return fresh
}

// gap is what the window no longer held: from the newest event that was known, or from
// the reading before if there was none, to the oldest that is listed.
func (r *reading) gap() (from, to *time.Time) {
	if r.first || r.overlaps {
		return nil, nil
	}
	aged := r.at.Add(-github.WindowAge)
	switch {
	case r.listed >= github.WindowEvents && len(r.times) > 0:
		oldest := r.times[0]
		for _, at := range r.times {
			if at.Before(oldest) {
				oldest = at
			}
		}
		to = &oldest
	case r.was.ReadAt.Before(aged): // all that was known has aged out
		to = &aged
	default:
		return nil, nil
	}
	from = &r.was.Newest
	if from.IsZero() || from.After(*to) {
		from = &r.was.ReadAt
	}
	if from.After(*to) { // it began while it was read
		from = to
	}
	return from, to
}

// gone notes that GitHub does not show a feed, and leaves it alone for a day.
func (f *function) gone(ctx context.Context, r *reading, why error) error {
	slog.Warn("GitHub shows no feed of a repository", "repository", r.due.name, "error", why)
	if r.first || day(r.was.LineAt) != day(f.now()) {
		line := &event.FeedRead{RepoID: r.due.id, NameWithOwner: r.due.name, Status: feed.StatusFailed, ReadAt: f.now().UTC().Truncate(time.Millisecond),
			Requests: r.requests, NextSeconds: goneFor.Seconds(), Reason: reason(nil, why.Error())}
		if !r.first {
			line.Since = &r.was.ReadAt
		}
		if err := f.write(ctx, nil, line); err != nil {
			return err
		}
	}
	return f.schedule.postpone(ctx, r.due.id, f.now().Add(goneFor))
}

// write makes events durable, then the ledger line, then rings.
func (f *function) write(ctx context.Context, events []*event.GitHubEvent, line *event.FeedRead) error {
	line.Owner, _, _ = strings.Cut(line.NameWithOwner, "/")
	var records []*kgo.Record
	for _, e := range events {
		r, err := f.codec.Record(ctx, e, false)
		if err != nil {
			return fmt.Errorf("event %s: %w", e.Key(), err)
		}
		records = append(records, r)
	}
	if err := f.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce %d events of %s: %w", len(records), line.NameWithOwner, err)
	}
	r, err := f.codec.Record(ctx, line, false)
	if err != nil {
		return fmt.Errorf("ledger line of the feed of %s: %w", line.NameWithOwner, err)
	}
	records = []*kgo.Record{r}
	if len(events) > 0 {
		records = append(records, event.NewBell(event.TopicEvents))
	}
	if err := f.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce the ledger line of the feed of %s: %w", line.NameWithOwner, err)
	}
	return nil
}

// reason joins reasons, within what a line takes.
func reason(was *string, more string) *string {
	if was != nil {
		more = *was + "; " + more
	}
	if len(more) > feed.MaxReason {
		more = more[:feed.MaxReason]
	}
	return new(strings.ToValidUTF8(more, ""))
}

// day is a UTC day.
func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }
