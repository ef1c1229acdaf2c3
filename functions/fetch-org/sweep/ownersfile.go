package sweep

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a file of owners: its bytes, and how many of its faults are listed.
const (
	maxOwnersFile   = 4 << 20
	maxOwnersFaults = 20
)

// addFile adds the owners of a YAML file such as
//
//	companies:
//	  meta: [facebook, facebookresearch]
//	  amazon:
//	    - {login: aws, include: ["aws-*"], exclude: ["*-archive"]}
//	people: [torvalds]
//	repositories: [rust-lang/rust]
//
// A list may be empty. Anything else that would have no effect is a fault, which
// names the file, the line and the reason.
func (r Roster) addFile(name string) []error {
	text, err := readBounded(name, maxOwnersFile)
	if err != nil {
		return []error{err}
	}
	f := ownersFile{name: name, into: r}
	f.read(text)
	return f.faults
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return text, err
}

// ownersFile is a file that is being read. It works on the nodes of the YAML, not
// on Go's types, which ignore a null and have no line numbers.
type ownersFile struct {
	name    string
	into    Roster
	entries int
	faults  []error
}

func (f *ownersFile) full() bool {
	return len(f.faults) >= maxOwnersFaults || f.entries > 2*maxOwners
}

func (f *ownersFile) fault(n *yaml.Node, format string, args ...any) {
	f.faults = append(f.faults, fmt.Errorf("%s: line %d: %w", f.name, n.Line, fmt.Errorf(format, args...)))
}

func (f *ownersFile) read(text []byte) {
	var document yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		f.faults = append(f.faults, fmt.Errorf("%s: %w", f.name, err))
		return
	}
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		f.fault(&second, "a second document; want one")
	} else if !errors.Is(err, io.EOF) {
		f.faults = append(f.faults, fmt.Errorf("%s: %w", f.name, err))
	}
	if root := document.Content[0]; !isNull(root) {
		for key, value := range f.members(root, "companies, people and repositories") {
			switch key.Value {
			case "companies":
				f.companies(value)
			case "people":
				f.list(value, "", false)
			case "repositories":
				f.list(value, "", true)
			default:
				f.fault(key, "unknown key %q: want companies, people or repositories", key.Value)
			}
		}
	}
}

func (f *ownersFile) companies(n *yaml.Node) {
	if isNull(n) {
		return
	}
	for key, value := range f.members(n, "companies") {
		if key.Value == "" {
			f.fault(key, "a company without a name")
			continue
		}
		f.list(value, key.Value, false)
	}
}

// members yields the keys and values of a mapping. Each key is a text; a second
// one of the same name is a fault.
func (f *ownersFile) members(n *yaml.Node, of string) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		n = target(n)
		if n.Kind != yaml.MappingNode {
			f.fault(n, "want a mapping of %s", of)
			return
		}
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content) && !f.full(); i += 2 {
			key := target(n.Content[i])
			switch before, twice := seen[key.Value]; {
			case key.Kind != yaml.ScalarNode || isNull(key) || key.ShortTag() == "!!merge":
				f.fault(n.Content[i], "a key is not a text: put it in quotes")
			case twice:
				f.fault(n.Content[i], "key %q occurs twice, first in line %d", key.Value, before)
			default:
				seen[key.Value] = n.Content[i].Line
				if !yield(key, n.Content[i+1]) {
					return
				}
			}
		}
	}
}

// list reads a list of owners. single says that each must be one repository.
func (f *ownersFile) list(n *yaml.Node, company string, single bool) {
	if isNull(n) {
		return
	}
	at := n
	if n = target(n); n.Kind != yaml.SequenceNode {
		f.fault(at, "want a list")
		return
	}
	for _, entry := range n.Content {
		if f.full() {
			return
		}
		f.entries++
		o, ok := f.owner(entry)
		if !ok {
			continue
		}
		if single && len(o.Repos) == 0 {
			f.fault(entry, "invalid repository %q: want owner/name", o.Login)
			continue
		}
		if o.Company == "" {
			o.Company = company
		}
		if err := f.into.add(o); err != nil {
			f.fault(entry, "%w", err)
		}
	}
}

// owner reads one entry: a text for ParseOwner, or a mapping.
func (f *ownersFile) owner(entry *yaml.Node) (o Owner, ok bool) {
	before := len(f.faults)
	n := target(entry)
	var err error
	switch {
	case isNull(n):
		f.fault(entry, "empty entry: want an owner")
		return o, false
	case n.Kind == yaml.ScalarNode:
		o, err = ParseOwner(n.Value)
	case n.Kind == yaml.MappingNode:
		for key, value := range f.members(n, "an owner's login, company, repos, include and exclude") {
			switch key.Value {
			case "login":
				o.Login = f.text(key, value)
			case "company":
				o.Company = f.text(key, value)
			case "repos":
				o.Repos = f.texts(key, value)
			case "include":
				o.Include = f.texts(key, value)
			case "exclude":
				o.Exclude = f.texts(key, value)
			default:
				f.fault(key, "unknown key %q of an owner", key.Value)
			}
		}
		if len(f.faults) == before {
			o, err = o.normal()
		}
	default:
		f.fault(entry, "want a login, or a mapping with one")
		return o, false
	}
	if err != nil {
		f.fault(entry, "%w", err)
	}
	return o, len(f.faults) == before
}

func (f *ownersFile) text(key, n *yaml.Node) string {
	n = target(n)
	if n.Kind != yaml.ScalarNode || isNull(n) || strings.TrimSpace(n.Value) == "" {
		f.fault(key, "%s is not a text", key.Value)
		return ""
	}
	return n.Value
}

func (f *ownersFile) texts(key, n *yaml.Node) []string {
	n = target(n)
	if n.Kind != yaml.SequenceNode {
		f.fault(key, "%s is not a list", key.Value)
		return nil
	}
	texts := make([]string, 0, len(n.Content))
	for _, e := range n.Content {
		if text := f.text(&yaml.Node{Line: e.Line, Value: "an entry of " + key.Value}, e); text != "" {
			texts = append(texts, text)
		}
		if f.full() {
			return nil
		}
	}
	return slices.Clip(texts)
}

// target is the node itself, or the one that an alias refers to.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = target(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
