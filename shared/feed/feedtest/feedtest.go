// Package feedtest holds real events of GitHub, in both forms, for tests.
package feedtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/feed"
)

//go:embed rest-events-2019-2023.json.gz
var older []byte

//go:embed gharchive-2026-06-01-15-part.json.gz
var newer []byte

// Older are events with whole pull requests and commits, as GitHub gave them until
// October 2025: the JSON of each.
func Older(t testing.TB) [][]byte { return lines(t, older) }

// Newer are events with little more than numbers, as GitHub gives them since.
func Newer(t testing.TB) [][]byte { return lines(t, newer) }

func lines(t testing.TB, packed []byte) (all [][]byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(z)
	in.Buffer(nil, feed.MaxRaw)
	for in.Scan() {
		all = append(all, slices.Clone(in.Bytes()))
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Reader reads the events as fetch-events does.
func Reader() feed.Reader { return feed.Reader{Bots: feed.NewBots(), Source: "rest"} }

// At is when the events are read.
func At() time.Time { return time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC) }

// Events are all of them, read.
func Events(t testing.TB) (all []*feed.Event) {
	t.Helper()
	for _, raw := range slices.Concat(Older(t), Newer(t)) {
		e, err := Reader().Read(raw, At())
		if err != nil {
			t.Fatalf("%v in %.300s", err, raw)
		}
		all = append(all, e)
	}
	return all
}
