package feed_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

func read(t testing.TB, raw []byte) *feed.Event {
	t.Helper()
	e, err := feedtest.Reader().Read(raw, feedtest.At())
	if err != nil {
		t.Fatalf("%v in %.300s", err, raw)
	}
	return e
}

func TestEveryRealEventIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		events [][]byte
		want   map[string]int
	}{
		"older": {feedtest.Older(t), map[string]int{"all": 191, "merged": 21, "commits": 70, "author": 75, "ref": 100}},
		"newer": {feedtest.Newer(t), map[string]int{"all": 2500, "merged": 5, "author": 5, "ref": 2475}},
	} {
		got, keys := map[string]int{}, map[feed.Key]bool{}
		for _, raw := range c.events {
			e := read(t, raw)
			got["all"]++
			keys[e.Key()] = true
			if e.Action != nil && *e.Action == feed.ActionMerged {
				got["merged"]++
			}
			if e.Commits != nil {
				got["commits"]++
			}
			if e.AuthorLogin != nil {
				got["author"]++
			}
			if e.Ref != nil {
				got["ref"]++
				if !strings.HasPrefix(*e.Ref, "refs/") {
					t.Errorf("%s: ref %q is not whole", e.Key(), *e.Ref)
				}
			}
			if e.ActorID == nil || e.ActorLogin == nil {
				t.Errorf("%s has no actor", e.Key())
			}
		}
		if !maps.Equal(got, c.want) || len(keys) != c.want["all"] {
			t.Errorf("%s: %v in %d keys, want %v", name, got, len(keys), c.want)
		}
	}
}

// TestNoTextOfAPersonIsKept: in the real events every text that a person has written
// was replaced by "text of N characters", and every login by u and hex digits.
func TestNoTextOfAPersonIsKept(t *testing.T) {
	for _, e := range feedtest.Events(t) {
		if e.Payload == nil {
			continue
		}
		if strings.Contains(*e.Payload, "text of") || strings.Contains(*e.Payload, "http") || strings.Contains(*e.Payload, "@example") ||
			strings.Contains(*e.Payload, *e.ActorLogin) || e.AuthorLogin != nil && strings.Contains(*e.Payload, *e.AuthorLogin) {
			t.Errorf("%s keeps %s", e.Key(), *e.Payload)
		}
		if !json.Valid([]byte(*e.Payload)) {
			t.Errorf("%s: payload is not JSON: %s", e.Key(), *e.Payload)
		}
	}
}

// TestAnyOrderAndAnyRepetitionGiveTheSameEvents, of both forms together.
func TestAnyOrderAndAnyRepetitionGiveTheSameEvents(t *testing.T) {
	all := slices.Concat(feedtest.Older(t), feedtest.Newer(t))
	table := func(of [][]byte) map[feed.Key]feed.Event {
		out := map[feed.Key]feed.Event{}
		for _, raw := range of {
			e := read(t, raw)
			if was, known := out[e.Key()]; known && !reflect.DeepEqual(was, *e) {
				t.Fatalf("%s is read in two ways:\n%+v\n%+v", e.Key(), was, *e)
			}
			out[e.Key()] = *e
		}
		return out
	}
	want := table(all)
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 1))
		some := slices.Clone(all)
		for range 500 {
			some = append(some, all[rng.IntN(len(all))])
		}
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		if got := table(some); !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: %d events, want %d", seed, len(got), len(want))
		}
	}
}

const head = `{"id":"77","type":"%s","actor":{"id":5,"login":"ada"},"repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-01T15:00:00Z","payload":%s}`

