package target

import (
	"context"
	"time"
)

// teams posts an adaptive card to a workflow. Teams knows no key by which it would
// recognise a repeat: a message whose answer was lost is shown twice.
type teams struct{ poster }

// Text from GitHub is in text runs, which know no Markdown; a mention would need an entry
// in msteams.entities.
type (
	teamsMessage struct {
		Type        string            `json:"type"`
		Attachments []teamsAttachment `json:"attachments"`
	}
	teamsAttachment struct {
		ContentType string    `json:"contentType"`
		Content     teamsCard `json:"content"`
	}
	teamsCard struct {
		Schema  string        `json:"$schema"`
		Type    string        `json:"type"`
		Version string        `json:"version"`
		Body    []teamsBlock  `json:"body"`
		Actions []teamsAction `json:"actions,omitempty"`
	}
	teamsBlock struct {
		Type    string     `json:"type"`
		Inlines []teamsRun `json:"inlines"`
	}
	teamsRun struct {
		Type   string `json:"type"`
		Text   string `json:"text"`
		Weight string `json:"weight,omitempty"`
	}
	teamsAction struct {
		Type  string `json:"type"`
		Title string `json:"title"`
		URL   string `json:"url"`
	}
)

// Send implements Target.
func (t teams) Send(ctx context.Context, m Message) error {
	block := func(runs ...teamsRun) teamsBlock { return teamsBlock{"RichTextBlock", runs} }
	card := teamsCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		Body: []teamsBlock{block(teamsRun{"TextRun", title(m), "bolder"})},
	}
	for _, signal := range m.Signals {
		var runs []teamsRun
		if m.Digest {
			runs = append(runs, teamsRun{"TextRun", heading(signal) + ": ", "bolder"})
		}
		card.Body = append(card.Body, block(append(runs, teamsRun{"TextRun", clean(signal.Words), ""})...))
	}
	if rest := left(m); rest != "" {
		card.Body = append(card.Body, block(teamsRun{"TextRun", rest, ""}))
	}
	if !m.Digest {
		if address := page(m.Signals[0]); address != "" {
			card.Actions = []teamsAction{{"Action.OpenUrl", "GitHub", address}}
		}
	}
	return t.postJSON(ctx, teamsMessage{"message", []teamsAttachment{{"application/vnd.microsoft.card.adaptive", card}}})
}

// Pace implements Target.
func (teams) Pace() time.Duration { return time.Second }
