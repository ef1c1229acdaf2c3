package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/functions/api/hot"
)

func TestDurationsTakeDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "0s": 0, "0d": 0} {
		var c struct{ For time.Duration }
		parser, err := kong.New(&c, durations())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"--for", text}); err != nil || c.For != want {
			t.Errorf("%s is %s, %v", text, c.For, err)
		}
	}
	for _, text := range []string{"d", "7", "-1d", "-5m", "1d1d", "9999999999d", "7days"} {
		var c struct{ For time.Duration }
		parser, err := kong.New(&c, durations())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"--for=" + text}); err == nil {
			t.Errorf("%s is %s", text, c.For)
		}
	}
}

func TestJSONHasAnEmptyListForNone(t *testing.T) {
	type inner struct{ Rows []string }
	type embedded struct{ Days []int }
	v := struct {
		embedded
		List  []inner
		Point *inner
		None  *int
		Raw   json.RawMessage `json:",omitempty"`
		At    time.Time
	}{List: []inner{{}}, Point: &inner{}}
	text, err := json.Marshal(withoutNull(v))
	if want := `{"Days":[],"List":[{"Rows":[]}],"Point":{"Rows":[]},"None":null,"At":"0001-01-01T00:00:00Z"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	for _, none := range []any{[]hot.Mover(nil), []hot.Series(nil), (*audit.Report)(nil), nil} {
		want := "[]"
		if none == nil || reflect.TypeOf(none).Kind() == reflect.Pointer {
			want = "null"
		}
		if text, err := json.Marshal(withoutNull(none)); err != nil || string(text) != want {
			t.Errorf("%T: %s, %v", none, text, err)
		}
	}
}

func TestTablesAreAsWideAsTheTerminal(t *testing.T) {
	render := func() (widest int) {
		w := newTable("A", "B")
		w.SetOutputMirror(nil)
		w.AppendRow(table.Row{strings.Repeat("x", 50), strings.Repeat("y", 50)})
		for line := range strings.Lines(w.Render()) {
			widest = max(widest, len([]rune(strings.TrimRight(line, "\n"))))
		}
		return widest
	}
	t.Setenv(columns, "40")
	if got := render(); got > 40 {
		t.Errorf("%d columns on a terminal of 40", got)
	}
	t.Setenv(columns, "400")
	if got := render(); got < 100 {
		t.Errorf("%d columns on a terminal of 400", got)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Setenv(columns, "40")
	if err := noteWidth(file); err != nil {
		t.Fatal(err)
	}
	if got := render(); got < 100 {
		t.Errorf("%d columns in a file", got)
	}
}

func TestAFullDiskIsAnErrorOfWhoeverPrints(t *testing.T) {
	real := os.Stdout
	defer func() { os.Stdout = real }()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	os.Stdout = full
	finish, err := checkOutput()
	if err != nil {
		t.Fatal(err)
	}
	printMovers("7d", nil)
	if err := finish(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

func TestARefusalIsOneLineWithoutEscapes(t *testing.T) {
	if got := oneLine("a\nb\tc\n"); got != `a; b\tc` {
		t.Errorf("%q", got)
	}
}