func TestBothFormsAreReadToOne(t *testing.T) {
	subject := func(e *feed.Event) string {
		text := func(p *string) string {
			if p == nil {
				return "-"
			}
			return *p
		}
		out := text(e.Action) + " " + text(e.SubjectKind) + " "
		if e.Number != nil {
			out += fmt.Sprint(*e.Number)
		}
		return out + " " + text(e.AuthorLogin) + " " + text(e.Ref) + " " + text(e.ReleaseTag) + " " + text(e.ReviewState)
	}
	for _, c := range []struct{ name, typ, payload, want string }{
		{"a merge, older", "PullRequestEvent", `{"action":"closed","number":4,"pull_request":{"number":4,"merged":true,"merged_at":"2026-06-01T15:00:00Z","user":{"id":1,"login":"bob"}}}`, "merged pull_request 4 bob - - -"},
		{"a merge, newer", "PullRequestEvent", `{"action":"merged","number":4,"pull_request":{"number":4}}`, "merged pull_request 4 - - - -"},
		{"closed without a merge", "PullRequestEvent", `{"action":"closed","number":4,"pull_request":{"number":4,"merged":false,"merged_at":null}}`, "closed pull_request 4 - - - -"},
		{"a review of a merged pull request", "PullRequestReviewEvent", `{"action":"created","review":{"state":"APPROVED"},"pull_request":{"number":4,"merged_at":"2026-06-01T15:00:00Z"}}`, "created pull_request 4 - - - approved"},
		{"a comment on an issue", "IssueCommentEvent", `{"action":"created","issue":{"number":8,"user":{"id":1,"login":"bob"},"html_url":"https://github.com/acme/tool/issues/8"},"comment":{}}`, "created issue 8 bob - - -"},
		{"a comment on a pull request", "IssueCommentEvent", `{"action":"created","issue":{"number":8,"html_url":"https://github.com/acme/tool/pull/8"}}`, "created pull_request 8 - - - -"},
		{"a branch, older", "CreateEvent", `{"ref":"next","ref_type":"branch"}`, "- branch  - refs/heads/next - -"},
		{"a branch, newer", "CreateEvent", `{"ref":"next","ref_type":"branch","full_ref":"refs/heads/next"}`, "- branch  - refs/heads/next - -"},
		{"a tag", "DeleteEvent", `{"ref":"v1","ref_type":"tag"}`, "- tag  - refs/tags/v1 - -"},
		{"a repository", "CreateEvent", `{"ref":null,"ref_type":"repository"}`, "- repository  - - - -"},
		{"a push", "PushEvent", `{"ref":"refs/heads/main","size":3}`, "- branch  - refs/heads/main - -"},
		{"a fork, older", "ForkEvent", `{"forkee":{"id":3,"full_name":"eve/tool"}}`, "forked repository  - - - -"},
		{"a fork, newer", "ForkEvent", `{"action":"forked","forkee":{"id":3,"full_name":"eve/tool"}}`, "forked repository  - - - -"},
		{"a release", "ReleaseEvent", `{"action":"published","release":{"id":3,"tag_name":"v2","author":{"id":1,"login":"bob"}}}`, "published release  bob - v2 -"},
		{"a discussion", "DiscussionEvent", `{"action":"created","discussion":{"number":6,"user":{"id":1,"login":"bob"}}}`, "created discussion 6 bob - - -"},
		{"an unknown type", "QuantumEvent", `{"action":"entangled","spin":2}`, "entangled -  - - - -"},
		{"no payload", "PublicEvent", `{}`, "- -  - - - -"},
		{"a known name with another value", "IssuesEvent", `{"action":7,"issue":{"number":"eight","user":"bob"}}`, "- issue  - - - -"},
	} {
		if got := subject(read(t, fmt.Appendf(nil, head, c.typ, c.payload))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMembersThatGitHubAddsAreKeptWithoutTexts(t *testing.T) {
	e := read(t, fmt.Appendf(nil, head, "QuantumEvent", `{"spin":2,"entangled":true,"title":"secret","particle":{"id":3,"body":"secret","label":{"name":"secret"},"state":"up",
		"observer":{"login":"eve","id":7},"seen_at":"2026-06-01T15:00:00Z","note":"a whole sentence","repo":{"id":4,"full_name":"eve/secret"}},"email":"a@b.c","url":"https://x"}`))
	const want = `{"entangled":true,"particle":{"id":3,"repo":{"id":4},"seen_at":"2026-06-01T15:00:00Z","state":"up"},"spin":2}`
	if e.Payload == nil || *e.Payload != want {
		t.Errorf("payload %v, want %s", *e.Payload, want)
	}
	large := read(t, fmt.Appendf(nil, head, "QuantumEvent", `{"spin":[`+strings.Repeat(`{"state":"`+strings.Repeat("x", 39)+`","a":1,"b":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]},`, 19)+`{}]}`))
	if large.Payload != nil {
		t.Errorf("a payload of %d bytes is kept", len(*large.Payload))
	}
}

func TestAnEventWithoutIdentityIsRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"no id":          `{"type":"PushEvent","repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-01T15:00:00Z"}`,
		"another id":     `{"id":"x1","type":"PushEvent","repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-01T15:00:00Z"}`,
		"no type":        `{"id":"1","repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-01T15:00:00Z"}`,
		"no time":        `{"id":"1","type":"PushEvent","repo":{"id":9,"name":"acme/tool"}}`,
		"no repository":  `{"id":"1","type":"PushEvent","created_at":"2026-06-01T15:00:00Z"}`,
		"another name":   `{"id":"1","type":"PushEvent","repo":{"id":9,"name":"acme"},"created_at":"2026-06-01T15:00:00Z"}`,
		"of tomorrow":    `{"id":"1","type":"PushEvent","repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-03T15:00:00Z"}`,
		"a list":         `[]`,
		"a payload of 1": `{"id":"1","type":"PushEvent","repo":{"id":9,"name":"acme/tool"},"created_at":"2026-06-01T15:00:00Z","payload":`,
	} {
		if e, err := feedtest.Reader().Read([]byte(raw), feedtest.At()); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
}

func TestBotsAreToldFromPeople(t *testing.T) {
	bots := feed.NewBots("Our-Helper")
	for login, want := range map[string]bool{"dependabot[bot]": true, "acme-bot": true, "K8s-CI-Robot": true, "our-helper": true, "ada": false, "robot": false, "abbot": false} {
		if bots.Is(login, "User") != want {
			t.Errorf("%s: a bot is %v, want %v", login, !want, want)
		}
	}
	if !bots.Is("ada", "Bot") {
		t.Error("an account of type Bot is not one")
	}
}

// FuzzRead: whatever bytes come, an event is refused or valid, and reading it again
// gives the same.
func FuzzRead(f *testing.F) {
	for i, raw := range slices.Concat(feedtest.Older(f), feedtest.Newer(f)) {
		if i%97 == 0 {
			f.Add(raw)
		}
	}
	f.Add(fmt.Appendf(nil, head, "PushEvent", `{"ref":"\u0000","size":-1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := feedtest.Reader().Read(raw, feedtest.At())
		if err != nil {
			return
		}
		if err := e.Validate(feedtest.At()); err != nil {
			t.Fatal(err)
		}
		again, err := feedtest.Reader().Read(raw, feedtest.At())
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("read again: %+v, %v; was %+v", again, err, e)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back feed.Event
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*e, back) {
			t.Fatalf("through JSON: %+v, was %+v", back, *e)
		}
	})
}
