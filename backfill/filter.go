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
// owners. Of a line in another form than GH Archive's it says yes, and parsing decides.
func (f Filter) mayTake(line []byte) bool {
	if f.all {
		return true
	}
	name, ok := repository(line)
	if !ok {
		return true
	}
	var lower [maxLogin]byte
	for i, c := range name[:min(len(name), maxLogin)] {
		switch {
		case c == '/':
			return f.owners[string(lower[:i])]
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == '\\' || c == '"' || c >= 0x80: // not a login as GitHub has them
			return true
		}
		lower[i] = c
	}
	return true
}

// maxLogin bounds a login, in bytes.
const maxLogin = 100

// repository returns the name of an event's repository, and what follows it, if the
// line begins as GH Archive and GitHub begin one:
//
//	{"id":"1","type":"PushEvent","actor":{…},"repo":{"id":2,"name":"owner/name…
//
// No text can pass for a part of it: in JSON a quotation mark within a text has a
// backslash before it.
func repository(line []byte) (name []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"id":"`))
	rest = skip(rest, '0', '9')
	rest, typed := bytes.CutPrefix(rest, []byte(`","type":"`))
	for len(rest) > 0 && (rest[0]|0x20 >= 'a' && rest[0]|0x20 <= 'z') {
		rest = rest[1:]
	}
	rest, acted := bytes.CutPrefix(rest, []byte(`","actor":{`))
	end := bytes.IndexByte(rest, '}')
	if !ok || !typed || !acted || end < 0 || bytes.IndexByte(rest[:end], '{') >= 0 {
		return nil, false
	}
	rest, ok = bytes.CutPrefix(rest[end+1:], []byte(`,"repo":{"id":`))
	name, named := bytes.CutPrefix(skip(rest, '0', '9'), []byte(`,"name":"`))
	return name, ok && named
}

// skip leaves out bytes from one to another at the beginning.
func skip(text []byte, from, to byte) []byte {
	for len(text) > 0 && text[0] >= from && text[0] <= to {
		text = text[1:]
	}
	return text
}
