package target

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/m7pulse/m7pulse/shared/signal"
)

// discord posts to a webhook. Discord knows no key by which it would recognise a repeat:
// a message whose answer was lost is shown twice.
type discord struct{ poster }

// Text from GitHub is in descriptions of embeds, with each character that could begin
// markup, a link or a mention escaped. No mention is allowed besides.
type (
	discordMessage struct {
		Embeds  []discordEmbed  `json:"embeds"`
		Allowed discordMentions `json:"allowed_mentions"`
	}
	discordEmbed struct {
		Title       string `json:"title"`
		URL         string `json:"url,omitempty"`
		Description string `json:"description"`
		Color       int    `json:"color"`
	}
	discordMentions struct {
		Parse []string `json:"parse"`
	}
)

const maxDescription = 4096 // characters, by Discord's documentation

// Send implements Target.
func (d discord) Send(ctx context.Context, m Message) error {
	embed := discordEmbed{Title: title(m), Color: 0x5865f2}
	if !m.Digest {
		s := m.Signals[0]
		embed.URL, embed.Description, embed.Color = page(s), literal(clean(s.Words)), colors()[s.Severity]
	}
	listed := 0
	for _, s := range m.Signals {
		if !m.Digest {
			break
		}
		line := "- " + heading(s) + ": " + literal(clean(s.Words)) + "\n"
		const room = 100 // for what is left
		if utf8.RuneCountInString(embed.Description)+utf8.RuneCountInString(line) > maxDescription-room {
			break
		}
		embed.Description += line
		listed++
	}
	if m.Digest {
		m.Left += len(m.Signals) - listed
		embed.Description += left(m)
	}
	return d.postJSON(ctx, discordMessage{Embeds: []discordEmbed{embed}, Allowed: discordMentions{[]string{}}})
}

func colors() map[string]int {
	return map[string]int{signal.Info: 0x5865f2, signal.Notice: 0x2aa198, signal.Warning: 0xe0a100, signal.Critical: 0xd92d20}
}

// literal escapes all of ASCII's punctuation: Discord shows each with a backslash before
// it as it is, and finds neither markup nor the "://" of a link.
func literal(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r > ' ' && r < 0x7f && !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Pace implements Target.
func (discord) Pace() time.Duration { return 2 * time.Second }
