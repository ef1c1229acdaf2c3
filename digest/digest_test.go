package digest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

const hostile = "<script>alert(1)</script> [x](https://evil.example) https://evil.example **b** | c | `d` \u202e@team\r\n# h <!-- "

func sample() *Digest {
	to := time.Date(2026, 1, 12, 8, 0, 0, 0, time.UTC)
	s := signal.New(signal.Release)
	s.Owner, s.ObservedAt, s.Words = "acme", to.Add(-time.Hour), hostile
	return &Digest{
		From: to.AddDate(0, 0, -7), To: to, Window: "7d",
		Movers:  []hot.Mover{{Company: hostile, Repository: "acme/repo", Stars: 12345, Delta: new(int64(67))}, {Company: "acme", Repository: "acme/" + hostile, Stars: 1, Delta: new(int64(-2))}},
		Signals: []event.Signal{*s},
		Owners: []hot.Freshness{
			{Owner: "acme", Status: new(event.StatusComplete), Gaps: []hot.Gap{{From: "2025-12-01", To: "2025-12-03"}}},
			{Owner: "other", Status: new(event.StatusIncomplete), Reason: new(hostile), Gaps: []hot.Gap{{From: "2026-01-06", To: "2026-01-07"}}},
		},
	}
}

func TestTheDigestInMarkdownShowsTextOfGitHubAsText(t *testing.T) {
	var b strings.Builder
	if err := sample().Markdown(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if n := strings.Count(text, literal(hostile)); n != 4 {
		t.Errorf("hostile text is shown %d times, want 4, in\n%s", n, text)
	}
	for _, want := range []string{"| [acme\\/repo](https://github.com/acme/repo) | 12,345 | +67 |", "-2 |", "- **other**: not read from 2026\\-01\\-06 to 2026\\-01\\-07", "- **info** 2026-01-12 07:00 "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	rest := strings.ReplaceAll(text, literal(hostile), "")
	if escaped := literal("<a@b>:#\\"); escaped != "\\<a\\@\u2060b\\>\\:\u2060\\#\u2060\\\\" {
		t.Errorf("escaped as %q", escaped)
	}
	if strings.Contains(rest, "evil") || strings.ContainsAny(rest, "<>\r") || strings.Contains(text, "2025-12") {
		t.Errorf("in\n%s", text)
	}
	for _, part := range []string{"://evil", "](https://evil", "@team", "\u202e"} {
		if strings.Contains(text, part) {
			t.Errorf("%q is in\n%s", part, text)
		}
	}
}

func TestTheDigestInHTMLShowsTextOfGitHubAsText(t *testing.T) {
	var b strings.Builder
	if err := sample().HTML(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Contains(text, "<script") || strings.Contains(text, "<!-- ") || strings.Count(text, "<a href") != 1 || !strings.Contains(text, `<a href="https://github.com/acme/repo">acme/repo</a>`) {
		t.Errorf("in\n%s", text)
	}
	if n := strings.Count(text, "&lt;script&gt;alert(1)&lt;/script&gt;"); n != 4 {
		t.Errorf("hostile text is shown %d times, want 4, in\n%s", n, text)
	}
}

func TestADigestOfNothingSaysSo(t *testing.T) {
	three := make([]hot.Freshness, 3)
	for i := range three {
		three[i].Status = new(event.StatusComplete)
	}
	for _, c := range []struct {
		owners []hot.Freshness
		said   string
	}{{three, "All 3 owners were read"}, {nil, "No owner has been read."}} {
		d := &Digest{Window: "24h", Owners: c.owners}
		var markdown, html strings.Builder
		if err := errors.Join(d.Markdown(&markdown), d.HTML(&html)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"None was read in this time.", "None.", c.said} {
			for _, text := range []string{markdown.String(), html.String()} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
		}
		if c.owners == nil && strings.Contains(markdown.String()+html.String(), " 0 owners") {
			t.Errorf("nobody is said to have been read: %s", markdown.String())
		}
	}
}
