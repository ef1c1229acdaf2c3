package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// checkOutput makes all that is written to os.Stdout from now on pass through one
// place that keeps the first error, which functions such as fmt.Println drop: a
// full disk is an error of every command. finish waits until all is written and
// returns it.
func checkOutput() (finish func() error, err error) {
	out := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("standard output: %w", err)
	}
	os.Stdout = w
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, r)
		if err != nil {
			_, _ = io.Copy(io.Discard, r) // a writer must not block
		}
		copied <- err
	}()
	return func() error {
		_ = w.Close() // a recording to "-" has closed it
		if err := <-copied; err != nil {
			return fmt.Errorf("write to standard output: %w", err)
		}
		return nil
	}, nil
}

// columns is where a program finds the width of the terminal.
const columns = "COLUMNS"

// noteWidth puts the width of the terminal that out is into COLUMNS, and takes the
// variable away if out is none: what goes to a file or a pipe is never cut.
func noteWidth(out *os.File) error {
	width, _, err := term.GetSize(int(out.Fd()))
	if err != nil || width <= 0 {
		return os.Unsetenv(columns)
	}
	return os.Setenv(columns, strconv.Itoa(width))
}

// clearScreen begins a picture of its own: on a terminal on an empty screen.
func clearScreen() {
	if os.Getenv(columns) == "" {
		fmt.Println()
		return
	}
	fmt.Print("\x1b[H\x1b[2J\x1b[3J")
}

// version is what the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "pulse, of an unknown version"
	}
	text := "pulse " + info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			text += ", commit " + s.Value
		case "vcs.modified":
			if s.Value == "true" {
				text += " with changes"
			}
		}
	}
	return text + ", " + info.GoVersion
}

// durations reads a time.Duration on the command line, which may begin with days
// of 24 hours: 90m, 7d, 1d12h.
func durations() kong.Option {
	days := regexp.MustCompile(`^(\d+)d(.*)$`)
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
			return err
		}
		var d time.Duration
		rest := strings.TrimSpace(text)
		if m := days.FindStringSubmatch(rest); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil || n > 100_000 {
				return fmt.Errorf("%q is longer than 100,000 days", text)
			}
			d, rest = time.Duration(n)*24*time.Hour, m[2]
		}
		if rest != "" {
			more, err := time.ParseDuration(rest)
			if err != nil {
				return fmt.Errorf("invalid duration %q: want one such as 90m, 7d or 1d12h", text)
			}
			d += more
		}
		if d < 0 {
			return fmt.Errorf("invalid duration %q: want 0 or more", text)
		}
		target.SetInt(int64(d))
		return nil
	}))
}

// withoutNull makes an empty list of each slice in v that is nil, so that JSON has
// [] for none.
func withoutNull(v any) any {
	if v == nil {
		return nil
	}
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	fillSlices(p.Elem())
	return p.Elem().Interface()
}

func fillSlices(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillSlices(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() || v.Type().Field(i).Anonymous {
				fillSlices(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // text, or JSON as it is
			return
		}
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer || k == reflect.Slice {
				fillSlices(v.Index(i))
			}
		}
	}
}
