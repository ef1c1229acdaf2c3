package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows progress if standard error is a terminal, and nothing elsewhere. One that
// cannot be drawn stops no command.
type bar struct{ drawn *progressbar.ProgressBar }

// newBar begins at 0; the unit is what it counts, in the plural.
func newBar(what, unit string, more ...progressbar.Option) bar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true),
	}, more...)...)}
}

// silent says that nothing is shown.
func (b bar) silent() bool { return b.drawn == nil }

// step counts one more.
func (b bar) step() {
	if !b.silent() {
		_ = b.drawn.Add(1)
	}
}

// show shows how much of all is done; all is -1 if that is not known.
func (b bar) show(done, all int64) {
	if !b.silent() {
		b.drawn.ChangeMax64(all)
		_ = b.drawn.Set64(done)
	}
}

// describe changes what the bar is of.
func (b bar) describe(what string) {
	if !b.silent() {
		b.drawn.Describe(what)
	}
}

// close clears the bar.
func (b bar) close() {
	if !b.silent() {
		_ = b.drawn.Close()
	}
}
