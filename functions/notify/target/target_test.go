package target

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/secret"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// hostile is what a repository or a release could be called, in the languages of all
// targets.
const hostile = "<!channel> <@U024BE7LH> <#C1> <https://evil.example|x> @everyone @here <@&81> [x](https://evil.example) " +
	"**b** _i_ ~s~ `c` ||s|| # h > q <at>you</at> <b>&amp;</b> https://evil.example discord.gg/x \u202egnp.exe\u200b\r\n- l"

const secretText = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

func raised(words string) *event.Signal {
	s := signal.New(signal.Release)
	s.RepoID, s.NameWithOwner, s.Owner, s.ObservedAt, s.Words = new(int64(7)), new("acme/repo"), "acme", time.Unix(1_800_000_000, 0).UTC(), words
	s.Evidence = "7@1"
	s.Identify()
	return s
}

// receiver is a target's server.
type receiver struct {
	*httptest.Server
	status int
	header http.Header
	bodies [][]byte
	heads  []http.Header
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{status: http.StatusOK, header: http.Header{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.bodies, r.heads = append(r.bodies, body), append(r.heads, q.Header)
		for name, values := range r.header {
			w.Header()[name] = values
		}
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, "no_service")
	}))
	t.Cleanup(r.Close)
	return r
}

// configs are those of all kinds of targets, at an address.
func configs(address string) map[string]Config {
	a := secret.Text(address)
	return map[string]Config{"slack": {Slack: a}, "teams": {Teams: a}, "discord": {Discord: a}, "webhook": {Webhook: a, Secret: secretText}}
}

func send(t *testing.T, c Config, m Message) error {
	t.Helper()
	to, err := Open(c, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	return to.Send(t.Context(), m)
}

// messages are one with a single signal and a digest, all of hostile text.
func messages() []Message {
	return []Message{{ID: "msg_1", Signals: []*event.Signal{raised(hostile)}}, {ID: "msg_2", Digest: true, Signals: []*event.Signal{raised(hostile), raised(hostile)}, Left: 3}}
}

// strings visits each object of JSON.
func objects(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, e := range v {
			objects(e, visit)
		}
	case []any:
		for _, e := range v {
			objects(e, visit)
		}
	}
}

func decode(t *testing.T, body []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSlackShowsTextOfGitHubAsText(t *testing.T) {
	for _, m := range messages() {
		r := receive(t)
		if err := send(t, configs(r.URL)["slack"], m); err != nil {
			t.Fatal(err)
		}
		v := decode(t, r.bodies[0])
		if text := v["text"].(string); strings.ContainsAny(text, "<>") || v["parse"] != "none" || v["mrkdwn"] != false || v["link_names"] != false || v["unfurl_links"] != false {
			t.Errorf("the notice is %q in %v", text, v)
		}
		shown := 0
		objects(v["blocks"], func(o map[string]any) {
			switch o["type"] {
			case "rich_text", "rich_text_section":
			case "link":
				if o["url"] != "https://github.com/acme/repo" || o["text"] != "GitHub" {
					t.Errorf("a link %v", o)
				}
			case "text":
				if strings.Contains(o["text"].(string), clean(hostile)) {
					shown++
				}
			case nil: // a style
			default:
				t.Errorf("an element of type %v", o["type"])
			}
		})
		if shown != len(m.Signals) {
			t.Errorf("%d signals are shown, want %d", shown, len(m.Signals))
		}
	}
}

func TestTeamsShowsTextOfGitHubAsText(t *testing.T) {
	for _, m := range messages() {
		r := receive(t)
		if err := send(t, configs(r.URL)["teams"], m); err != nil {
			t.Fatal(err)
		}
		shown := 0
		objects(decode(t, r.bodies[0]), func(o map[string]any) {
			if o["msteams"] != nil || o["entities"] != nil {
				t.Errorf("a mention in %v", o)
			}
			switch o["type"] {
			case "TextRun": // which knows no Markdown
				if o["text"] == clean(hostile) {
					shown++
				}
			case "message", "AdaptiveCard", "RichTextBlock", nil:
			case "Action.OpenUrl":
				if o["url"] != "https://github.com/acme/repo" {
					t.Errorf("a link %v", o)
				}
			default:
				t.Errorf("an element of type %v", o["type"])
			}
		})
		if shown != len(m.Signals) {
			t.Errorf("%d signals are shown, want %d", shown, len(m.Signals))
		}
	}
}

func TestDiscordShowsTextOfGitHubAsText(t *testing.T) {
	for _, m := range messages() {
		r := receive(t)
		if err := send(t, configs(r.URL)["discord"], m); err != nil {
			t.Fatal(err)
		}
		v := decode(t, r.bodies[0])
		if parse := v["allowed_mentions"].(map[string]any)["parse"].([]any); len(parse) != 0 || v["content"] != nil {
			t.Errorf("mentions %v are allowed, content %v", parse, v["content"])
		}
		text := v["embeds"].([]any)[0].(map[string]any)["description"].(string)
		if strings.Count(text, literal(clean(hostile))) != len(m.Signals) {
			t.Errorf("the signals are not shown in %q", text)
		}
		text = strings.ReplaceAll(text, literal(clean(hostile)), "")
		if strings.ContainsAny(text, "<@*_`|[]>#") {
			t.Errorf("markup beside the signals: %q", text)
		}
	}
	// Each sign of ASCII that is no letter, digit or space is escaped.
	for _, part := range strings.FieldsFunc(literal("<@1> https://x.y `z`"), func(r rune) bool { return r == ' ' }) {
		for i := 0; i < len(part); i++ {
			if part[i] == '\\' {
				i++
			} else if strings.ContainsRune("<@>:/.`", rune(part[i])) {
				t.Errorf("%q is not escaped in %q", part[i], part)
			}
		}
	}
}

func TestALongDigestFitsIntoDiscord(t *testing.T) {
	r := receive(t)
	m := Message{ID: "msg", Digest: true}
	for range 40 {
		m.Signals = append(m.Signals, raised(strings.Repeat("!", 300)))
	}
	if err := send(t, configs(r.URL)["discord"], m); err != nil {
		t.Fatal(err)
	}
	text := decode(t, r.bodies[0])["embeds"].([]any)[0].(map[string]any)["description"].(string)
	if len(text) > maxDescription || !strings.Contains(text, "and 34 more") {
		t.Errorf("%d characters, ending in %q", len(text), text[len(text)-60:])
	}
}

func TestAWebhookGetsASignedCloudEvent(t *testing.T) {
	r := receive(t)
	if err := send(t, configs(r.URL)["webhook"], messages()[0]); err != nil {
		t.Fatal(err)
	}
	h, body := r.heads[0], r.bodies[0]
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretText, "whsec_"))
	want := "v1," + base64.StdEncoding.EncodeToString(sign(key, "msg_1", h.Get("Webhook-Timestamp"), body))
	if h.Get("Webhook-Id") != "msg_1" || h.Get("Webhook-Signature") != want || h.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("headers %v", h)
	}
	v := decode(t, body)
	data := v["data"].(map[string]any)
	if v["type"] != event.TypeSignal || v["id"] != raised("").ID || v["source"] != "/m7pulse/aggregate" || v["subject"] != "acme/repo" || v["kind"] != "release" || v["severity"] != "info" || data["words"] != hostile {
		t.Errorf("event %v", v)
	}
}

