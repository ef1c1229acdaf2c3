package target

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// maxRecipients bounds those of one target, maxSubject the runes of a subject.
const (
	maxRecipients = 50
	maxSubject    = 150
	// mailLimit bounds the login, and then the message: both together answerLimit.
	mailLimit = answerLimit / 2
)

// email sends plain text by SMTP. Its Message-ID is made of the message's id: some
// servers keep one of two that have the same.
type email struct {
	host, domain string
	from         string
	to           []string
	options      []mail.Option
}

// openEmail reads an address such as smtp://user:password@host:587, which must know
// STARTTLS unless ?tls=off is added, or smtps://…, which is TLS from the start.
func openEmail(c Config) (*email, error) {
	u, err := url.Parse(string(c.Email))
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("email is not an address such as smtps://user:password@host") // without it, for it is a secret
	}
	if len(c.To) == 0 || len(c.To) > maxRecipients {
		return nil, fmt.Errorf("an e-mail needs from, and 1 to %d addresses in to", maxRecipients)
	}
	e := &email{host: u.Hostname(), to: c.To}
	from, err := netmail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("from is not an e-mail address: %.100q", c.From)
	}
	e.from = c.From
	_, e.domain, _ = strings.Cut(from.Address, "@")
	for _, to := range c.To {
		if _, err := netmail.ParseAddress(to); err != nil {
			return nil, fmt.Errorf("to has what is not an e-mail address: %.100q", to)
		}
	}
	port := map[string]int{"smtp": 587, "smtps": 465}[u.Scheme]
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, errors.New("the port of email is no number")
		}
	}
	e.options = []mail.Option{mail.WithPort(port), mail.WithTimeout(mailLimit), mail.WithTLSPolicy(mail.TLSMandatory)}
	switch {
	case u.Scheme == "smtps":
		e.options = append(e.options, mail.WithSSL())
	case u.Query().Get("tls") == "off" && u.User != nil:
		return nil, errors.New("a password is not sent without TLS")
	case u.Query().Get("tls") == "off":
		e.options = append(e.options, mail.WithTLSPolicy(mail.NoTLS))
	}
	if password, ok := u.User.Password(); ok {
		e.options = append(e.options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()), mail.WithPassword(password))
	}
	_, err = mail.NewClient(e.host, e.options...)
	return e, err
}

// Send implements Target.
func (e *email) Send(ctx context.Context, m Message) error {
	msg := mail.NewMsg()
	if err := errors.Join(msg.From(e.from), msg.To(e.to...)); err != nil {
		return &Rejected{fmt.Errorf("address a mail: %w", err)}
	}
	subject := title(m)
	if !m.Digest {
		subject += ": " + clean(m.Signals[0].Words)
	}
	if runes := []rune(subject); len(runes) > maxSubject {
		subject = string(runes[:maxSubject]) + "…"
	}
	msg.Subject(subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(m.ID + "@" + e.domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	var body strings.Builder
	for _, s := range m.Signals {
		fmt.Fprintf(&body, "%s: %s\n", heading(s), unlinked(clean(s.Words)))
		if address := page(s); address != "" {
			body.WriteString(address + "\n")
		}
		body.WriteString("\n")
	}
	body.WriteString(left(m))
	msg.SetBodyString(mail.TypeTextPlain, body.String())

	client, err := mail.NewClient(e.host, e.options...)
	if err != nil {
		return &Rejected{fmt.Errorf("prepare a mail: %w", err)}
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fmt.Errorf("reach the mail server: %w", err)
	}
	err = client.Send(msg)
	_ = client.Close() // what was accepted stays so
	var failed *mail.SendError
	if errors.As(err, &failed) && failed.ErrorCode() >= 500 {
		return &Rejected{fmt.Errorf("send a mail: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("send a mail: %w", err)
	}
	return nil
}

// Pace implements Target.
func (*email) Pace() time.Duration { return time.Second }

// unlinked puts a word joiner, which has no width, beside each sign that holds an
// address together: mail programs make links of what looks like one.
func unlinked(text string) string {
	const joiner = "\u2060"
	var b strings.Builder
	for _, r := range text {
		b.WriteRune(r)
		if strings.ContainsRune(".:/@", r) {
			b.WriteString(joiner)
		}
	}
	return b.String()
}
