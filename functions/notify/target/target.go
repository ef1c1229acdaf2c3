// Package target sends signals to where people read them: Slack, Teams, Discord,
// webhooks and mail. Each target has its own form, in which text from GitHub stays text.
package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/secret"
)

// Message is what a target is sent at once: a signal, or those of a digest.
type Message struct {
	// ID is the same whenever the message is sent, and of no other message: a receiver
	// knows a repeat by it.
	ID      string
	Signals []*event.Signal // the oldest first
	Left    int             // signals of a digest that are not listed
	Digest  bool
}

// Target is one of those that messages are sent to.
type Target interface {
	// Send sends a message and returns once it is accepted. It may have been accepted
	// although Send failed. An error is Rejected if another try cannot help.
	Send(ctx context.Context, m Message) error
	// Pace is the least time between two messages that the target allows.
	Pace() time.Duration
}

// Config is where one target is: exactly one of the addresses. They are secrets: whoever
// knows one can write to the target.
type Config struct {
	Slack   secret.Text `yaml:"slack"`   // address of an incoming webhook
	Teams   secret.Text `yaml:"teams"`   // address of a workflow that posts a card
	Discord secret.Text `yaml:"discord"` // address of a webhook
	Webhook secret.Text `yaml:"webhook"` // address that takes CloudEvents
	Secret  secret.Text `yaml:"secret"`  // with which those of a webhook are signed
	Email   secret.Text `yaml:"email"`   // address of a mail server, smtp:// or smtps://
	From    string      `yaml:"from"`    // of mails
	To      []string    `yaml:"to"`      // of mails
}

// Open returns the target at its address. It connects to nothing.
func Open(c Config, transport http.RoundTripper) (Target, error) {
	given := 0
	for _, address := range []secret.Text{c.Slack, c.Teams, c.Discord, c.Webhook, c.Email} {
		if address != "" {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("want exactly one of slack, teams, discord, webhook and email")
	}
	if (c.Secret != "") != (c.Webhook != "") {
		return nil, errors.New("a webhook has a secret, and nothing else has one")
	}
	if c.Email != "" {
		return openEmail(c)
	}
	if c.From != "" || len(c.To) > 0 {
		return nil, errors.New("an e-mail has from and to, and nothing else has them")
	}
	address := string(c.Slack + c.Teams + c.Discord + c.Webhook)
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the address is not one of HTTP") // without it, for it is a secret
	}
	p := poster{address: address, client: &http.Client{
		Transport: transport, Timeout: answerLimit,
		// An address elsewhere was not chosen by the operator.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	switch {
	case c.Slack != "":
		return slack{p}, nil
	case c.Teams != "":
		return teams{p}, nil
	case c.Discord != "":
		return discord{p}, nil
	}
	key, err := webhookKey(string(c.Secret))
	if err != nil {
		return nil, err
	}
	return &webhook{poster: p, key: key, now: time.Now}, nil
}

// Rejected is the error of a message that the target does not accept, now or later.
type Rejected struct{ Cause error }

func (r *Rejected) Error() string { return "rejected: " + r.Cause.Error() }
func (r *Rejected) Unwrap() error { return r.Cause }

// Busy is the error of a message that the target wants to be sent later.
type Busy struct {
	After time.Duration // at least; 0 where the target does not say
	Cause error
}

func (b *Busy) Error() string { return b.Cause.Error() }
func (b *Busy) Unwrap() error { return b.Cause }

// heading is what kind of signal it is, in our words alone.
func heading(s *event.Signal) string {
	return strings.ToUpper(s.Severity[:1]) + s.Severity[1:] + ": " + strings.ReplaceAll(s.Kind, "_", " ")
}

// title is a message's own line.
func title(m Message) string {
	if !m.Digest {
		return heading(m.Signals[0])
	}
	n := len(m.Signals) + m.Left
	if n == 1 {
		return "M7 Pulse: 1 signal"
	}
	return fmt.Sprintf("M7 Pulse: %d signals", n)
}

// left says how many signals of a digest are not listed; "" for none.
func left(m Message) string {
	if m.Left == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more: pulse signals lists them", m.Left)
}

// clean is text from GitHub on one line, without what has no form of its own: control
// characters, marks of direction, characters of no width.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(/[A-Za-z0-9._-]{1,100})?$`)

// page is the address on GitHub that a signal is of, "" if its name could lead
// elsewhere.
func page(s *event.Signal) string {
	name := s.Owner
	if s.NameWithOwner != nil {
		name = *s.NameWithOwner
	}
	if _, repository, _ := strings.Cut(name, "/"); repository == "." || repository == ".." || !namePattern.MatchString(name) {
		return ""
	}
	return "https://github.com/" + name
}
