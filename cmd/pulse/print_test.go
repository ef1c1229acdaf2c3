package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
)

// hostile is what a repository could be called to take over the terminal, the
// spreadsheet or the eye of who lists it.
var hostile = []string{
	"\x1b[2J\x1b]0;owned\x07", "\u009b31m", "\x9b31m", "a\rb", "a\nb", "a\tb\x00c\x7f", "\u202etxt.exe", "\u200b", "\U000e0041",
	"=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "{{ 7*7 }}", "<script>", `\`, "Ünïcode 火",
}

func TestNothingThatIsPrintedReachesTheTerminalAsACommand(t *testing.T) {
	s := sheet{title: strings.Join(hostile, " "), columns: []string{"Name", "Stars"}}
	for _, name := range hostile {
		s.shown = append(s.shown, table.Row{name, "1"})
		s.plain = append(s.plain, []string{name, "-1"})
	}
	for _, f := range []format{{}, {CSV: true}, {JSON: true}} {
		out := printed(t, func() error { return f.print(s, hostile) })
		for _, r := range out {
			if r == unicode.ReplacementChar && !f.JSON { // what replaces bytes that are not UTF-8
				continue
			}
			if r != '\n' && hidden(r) {
				t.Errorf("%+v: %q is printed in %q", f, r, out)
			}
		}
		switch {
		case f.JSON:
			var back []string
			if err := json.Unmarshal([]byte(out), &back); err != nil || strings.Join(back, "|") != strings.ToValidUTF8(strings.Join(hostile, "|"), "\ufffd") {
				t.Errorf("JSON reads %q, %v", back, err)
			}
		case f.CSV:
			for line := range strings.Lines(out) {
				if line != "" && strings.ContainsRune("=+-@", rune(strings.TrimPrefix(line, `"`)[0])) || !strings.HasPrefix(line, "Name") && !strings.HasSuffix(line, ",-1\n") {
					t.Errorf("a spreadsheet computes %q", line)
				}
			}
		default:
			if n := strings.Count(out, "\n"); n != 1+2+len(hostile) {
				t.Errorf("%d lines, want one for each row:\n%s", n, out)
			}
		}
		if !strings.Contains(out, "Ünïcode 火") {
			t.Errorf("%+v: what is harmless does not stay as it is:\n%s", f, out)
		}
	}
}

func printed(t *testing.T, print func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	failed := print()
	if err := w.Close(); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
