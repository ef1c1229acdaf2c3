package backfill

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// The values of Line.Status.
const (
	Done    = "done"
	Missing = "missing" // a gap: the archive has no file for the hour
	Failed  = "failed"  // a gap until it is read again
)

// Line is what a backfill did with an hour.
type Line struct {
	Hour   string `json:"hour"`
	Filter string `json:"filter"` // whose events were taken, see Filter.String
	Source string `json:"source"`
	Status string `json:"status"`
	counts
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	Skipped bool      `json:"-"` // it was done before
}

// String names the filter in the journal. Another choice of owners has another name.
func (f Filter) String() string {
	if f.all {
		return "all"
	}
	owners := slices.Sorted(maps.Keys(f.owners))
	if text := strings.Join(owners, ","); len(text) <= 100 {
		return text
	}
	return fmt.Sprintf("%d owners %x", len(owners), sha256.Sum256([]byte(strings.Join(owners, ","))))
}

// Journal is a file of lines in JSON, to which each hour adds one.
type Journal struct {
	file  *os.File
	lines map[[2]string]Line // the newest, by hour and filter
}

// OpenJournal reads a journal, or begins one. A last line that a crash has cut is
// dropped.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{file, map[[2]string]Line{}}
	in := bufio.NewReader(file)
	end := int64(0)
	for {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var line Line
		if err == nil {
			err = json.Unmarshal(bytes.TrimSpace(text), &line)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read the journal %s at byte %d: %w", path, end, err), file.Close())
		}
		end += int64(len(text))
		j.lines[[2]string{line.Hour, line.Filter}] = line
	}
	if err := file.Truncate(end); err != nil {
		return nil, errors.Join(fmt.Errorf("drop the last line of the journal: %w", err), file.Close())
	}
	if _, err := file.Seek(end, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("find the end of the journal: %w", err), file.Close())
	}
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// done returns the line of an hour that was read whole.
func (j *Journal) done(h Hour, f Filter) (Line, bool) {
	line, ok := j.lines[[2]string{h.Name, f.String()}]
	return line, ok && line.Status == Done
}

// gap says whether an hour was tried before, and could not be read.
func (j *Journal) gap(h Hour, f Filter) bool {
	line, ok := j.lines[[2]string{h.Name, f.String()}]
	return ok && line.Status != Done
}

// add writes a line, and returns once it is on the disk.
func (j *Journal) add(line Line) error {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = j.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.lines[[2]string{line.Hour, line.Filter}] = line
	return nil
}
