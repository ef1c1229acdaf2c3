package table

import (
	"math"
	"strings"
	"testing"
	"time"
)

type inner struct {
	At time.Time `json:"at"`
}

type line struct {
	inner
	Name   string     `json:"name"`
	Count  *int64     `json:"count"`
	Rate   *float64   `json:"rate,omitempty"`
	Days   []*float64 `json:"days"`
	Hidden string     `json:"-"`
	Known  bool       `json:"known"`
}

func lines() []line {
	return []line{
		{inner{time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}, "=1+1", new(int64(-3)), new(2.5), []*float64{new(1.0), nil}, "x", true},
		{inner{time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}, "a,\"b\"\nc", nil, nil, nil, "x", false},
	}
}

func TestRowsAreTheFieldsThatJSONHas(t *testing.T) {
	for form, want := range map[string]string{
		CSV:    "at,name,count,rate,days,known\n2026-01-02T03:04:05.006Z,'=1+1,-3,2.5,\"[1,null]\",true\n2026-01-02T00:00:00Z,\"a,\"\"b\"\"\nc\",,,null,false\n",
		NDJSON: `{"at":"2026-01-02T03:04:05.006Z","name":"=1+1","count":-3,"rate":2.5,"days":"[1,null]","known":true}` + "\n" + `{"at":"2026-01-02T00:00:00Z","name":"a,\"b\"\nc","count":null,"rate":null,"days":"null","known":false}` + "\n",
	} {
		got, err := Encode(form, lines())
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", form, err, got, want)
		}
	}
	for _, data := range []any{lines(), lines()[:0], lines()[0]} {
		if b, err := Encode(Parquet, data); err != nil || !strings.HasPrefix(string(b), "PAR1") {
			t.Errorf("parquet of %T: %v %.4s", data, err, b)
		}
	}
	if _, err := Encode(CSV, 3); err == nil {
		t.Error("a number has rows")
	}
}

func TestTheFormIsTheOneAskedForOrLikedBest(t *testing.T) {
	for _, c := range []struct{ format, accept, want string }{
		{"", "", JSON}, {"csv", "application/json", CSV}, {"", "text/csv", CSV}, {"", "text/*", CSV}, {"", "*/*", JSON}, {"", "text/html, */*;q=0.1", JSON},
		{"", "text/csv;q=0.4, application/x-ndjson;q=0.5", NDJSON}, {"", "application/vnd.apache.parquet, text/csv;q=0.9", Parquet},
		{"", "application/json;q=0, text/csv;q=0.1", CSV}, {"", "image/png", JSON}, {"", ";;;,,q=", JSON}, {"", "text/csv;q=x", JSON}, {"ndjson", "", NDJSON}, {"parquet", "*/*", Parquet},
	} {
		if got := Negotiate(c.format, c.accept); got != c.want {
			t.Errorf("format %q, Accept %q: %s, want %s", c.format, c.accept, got, c.want)
		}
	}
}

func TestOnlyTextsThatAreFormulasGetAnApostrophe(t *testing.T) {
	for text, want := range map[string]string{"=1": "'=1", "-3.5": "-3.5", "-x": "'-x", "@a": "'@a", "": "", "a=1": "a=1", "\tx": "'\tx"} {
		if got := Inert(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("", "text/csv;q=0.4, */*")
	f.Add("json", "\x00;q=1e999,")
	f.Fuzz(func(t *testing.T, format, accept string) {
		switch got := Negotiate(format, accept); got {
		case JSON, CSV, NDJSON, Parquet:
		default:
			t.Errorf("%q", got)
		}
		if q := liking(accept, JSON); math.IsNaN(q) {
			t.Errorf("Accept %q likes JSON as %v", accept, q)
		}
	})
}
