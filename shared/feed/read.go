package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxRaw bounds one event as GitHub gives it, in bytes: the longest text of an issue
// is 256 KiB, and a push of the older form has up to 20 commits.
const MaxRaw = 1 << 20

// Reader reads events as GitHub gives them.
type Reader struct {
	Bots   Bots
	Source string // of the events: rest, gharchive
}

// given is an event as GitHub gives it, in either form.
type given struct {
	ID        json.RawMessage `json:"id"` // a text, or a number
	Type      string          `json:"type"`
	Actor     *account        `json:"actor"`
	Repo      *named          `json:"repo"`
	Payload   json.RawMessage `json:"payload"`
	CreatedAt time.Time       `json:"created_at"`
}

type account struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
}

type named struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Read reads one event in JSON. An event of an unknown type is read as far as its
// form is known. It fails if the event has no identity, no repository, or values that
// are impossible at the time observed.
func (r Reader) Read(raw []byte, observed time.Time) (*Event, error) {
	if len(raw) > MaxRaw {
		return nil, fmt.Errorf("read an event: %d bytes, more than %d", len(raw), MaxRaw)
	}
	var g given
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, fmt.Errorf("read an event: %w", err)
	}
	id, err := strconv.ParseInt(string(bytes.Trim(g.ID, `"`)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read an event: invalid id %.40q", g.ID)
	}
	if g.Repo == nil {
		return nil, errors.New("read an event: it has no repository")
	}
	e := &Event{Type: g.Type, ID: id, CreatedAt: g.CreatedAt, RepoID: g.Repo.ID, NameWithOwner: g.Repo.Name, ObservedAt: observed, Source: r.Source}
	if a := g.Actor; a != nil && a.ID > 0 && plain(a.Login, maxWord) {
		e.ActorID, e.ActorLogin, e.ActorIsBot = &a.ID, &a.Login, r.Bots.Is(a.Login, "")
	}
	p := object{}
	if len(g.Payload) > 0 && g.Payload[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(g.Payload))
		d.UseNumber()
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("read the payload of an event: %w", err)
		}
	}
	r.fill(e, p)
	e.Payload = rest(p)
	e.Normalize()
	if err := e.Validate(observed); err != nil {
		return nil, fmt.Errorf("read an event: %w", err)
	}
	return e, nil
}

// fill takes from a payload what has a field of its own. Of a known name with an
// unexpected value the field stays null.
func (r Reader) fill(e *Event, p object) {
	e.Action, e.Number = p.word("action"), p.number("number")
	e.Commits = p.number("size")
	switch {
	case p.object("pull_request") != nil:
		r.subject(e, KindPullRequest, p.object("pull_request"))
	case p.object("issue") != nil:
		issue := p.object("issue")
		kind := KindIssue
		if issue.object("pull_request") != nil || strings.Contains(issue.text("html_url"), "/pull/") {
			kind = KindPullRequest
		}
		r.subject(e, kind, issue)
	case p.object("discussion") != nil:
		r.subject(e, KindDiscussion, p.object("discussion"))
	case p.object("release") != nil:
		release := p.object("release")
		r.subject(e, KindRelease, release)
		e.ReleaseTag = release.ref("tag_name")
	case p.object("forkee") != nil:
		e.SubjectKind = new(KindRepository)
		e.Action = new("forked") // the older form has none
	default:
		r.ref(e, p)
	}
	if review := p.object("review"); review != nil {
		if state := review.word("state"); state != nil {
			e.ReviewState = new(strings.ToLower(*state))
		}
	}
}

// subject takes what an event is about.
func (r Reader) subject(e *Event, kind string, o object) {
	e.SubjectKind = &kind
	if n := o.number("number"); n != nil {
		e.Number = n
	}
	author := o.object("user")
	if author == nil {
		author = o.object("author") // of a release
	}
	if id, login := author.number("id"), author.word("login"); id != nil && login != nil {
		bot := r.Bots.Is(*login, author.text("type"))
		e.AuthorID, e.AuthorLogin, e.AuthorIsBot = id, login, &bot
	}
	e.SubjectCreatedAt, e.SubjectClosedAt, e.SubjectMergedAt = o.time("created_at"), o.time("closed_at"), o.time("merged_at")
	if inner := o.object("pull_request"); inner != nil && e.SubjectMergedAt == nil { // an issue that is a pull request
		e.SubjectMergedAt = inner.time("merged_at")
	}
	if kind == KindPullRequest && e.Type == "PullRequestEvent" && e.Action != nil && *e.Action == "closed" && (o["merged"] == true || e.SubjectMergedAt != nil) {
		e.Action = new(ActionMerged)
	}
}

