// Package digest writes what happened in a day or a week, for people: the movers, the
// signals, and how complete the readings were.
package digest

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Bounds of a digest.
const (
	moversEach = 3
	maxSignals = 100
	maxOwners  = 1000
)

// Digest is what happened in a time.
type Digest struct {
	From, To time.Time
	Window   string // 24h or 7d, over which the movers are ranked
	Movers   []hot.Mover
	Signals  []event.Signal // the gravest first, then the newest
	More     bool           // there were more signals than are listed
	Owners   []hot.Freshness
}

// Read reads the digest of the day, or of the week, that ends at a time.
func Read(ctx context.Context, conn hot.Reader, to time.Time, week bool) (*Digest, error) {
	d := &Digest{From: to.AddDate(0, 0, -1), To: to, Window: "24h"}
	if week {
		d.From, d.Window = to.AddDate(0, 0, -7), "7d"
	}
	var err error
	if d.Movers, err = hot.Movers(ctx, conn, d.Window, moversEach); err != nil {
		return nil, err
	}
	d.Movers = slices.DeleteFunc(d.Movers, func(m hot.Mover) bool { return m.Delta == nil })
	// The gravest are asked for first, so that many small ones do not push them out.
	severities := signal.Severities()
	for _, severity := range slices.Backward(severities) {
		if len(d.Signals) > maxSignals {
			break
		}
		found, err := hot.Signals(ctx, conn, hot.SignalChoice{Least: severity, From: d.From, To: to}, nil, maxSignals+1)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			if s.Severity == severity {
				d.Signals = append(d.Signals, s)
			}
		}
	}
	if len(d.Signals) > maxSignals {
		d.Signals, d.More = d.Signals[:maxSignals], true
	}
	d.Owners, err = hot.FreshnessOf(ctx, conn, maxOwners)
	return d, err
}

// Incomplete are the owners whose last sweep was not complete, or that were not read on a
// day of this time.
func (d *Digest) Incomplete() (all []Gap) {
	first := d.From.UTC().Format(time.DateOnly)
	for i := range d.Owners {
		o := &d.Owners[i]
		if o.Status != nil && *o.Status != event.StatusComplete {
			reason := "its last sweep is " + *o.Status
			if o.Reason != nil {
				reason += ": " + *o.Reason
			}
			all = append(all, Gap{o.Owner, reason})
		}
		for _, g := range o.Gaps {
			if g.To >= first {
				all = append(all, Gap{o.Owner, "not read from " + g.From + " to " + g.To})
			}
		}
	}
	return all
}

// Gap is what is missing of an owner.
type Gap struct{ Owner, What string }

//go:embed digest.md.tmpl
var markdown string

//go:embed digest.html.tmpl
var page string

// Markdown writes the digest in CommonMark. Text from GitHub stays text.
func (d *Digest) Markdown(w io.Writer) error {
	t, err := texttemplate.New("digest").Funcs(texttemplate.FuncMap{"text": literal, "link": link, "count": humanize.Comma, "signed": signed, "day": day}).Parse(markdown)
	if err != nil {
		return fmt.Errorf("read the digest's template: %w", err)
	}
	return t.Execute(w, d)
}

// HTML writes the digest as a page of its own, without scripts. Text from GitHub stays text.
func (d *Digest) HTML(w io.Writer) error {
	t, err := template.New("digest").Funcs(template.FuncMap{"text": oneLine, "link": link, "count": humanize.Comma, "signed": signed, "day": day}).Parse(page)
	if err != nil {
		return fmt.Errorf("read the digest's template: %w", err)
	}
	return t.Execute(w, d)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func signed(n *int64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("%+d", *n)
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9._-]{1,100}$`)

// link is a repository's page on GitHub, "" if its name could lead elsewhere.
func link(name string) string {
	if _, repository, _ := strings.Cut(name, "/"); repository == "." || repository == ".." || !namePattern.MatchString(name) {
		return ""
	}
	return "https://github.com/" + name
}

// oneLine is text without line breaks and what cannot be seen.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
}

// literal is text in Markdown: each sign of ASCII's punctuation with a backslash before
// it, which CommonMark shows as it is. So there is no markup. A word joiner, which has no
// width, keeps apart what some make a link or a mention of afterwards.
func literal(text string) string {
	var b strings.Builder
	for _, r := range oneLine(text) {
		if r > ' ' && r < 0x7f && !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if strings.ContainsRune("@#:", r) {
			b.WriteRune('\u2060')
		}
	}
	return b.String()
}
