package account

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	// recentRows is how many rows are kept in memory; more go to a file, rowBytes each.
	recentRows = 1 << 18
	rowBytes   = 5*8 + 4
	// buckets is how many parts the rows are counted in, one after the other.
	buckets = 64
)

// Count makes an account in bounded memory: it writes the rows to an unnamed temporary
// file, in buckets by repository, and counts one bucket after the other. It needs 44
// bytes of disk a row, and memory for the keys of a 64th of the rows.
type Count struct {
	recent []row
	file   *os.File
	runs   []run
	err    error // the first one of the file

	sweeps map[string]uint32 // their numbers in rows

	reprocessed map[int64]bool
}

// row is one call of Add.
type row struct {
	key   repo.Key
	sums  Sums
	sweep uint32
}

// run is where some rows are in the file, bucket by bucket.
type run struct {
	begins int64 // in bytes
	rows   [buckets]int
}

// NewCount returns an empty count.
func NewCount() *Count { return &Count{sweeps: map[string]uint32{}} }

// Reprocessed makes the count leave out the velocities of some days, YYYY-MM-DD: the
// stores have recomputed them.
func (c *Count) Reprocessed(days map[string]bool) {
	c.reprocessed = map[int64]bool{}
	for d := range days {
		if at, err := time.Parse(time.DateOnly, d); err == nil {
			c.reprocessed[at.UnixMilli()/dayMillis] = true
		}
	}
}

// Add implements Counter.
func (c *Count) Add(key repo.Key, sweep string, sums Sums) {
	number, known := c.sweeps[sweep]
	if !known {
		number = uint32(len(c.sweeps))
		c.sweeps[strings.Clone(sweep)] = number
	}
	c.recent = append(c.recent, row{key, sums, number})
	if len(c.recent) == recentRows && c.err == nil {
		c.err = c.spill()
	}
	if c.err != nil {
		c.recent = c.recent[:0]
	}
}

// bucket is the part of the repositories that a row is counted with.
func (r *row) bucket() int { return int(uint64(r.key.ID) * 0x9E3779B97F4A7C15 >> 58) } // Fibonacci hashing: 6 bits

// spill writes the recent rows to the file, bucket by bucket, in order.
func (c *Count) spill() (err error) {
	if c.file == nil {
		if c.file, err = os.CreateTemp("", "pulse-audit-"); err != nil {
			return fmt.Errorf("count on disk: %w", err)
		}
		if err := os.Remove(c.file.Name()); err != nil { // the file exists until it is closed
			return fmt.Errorf("count on disk: %w", err)
		}
	}
	var r run
	if n := len(c.runs); n > 0 {
		r.begins = c.runs[n-1].begins + int64(recentRows*rowBytes)
	}
	var byBucket [buckets][]int32
	for i := range c.recent {
		s := c.recent[i].bucket()
		byBucket[s] = append(byBucket[s], int32(i))
	}
	to := bufio.NewWriterSize(c.file, 1<<18)
	var b []byte
	for s, rows := range byBucket {
		r.rows[s] = len(rows)
		for _, i := range rows {
			b = c.recent[i].append(b[:0])
			_, _ = to.Write(b) // Flush returns the error
		}
	}
	c.runs, c.recent = append(c.runs, r), c.recent[:0]
	if err := to.Flush(); err != nil {
		return fmt.Errorf("count on disk: %w", err)
	}
	return nil
}

func (r *row) append(b []byte) []byte {
	for _, word := range [...]uint64{uint64(r.key.ID), uint64(r.key.ObservedAt), r.sums.Observed, r.sums.Details, r.sums.Velocity} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return binary.LittleEndian.AppendUint32(b, r.sweep)
}

func (r *row) read(b []byte) {
	r.key = repo.Key{ID: int64(binary.LittleEndian.Uint64(b)), ObservedAt: int64(binary.LittleEndian.Uint64(b[8:]))}
	r.sums = Sums{binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])}
	r.sweep = binary.LittleEndian.Uint32(b[40:])
}

// each passes the rows of a bucket to f, in the order in which they were added.
func (c *Count) each(bucket int, f func(*row)) error {
	var r row
	var b [rowBytes]byte
	for _, run := range c.runs {
		before := 0
		for _, n := range run.rows[:bucket] {
			before += n
		}
		from := bufio.NewReaderSize(io.NewSectionReader(c.file, run.begins+int64(before*rowBytes), int64(run.rows[bucket]*rowBytes)), 1<<16)
		for range run.rows[bucket] {
			if _, err := io.ReadFull(from, b[:]); err != nil {
				return fmt.Errorf("count on disk: %w", err)
			}
			r.read(b[:])
			f(&r)
		}
	}
	for i := range c.recent {
		if r := &c.recent[i]; r.bucket() == bucket {
			f(r)
		}
	}
	return nil
}

// Account returns what was counted. Nothing can be added after that.
func (c *Count) Account() (a *Account, err error) {
	if c.file != nil {
		defer func() { err = errors.Join(err, c.file.Close()) }()
	}
	if c.err != nil {
		return nil, c.err
	}
	a = NewAccount()
	days, sweeps := map[int64]*Tally{}, make([]Tally, len(c.sweeps))
	keys, repos := map[repo.Key]struct{}{}, map[int64]struct{}{}
	for bucket := range buckets {
		clear(keys)
		clear(repos)
		err := c.each(bucket, func(r *row) {
			_, seen := keys[r.key]
			keys[r.key] = struct{}{}
			repos[r.key.ID] = struct{}{}
			day := dayOf(r.key)
			if days[day] == nil {
				days[day] = &Tally{}
			}
			for _, t := range [...]*Tally{&a.Total, days[day], &sweeps[r.sweep]} {
				t.add(r, !seen, c.reprocessed[day])
			}
		})
		if err != nil {
			return nil, err
		}
		a.Repos += int64(len(repos))
	}
	for day, t := range days {
		a.Days[time.UnixMilli(day*dayMillis).UTC().Format(time.DateOnly)] = *t
	}
	for sweep, number := range c.sweeps {
		a.Sweeps[sweep] = sweeps[number]
	}
	return a, nil
}

// add counts a row; first means that it is the first of its key.
func (t *Tally) add(r *row, first, reprocessed bool) {
	t.Rows++
	if !first {
		return
	}
	t.Distinct++
	t.Observed += r.sums.Observed
	t.Details += r.sums.Details
	if reprocessed {
		t.Reprocessed++
	} else {
		t.Velocity += r.sums.Velocity
	}
}