// ref takes the branch or tag of an event, whole: the older form of those that create
// and delete one has its name and its kind apart.
func (r Reader) ref(e *Event, p object) {
	ref, kind := p.ref("full_ref"), p.text("ref_type")
	if ref == nil {
		ref = p.ref("ref")
	}
	switch {
	case kind == KindRepository:
		e.SubjectKind = &kind
		return
	case ref == nil:
		return
	case strings.HasPrefix(*ref, "refs/"):
	case kind == KindBranch:
		*ref = "refs/heads/" + *ref
	case kind == KindTag:
		*ref = "refs/tags/" + *ref
	default:
		return
	}
	if len(*ref) > maxRef {
		return
	}
	e.Ref = ref
	switch {
	case strings.HasPrefix(*ref, "refs/heads/"):
		e.SubjectKind = new(KindBranch)
	case strings.HasPrefix(*ref, "refs/tags/"):
		e.SubjectKind = new(KindTag)
	}
}

// object is a JSON object. Its methods return the zero value where a member is
// missing, or not what it should be.
type object map[string]any

func (o object) object(name string) object {
	inner, _ := o[name].(map[string]any)
	return inner
}

func (o object) text(name string) string {
	text, _ := o[name].(string)
	return text
}

// word is a text that is short.
func (o object) word(name string) *string {
	if text, ok := o[name].(string); ok && text != "" && plain(text, maxWord) {
		return &text
	}
	return nil
}

// ref is the name of a branch or tag.
func (o object) ref(name string) *string {
	if text, ok := o[name].(string); ok && text != "" && plain(text, maxRef) {
		return &text
	}
	return nil
}

// number is a number of things, or an id.
func (o object) number(name string) *int64 {
	text, ok := o[name].(json.Number)
	if !ok {
		return nil
	}
	if n, err := text.Int64(); err == nil && n >= 0 {
		return &n
	}
	return nil
}

func (o object) time(name string) *time.Time {
	text, ok := o[name].(string)
	if !ok {
		return nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && plausible(at) {
		return &at
	}
	return nil
}

// Bounds of what is kept of a payload besides the fields of an Event.
const (
	maxDepth   = 4
	maxEntries = 20 // of a list
	maxWordy   = 40 // bytes of a word
)

// rest is a payload without what people have written and without people: numbers,
// flags, times, hashes, refs and single words, in JSON with sorted names. So members
// that GitHub adds are kept if they are of these kinds. It is nil if nothing is left,
// or more than 2 KiB.
func rest(p object) *string {
	for _, name := range []string{"action", "number", "size", "ref", "full_ref", "ref_type", "repository_id"} { // have fields of their own
		delete(p, name)
	}
	kept, ok := prune(map[string]any(p), 0)
	if !ok {
		return nil
	}
	text, err := json.Marshal(kept)
	if err != nil || len(text) > maxPayload {
		return nil
	}
	return new(string(text))
}

// prune returns what may be kept of a JSON value. ok is false if nothing may.
func prune(v any, depth int) (kept any, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case json.Number:
		return v, len(v) <= maxWordy
	case string:
		return v, keeps(v)
	case []any:
		var list []any
		for _, e := range v[:min(len(v), maxEntries)] {
			if k, ok := prune(e, depth+1); ok {
				list = append(list, k)
			}
		}
		return list, len(list) > 0
	case map[string]any:
		if _, person := v["login"]; person || depth > maxDepth {
			return nil, false
		}
		if _, whole := v["full_name"]; whole { // a repository: its id is enough
			v = map[string]any{"id": v["id"]}
		}
		out := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if _, list := v[name].([]any); list && name == "commits" || written(name) { // of pushes; the one of a pull request is a count
				continue
			}
			if k, ok := prune(v[name], depth+1); ok {
				out[name] = k
			}
		}
		return out, len(out) > 0
	}
	return nil, false
}

// written says whether a member may hold what a person has written, or a person.
func written(name string) bool {
	name = strings.ToLower(name)
	if name == "author_association" {
		return false
	}
	if !identifier(strings.TrimLeft(name, "+-_"), maxWordy) && name != "+1" && name != "-1" {
		return true
	}
	for _, part := range []string{
		"title", "body", "message", "text", "description", "name", "label", "content", "html", "diff", "hunk", "path",
		"login", "user", "author", "actor", "sender", "email", "member", "owner", "assignee", "reviewer", "creator", "pages",
		"url", "link", "node_id", "gravatar", "avatar", "homepage", "color", "topic",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// keeps says whether a text is a time, a hash, a ref, or one word.
func keeps(text string) bool {
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return true
	}
	if (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789abcdef") == "" {
		return true
	}
	if strings.HasPrefix(text, "refs/") && plain(text, maxWord) {
		return true
	}
	return identifier(text, maxWordy)
}
