package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// A change is one that was made and answered.
type change struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body,omitempty"`
	Answer string `json:"answer"`
}

// A line of the journal is a change, its number and its checksum. A line is whole once its line break is there.
type line struct {
	Number int             `json:"n"`
	CRC    uint32          `json:"crc"`
	Change json.RawMessage `json:"change"`
}

// A journal keeps changes in the order in which they were made.
type journal struct {
	file  *os.File
	lines int
}

// openJournal replays what is in the journal. A last line without its end is one that was never answered: it is dropped. Anything else that is wrong is an
// error, since ids would change without the lines that are lost, and records would be read with the wrong schema.
func openJournal(dir string, replay func(change) error) (*journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	path := filepath.Join(dir, "schemas.jsonl")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	fresh := err != nil
	whole := bytes.LastIndexByte(text, '\n') + 1
	number := 0
	for raw := range bytes.Lines(text[:whole]) {
		number++
		c, err := parseLine(raw, number)
		if err == nil {
			err = replay(c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is damaged in line %d: %w; restore it from a copy, or remove it together with the topics it describes", path, number, err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	if err := file.Truncate(int64(whole)); err != nil {
		file.Close()
		return nil, fmt.Errorf("drop the unfinished line of the journal: %w", err)
	}
	if fresh { // so that the file itself is there after a crash
		if err := syncDir(dir); err != nil {
			file.Close()
			return nil, fmt.Errorf("keep the journal: %w", err)
		}
	}
	return &journal{file, number}, nil
}

func parseLine(raw []byte, number int) (change, error) {
	var (
		l line
		c change
	)
	if err := json.Unmarshal(raw, &l); err != nil {
		return c, err
	}
	if l.Number != number {
		return c, fmt.Errorf("it says that it is line %d", l.Number)
	}
	if crc32.ChecksumIEEE(l.Change) != l.CRC {
		return c, errors.New("its checksum is wrong")
	}
	return c, json.Unmarshal(l.Change, &c)
}

// append puts a change on disk.
func (j *journal) append(c change) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(line{j.lines + 1, crc32.ChecksumIEEE(text), text})
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(raw, '\n')); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.lines++
	return nil
}

func (j *journal) close() error { return j.file.Close() }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
