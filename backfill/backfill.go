// Package backfill reads the events of GH Archive's hourly files into Kafka, as
// fetch-events reads those of feeds: one JSON object a line, in gzip, of 2015 or later.
//
// It is safe to repeat: an event has the same key whoever read it, and the stores keep
// each once. A Journal says which hours are done, so that a backfill that ended early
// goes on where it stopped.
package backfill

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/m7pulse/m7pulse/shared/feed"
)

// Target takes events and ledger lines of feeds. After Flush they are durable.
type Target interface {
	Send(ctx context.Context, e *feed.Event) error
	Note(ctx context.Context, line *feed.Reading) error
	Flush(ctx context.Context) error
}

// Archive reads hours.
type Archive struct {
	Filter  Filter
	Reader  feed.Reader
	To      Target
	Journal *Journal
	Client  *http.Client
	// Repositories get a line in the ledger of feeds for each hour that could not be read,
	// as far as the filter takes them.
	Repositories []Repository
	// Pause is how long it waits before it asks again for an hour that could not be
	// fetched; each further time twice as long.
	Pause time.Duration
}

// Bounds of one hour.
const (
	tries    = 3
	maxHour  = 4 << 30          // bytes of its file
	hourTime = 30 * time.Minute // to fetch and read it
)

// errMissing: the archive has no file for the hour.
var errMissing = errors.New("the archive has no file for this hour")

// Hour reads the events of one hour, unless the journal says that it was done before
// with the same filter. Its line is in the journal once the events are durable. A hour
// without a file is noted as missing; one that cannot be read as failed, with what was
// read of it sent, and is read again by the next backfill. It fails only if events
// cannot be sent, or the journal not be written.
func (a *Archive) Hour(ctx context.Context, h Hour) (Line, error) {
	if line, ok := a.Journal.done(h, a.Filter); ok {
		line.Skipped = true
		return line, nil
	}
	line := Line{Hour: h.Name, Filter: a.Filter.String(), Source: h.Source, Status: Done}
	for try := range tries {
		read, err := a.attempt(ctx, h)
		if err == nil || errors.Is(err, errMissing) || try == tries-1 || errors.As(err, new(*sendError)) || ctx.Err() != nil || !h.remote() {
			line.counts = read
			var send *sendError
			switch {
			case errors.As(err, &send):
				return line, send.err
			case ctx.Err() != nil:
				return line, ctx.Err()
			case errors.Is(err, errMissing):
				line.Status, line.Reason = Missing, err.Error()
			case err != nil:
				line.Status, line.Reason = Failed, err.Error()
			}
			break
		}
		select {
		case <-time.After(a.Pause << try):
		case <-ctx.Done():
			return line, ctx.Err()
		}
	}
	if line.Status == Done && a.Journal.gap(h, a.Filter) {
		if err := a.noteRead(ctx, line); err != nil {
			return line, err
		}
	}
	if err := a.To.Flush(ctx); err != nil {
		return line, err
	}
	line.At = time.Now().UTC().Truncate(time.Second)
	return line, a.Journal.add(line)
}

// sendError is an error of the target: another attempt to read the hour is no use.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }

func (a *Archive) attempt(ctx context.Context, h Hour) (counts, error) {
	ctx, cancel := context.WithTimeout(ctx, hourTime)
	defer cancel()
	file, err := a.open(ctx, h)
	if err != nil {
		return counts{}, err
	}
	defer file.Close()
	return a.read(ctx, io.LimitReader(file, maxHour))
}

func (a *Archive) open(ctx context.Context, h Hour) (io.ReadCloser, error) {
	if !h.remote() {
		file, err := os.Open(h.Source)
		if errors.Is(err, os.ErrNotExist) {
			return nil, errMissing
		}
		return file, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Source, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", h.Source, err)
	}
	resp, err := a.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", h.Source, err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	case resp.StatusCode == http.StatusNotFound:
		err = errMissing
	default:
		err = fmt.Errorf("fetch %s: %s", h.Source, resp.Status)
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// counts are what was read of an hour.
type counts struct {
	SHA256     string `json:"sha256,omitempty"` // of the whole file
	Bytes      int64  `json:"bytes"`            // unpacked
	Lines      int64  `json:"lines"`
	Events     int64  `json:"events"` // sent
	Unreadable int64  `json:"unreadable"`
	Fault      string `json:"fault,omitempty"` // of the first that is unreadable
}

// read sends the events of a packed file that the filter takes. A line that cannot be
// read is counted.
func (a *Archive) read(ctx context.Context, packed io.Reader) (c counts, err error) {
	sum := sha256.New()
	whole := io.TeeReader(packed, sum)
	unpacked, err := gzip.NewReader(bufio.NewReaderSize(whole, 256<<10))
	if err != nil {
		return c, fmt.Errorf("unpack: %w", err)
	}
	observed := time.Now().UTC().Truncate(time.Millisecond)
	lines := &lines{each: func(line []byte, tooLong bool) error {
		c.Lines++
		if len(line) < 2 || !a.Filter.mayTake(line) {
			return nil
		}
		return a.take(ctx, line, tooLong, observed, &c)
	}}
	if c.Bytes, err = unpacked.WriteTo(lines); err == nil {
		err = lines.end()
	}
	if err != nil {
		return c, fmt.Errorf("unpack: %w", err)
	}
	if _, err := io.Copy(io.Discard, whole); err != nil { // what gzip has left of it
		return c, err
	}
	c.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return c, nil
}

func (a *Archive) take(ctx context.Context, line []byte, tooLong bool, observed time.Time, c *counts) error {
	unreadable := func(err error) {
		if c.Unreadable++; c.Unreadable == 1 {
			c.Fault = strings.ToValidUTF8(err.Error()[:min(len(err.Error()), 300)], "")
		}
	}
	if tooLong {
		unreadable(fmt.Errorf("line %d has more than %d bytes", c.Lines, feed.MaxRaw))
		return nil
	}
	e, err := a.Reader.Read(line, observed)
	if err != nil {
		unreadable(fmt.Errorf("line %d: %w", c.Lines, err))
		return nil
	}
	if !a.Filter.takes(e.Owner, e.NameWithOwner) {
		return nil
	}
	if err := a.To.Send(ctx, e); err != nil {
		return &sendError{err}
	}
	c.Events++
	return nil
}

// lines cuts what is written to it into lines, with their ends. A line lies in what was
// written, unless it began in what was written before.
type lines struct {
	each    func(line []byte, tooLong bool) error // the line is valid until it returns
	begun   []byte
	tooLong bool // begun lacks the end of its line
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		switch {
		case end == 0:
			l.keep(p)
			return all, nil
		case len(l.begun) == 0:
			if err := l.each(p[:end], false); err != nil {
				return 0, err
			}
		default:
			l.keep(p[:end])
			if err := l.end(); err != nil {
				return 0, err
			}
		}
		p = p[end:]
	}
	return all, nil
}

// end gives the last line, which may lack its end.
func (l *lines) end() error {
	if len(l.begun) == 0 {
		return nil
	}
	err := l.each(l.begun, l.tooLong)
	l.begun, l.tooLong = l.begun[:0], false
	return err
}

// keep keeps a part of a line, up to the longest event.
func (l *lines) keep(p []byte) {
	if room := feed.MaxRaw + 1 - len(l.begun); len(p) > room {
		p, l.tooLong = p[:room], true
	}
	l.begun = append(l.begun, p...)
}