// The example of the Standard Webhooks specification.
func TestTheSignatureIsThatOfTheSpecification(t *testing.T) {
	key, err := webhookKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := base64.StdEncoding.EncodeToString(sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestAStatusSaysWhetherAnotherTryCanHelp(t *testing.T) {
	for name := range configs("http://x") {
		r := receive(t)
		r.header.Set("Retry-After", "7")
		for status, want := range map[int]string{200: "ok", 204: "ok", 302: "rejected", 400: "rejected", 404: "rejected", 410: "rejected", 408: "busy", 429: "busy", 500: "busy", 503: "busy"} {
			r.status = status
			err := send(t, configs(r.URL)[name], messages()[0])
			var rejected *Rejected
			var busy *Busy
			got := "ok"
			switch {
			case errors.As(err, &rejected):
				got = "rejected"
			case errors.As(err, &busy):
				if got = "busy"; busy.After != 7*time.Second {
					t.Errorf("%s: status %d asks for a pause of %s", name, status, busy.After)
				}
			}
			if got != want {
				t.Errorf("%s: status %d is %s, want %s", name, status, got, want)
			}
		}
	}
}

// An address holds its password.
func TestNoErrorShowsAnAddress(t *testing.T) {
	const token = "T0PS3CRET"
	r := receive(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, address := range []string{r.URL + "/" + token, gone.URL + "/" + token, "https://h.invalid/" + token, "ftp://h/" + token, "://" + token, "http://h/\x7f" + token} {
		r.status = http.StatusForbidden
		for name, c := range configs(address) {
			to, err := Open(c, http.DefaultTransport)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				err = to.Send(ctx, messages()[0])
				cancel()
			}
			if err == nil || strings.Contains(err.Error(), token) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

func TestALinkLeadsToGitHubAlone(t *testing.T) {
	for name, want := range map[string]string{
		"acme/repo": "https://github.com/acme/repo", "acme/.github": "https://github.com/acme/.github", "acme/a_b-c.d": "https://github.com/acme/a_b-c.d",
		"acme/..": "", "../x": "", "acme/re po": "", "acme/repo?x=1": "", "acme/repo/x": "", "acme@evil.example/x": "", "": "", "acme/": "", "//evil.example": "", "acme/rep\u043e": "",
	} {
		s := raised("")
		s.NameWithOwner = &name
		if got := page(s); got != want {
			t.Errorf("%q leads to %q, want %q", name, got, want)
		}
	}
}

func TestATargetIsOneAddressOfHTTP(t *testing.T) {
	for _, c := range []Config{
		{}, {Slack: "https://a", Teams: "https://b"}, {Slack: "hooks.slack.com"}, {Webhook: "https://a"}, {Webhook: "https://a", Secret: "short"},
		{Slack: "https://a", Secret: secretText}, {Webhook: "https://a", Secret: "whsec_c2hvcnQ="},
	} {
		if _, err := Open(c, http.DefaultTransport); err == nil {
			t.Errorf("%d characters of address, %d of secret are taken", len(c.Slack+c.Teams+c.Discord+c.Webhook), len(c.Secret))
		}
	}
}
