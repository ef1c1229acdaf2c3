package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// recordingFile notes in a home how much of the recording was replayed into it.
const recordingFile = "recording.json"

// Replayed is how much of the recording was replayed into a home.
type Replayed struct {
	Recording string `json:"recording"` // sha256
	Sent      int    `json:"sent"`      // events that are safe in Kafka
	Done      bool   `json:"done"`
}

// Replayed reads how much of a recording was replayed: nothing, if the note is of
// another one.
func (h Home) Replayed(recording string) (Replayed, error) {
	digest, err := digestOf(recording)
	if err != nil {
		return Replayed{}, fmt.Errorf("read the recording: %w", err)
	}
	b, err := os.ReadFile(h.path(recordingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Replayed{Recording: digest}, nil
	}
	var r Replayed
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("read how much was replayed: %w", err)
	}
	if r.Recording != digest {
		return Replayed{Recording: digest}, nil
	}
	return r, nil
}

// NoteReplayed writes how much was replayed.
func (h Home) NoteReplayed(r Replayed) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return replaceFile(h.path(recordingFile), b)
}

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
