// Command data turns the daily CSV of recorded counters, gzipped on standard
// input, into CloudEvents as JSON Lines, gzipped on standard output. It is how
// the recording in this folder was made:
//
//	go run ./data < m7-daily-2025.csv.gz > data/m7-2025.jsonl.gz
package main

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// line is one event in the structured JSON form. Fields that the recording does
// not know are left out of data: they are null, not zero.
type line struct {
	SpecVersion     string         `json:"specversion"`
	ID              string         `json:"id"`
	Type            string         `json:"type"`
	Source          string         `json:"source"`
	Subject         string         `json:"subject"`
	Time            string         `json:"time"`
	DataContentType string         `json:"datacontenttype"`
	Data            map[string]any `json:"data"`
}

func main() {
	if err := convert(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func convert(in io.Reader, out io.Writer) error {
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("read the recording: %w", err)
	}
	rows := csv.NewReader(unzipped)
	if _, err := rows.Read(); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	zipped, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(zipped)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	for n := 2; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		l, err := parse(row)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := lines.Encode(l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return errors.Join(buffered.Flush(), zipped.Close())
}

// parse reads day, company, owner, repo, stars, forks, open_issues, language,
// pushed_at, description.
func parse(row []string) (*line, error) {
	if len(row) != 10 {
		return nil, fmt.Errorf("%d columns, want 10", len(row))
	}
	day, err := time.Parse(time.DateOnly, row[0])
	if err != nil {
		return nil, err
	}
	name := row[2] + "/" + row[3]
	id := repo.RecordedID(name)
	data := map[string]any{
		"repo_id": id, "name_with_owner": name, "owner_type": "Organization",
		"observed_at": day, "sweep_id": day.Format(time.RFC3339), "source": "replay",
	}
	for i, field := range map[int]string{4: "stars", 5: "forks", 6: "open_issues"} {
		if row[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(row[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", field, name, err)
		}
		data[field] = n
	}
	for i, field := range map[int]string{1: "company", 7: "primary_language", 8: "pushed_at", 9: "description"} {
		if row[i] != "" && row[i] != "None" {
			data[field] = row[i]
		}
	}
	return &line{
		SpecVersion: "1.0", ID: fmt.Sprintf("%d@%d", id, day.UnixMilli()),
		Type: event.TypeRepoObserved, Source: "/m7pulse/recording", Subject: name, Time: day.Format(time.RFC3339),
		DataContentType: event.ContentJSON, Data: data,
	}, nil
}
