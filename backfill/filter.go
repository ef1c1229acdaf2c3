package backfill

import (
	"bytes"
	"strings"
)

// Filter says whose events are taken.
type Filter struct {
	all    bool
	owners map[string]bool // in lower case
	wanted func(owner, nameWithOwner string) bool
}

// Everything takes every event.
func Everything() Filter { return Filter{all: true} }

// Owners takes the events in repositories of some owners, whatever the case of their
// logins. wanted, unless nil, says of one of their repositories whether it is wanted.
func Owners(logins []string, wanted func(owner, nameWithOwner string) bool) Filter {
	f := Filter{owners: map[string]bool{}, wanted: wanted}
	for _, login := range logins {
		f.owners[strings.ToLower(login)] = true
	}
	return f
}

// takes says whether the events of a repository are taken.
func (f Filter) takes(owner, nameWithOwner string) bool {
	return f.all || f.owners[strings.ToLower(owner)] && (f.wanted == nil || f.wanted(owner, nameWithOwner))
}

// mayTake says of an event in JSON, before it is parsed, whether it may be one of the
// owners. It finds the repository by its place, before the payload and without blanks,
// as GH Archive writes it; of a line in any other form it says yes, and parsing decides.
// In a text of JSON a quotation mark has a backslash before it, so no text is taken for
// the member.
func (f Filter) mayTake(line []byte) bool {
	if f.all {
		return true
	}
	const most = 100 // bytes of a login
	at := bytes.Index(line, []byte(`"repo":{`))
	if at < 0 || bytes.Contains(line[:at], []byte(`"payload":`)) {
		return true
	}
	rest, ok := bytes.CutPrefix(line[at+len(`"repo":{`):], []byte(`"id":`))
	for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
		rest = rest[1:]
	}
	rest, named := bytes.CutPrefix(rest, []byte(`,"name":"`))
	if !ok || !named {
		return true
	}
	rest = rest[:min(len(rest), most)]
	slash := bytes.IndexByte(rest, '/')
	if slash < 0 {
		return true
	}
	var lower [most]byte
	for i, c := range rest[:slash] {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '\\' || c == '"' || c >= 0x80: // not a login as GitHub has them
			return true
		}
		lower[i] = c
	}
	return f.owners[string(lower[:slash])]
}
