package target

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/m7pulse/m7pulse/shared/secret"
)

// postOffice is a mail server that keeps what it accepts.
type postOffice struct {
	address string

	mu     sync.Mutex
	refuse error // of a message
	mails  [][]byte
	to     [][]string
}

func newPostOffice(t *testing.T) *postOffice {
	t.Helper()
	p := &postOffice{}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &letterbox{office: p}, nil }))
	s.Domain, s.ReadTimeout, s.WriteTimeout = "mail.example", 10*time.Second, 10*time.Second
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		running.Wait()
	})
	p.address = "smtp://" + l.Addr().String() + "?tls=off"
	return p
}

// letterbox is one connection.
type letterbox struct {
	office *postOffice
	to     []string
}

func (l *letterbox) Reset()        { l.to = nil }
func (l *letterbox) Logout() error { return nil }

func (l *letterbox) Mail(string, *smtp.MailOptions) error { return nil }

func (l *letterbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	l.to = append(l.to, to)
	return nil
}

func (l *letterbox) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	l.office.mu.Lock()
	defer l.office.mu.Unlock()
	if l.office.refuse != nil {
		return l.office.refuse
	}
	l.office.mails, l.office.to = append(l.office.mails, text), append(l.office.to, l.to)
	return nil
}

func mailTo(p *postOffice) Config {
	return Config{Email: secret.Text(p.address), From: "M7 Pulse <pulse@example.com>", To: []string{"a@example.com", "b@example.com"}}
}

func TestAMailShowsTextOfGitHubAsText(t *testing.T) {
	for _, m := range messages() {
		p := newPostOffice(t)
		if err := send(t, mailTo(p), m); err != nil {
			t.Fatal(err)
		}
		if len(p.mails) != 1 || strings.Join(p.to[0], " ") != "a@example.com b@example.com" {
			t.Fatalf("%d mails, to %v", len(p.mails), p.to)
		}
		got, err := netmail.ReadMessage(bytes.NewReader(p.mails[0]))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
		if err != nil || strings.ContainsAny(subject, "\r\n\u202e\u200b") || !strings.HasPrefix(subject, title(m)) {
			t.Errorf("subject %q, %v", subject, err)
		}
		if got.Header.Get("Message-Id") != "<"+m.ID+"@example.com>" || got.Header.Get("Auto-Submitted") != "auto-generated" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("header %v", got.Header)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		if strings.Count(text, unlinked(clean(hostile))) != len(m.Signals) || strings.Count(text, "https://github.com/acme/repo\r\n") != len(m.Signals) {
			t.Errorf("the signals are not shown in %q", text)
		}
		// But for ours, nothing looks like an address.
		rest := strings.ReplaceAll(text, "https://github.com/acme/repo", "")
		for _, address := range []string{"://e", "evil.example", "discord.gg", "@everyone", "@U0"} {
			if strings.Contains(rest, address) {
				t.Errorf("%q is in %q", address, rest)
			}
		}
	}
}

func TestAMailServerSaysWhetherAnotherTryCanHelp(t *testing.T) {
	p := newPostOffice(t)
	for code, want := range map[int]bool{451: false, 421: false, 550: true, 554: true} {
		p.refuse = &smtp.SMTPError{Code: code, Message: "no"}
		err := send(t, mailTo(p), messages()[0])
		var rejected *Rejected
		if err == nil || errors.As(err, &rejected) != want {
			t.Errorf("%d: %v, rejected want %t", code, err, want)
		}
	}
	p.refuse = nil
	c := mailTo(p)
	c.Email = "smtp://127.0.0.1:1?tls=off"
	var rejected *Rejected
	if err := send(t, c, messages()[0]); err == nil || errors.As(err, &rejected) {
		t.Errorf("nobody listens: %v", err)
	}
	// A server without TLS is sent nothing that was not allowed to be read on the way.
	c.Email = secret.Text(strings.TrimSuffix(p.address, "?tls=off"))
	if err := send(t, c, messages()[0]); err == nil || len(p.mails) != 0 {
		t.Errorf("without TLS: %v, %d mails", err, len(p.mails))
	}
}

func TestAMailHasAnAddressOfASenderAndReceivers(t *testing.T) {
	good := Config{Email: "smtps://u:PASSWORD@h", From: "a@b.example", To: []string{"c@d.example"}}
	if _, err := Open(good, nil); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Email = "https://u:PASSWORD@h" }, func(c *Config) { c.Email = "smtp://u:PASSWORD@h?tls=off" }, func(c *Config) { c.Email = "smtp:///PASSWORD" }, func(c *Config) { c.Email = "smtp://u:PASSWORD@h:x" },
		func(c *Config) { c.From = "" }, func(c *Config) { c.From = "a@b\r\nBcc: x@y" }, func(c *Config) { c.To = nil }, func(c *Config) { c.To = []string{"c"} }, func(c *Config) { c.Secret = secretText },
		func(c *Config) { c.Email, c.Slack = "", "https://h" },
	} {
		c := good
		change(&c)
		if _, err := Open(c, nil); err == nil || strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("%v, of %v %v", err, c.From, c.To)
		}
	}
}
