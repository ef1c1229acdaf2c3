package target

import (
	"context"
	"strings"
	"time"
)

// slack posts to an incoming webhook. Slack knows no key by which it would recognise a
// repeat: a message whose answer was lost is shown twice.
type slack struct{ poster }

// Text from GitHub is in elements of rich text of type "text", in which nothing is
// parsed: links and mentions are elements of other types. The text beside the blocks, for
// notifications, is escaped as Slack demands, and not parsed either.
type (
	slackMessage struct {
		Text        string       `json:"text"`
		Blocks      []slackBlock `json:"blocks"`
		Parse       string       `json:"parse"`
		LinkNames   bool         `json:"link_names"`
		Markdown    bool         `json:"mrkdwn"`
		UnfurlLinks bool         `json:"unfurl_links"`
		UnfurlMedia bool         `json:"unfurl_media"`
	}
	slackBlock struct {
		Type     string         `json:"type"`
		Elements []slackSection `json:"elements"`
	}
	slackSection struct {
		Type     string      `json:"type"`
		Elements []slackText `json:"elements"`
	}
	slackText struct {
		Type  string          `json:"type"`
		Text  string          `json:"text"`
		URL   string          `json:"url,omitempty"`
		Style map[string]bool `json:"style,omitempty"`
	}
)

// Send implements Target.
func (s slack) Send(ctx context.Context, m Message) error {
	bold := map[string]bool{"bold": true}
	parts := []slackText{{Type: "text", Text: title(m), Style: bold}}
	for _, signal := range m.Signals {
		before := "\n"
		if m.Digest {
			before = "\n• " + heading(signal) + ": "
		}
		parts = append(parts, slackText{Type: "text", Text: before + clean(signal.Words)})
		if address := page(signal); address != "" {
			parts = append(parts, slackText{Type: "text", Text: " "}, slackText{Type: "link", Text: "GitHub", URL: address})
		}
	}
	if rest := left(m); rest != "" {
		parts = append(parts, slackText{Type: "text", Text: "\n" + rest})
	}
	notice := title(m)
	if !m.Digest {
		notice += ": " + clean(m.Signals[0].Words)
	}
	return s.postJSON(ctx, slackMessage{
		Text: strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(notice), Parse: "none",
		Blocks: []slackBlock{{"rich_text", []slackSection{{"rich_text_section", parts}}}},
	})
}

// Pace implements Target.
func (slack) Pace() time.Duration { return time.Second }
