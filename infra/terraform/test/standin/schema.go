package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
)

// attribute is a value, or with Mode an object, or a list, set or map of them.
type attribute struct {
	Type     any    `json:",omitempty"` // as JSON has it: "string", ["list","string"], ["list",["object",{…}]]
	Object   block  `json:",omitzero"`
	Mode     string `json:",omitempty"` // list, set, map or single
	Required bool   `json:",omitempty"`
	Optional bool   `json:",omitempty"`
	Computed bool   `json:",omitempty"`
}

type nested struct {
	Mode     string
	Required bool
	Block    block
}

type block struct {
	Attributes map[string]attribute `json:",omitempty"`
	Blocks     map[string]nested    `json:",omitempty"`
}

// schema is what a provider says of itself, of some of its types.
type schema struct {
	Provider        block
	Resources, Data map[string]block
}

// read makes the schema of a provider from a package of the Terraform CDK, which
// is generated from the provider's own schema. types are "resource/NAME" and
// "data/NAME".
func read(archive, provider string, types []string) (schema, error) {
	want := map[string]string{"package/lib/provider/index.js": "provider"}
	for _, t := range types {
		kind, name, _ := strings.Cut(t, "/")
		dir := strings.ReplaceAll(strings.TrimPrefix(name, provider+"_"), "_", "-")
		if kind == "data" {
			dir = "data-" + provider + "-" + dir
		}
		want["package/lib/"+dir+"/index.js"] = t
	}
	found := schema{Resources: map[string]block{}, Data: map[string]block{}}
	err := each(archive, func(file string, content []byte) error {
		what, ok := want[file]
		if !ok {
			return nil
		}
		delete(want, file)
		source, err := source(content)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		s := parse(source)
		b := s.block(s.root)
		if what == "provider" {
			b = s.input(s.root)
			delete(b.Attributes, "alias") // is OpenTofu's own
		}
		if len(b.Attributes) == 0 && what != "provider" {
			return fmt.Errorf("read %s: no attributes found", file)
		}
		switch kind, name, _ := strings.Cut(what, "/"); kind {
		case "resource":
			found.Resources[name] = b
		case "data":
			found.Data[name] = b
		default:
			found.Provider = b
		}
		return nil
	})
	for file := range want {
		err = errors.Join(err, fmt.Errorf("%s has no %s", path.Base(archive), file))
	}
	return found, err
}

func each(archive string, do func(string, []byte) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", archive, err)
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		if path.Base(h.Name) != "index.js" {
			continue
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		if err := do(h.Name, content); err != nil {
			return err
		}
	}
}

// source is the TypeScript that a file was compiled from: its comments say what is
// required and what is computed.
func source(js []byte) (string, error) {
	const mark = "sourceMappingURL=data:application/json;base64,"
	_, encoded, ok := strings.Cut(string(js), mark)
	if !ok {
		return "", errors.New("no source map")
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", err
	}
	var sources struct{ SourcesContent []string }
	if err := json.Unmarshal(text, &sources); err != nil {
		return "", err
	}
	if len(sources.SourcesContent) != 1 {
		return "", fmt.Errorf("%d sources", len(sources.SourcesContent))
	}
	return sources.SourcesContent[0], nil
}

type classes struct {
	root                        string
	bodies, mappers, interfaces map[string]string
	blocks                      map[string]bool // by "class/attribute": it is written as a block
}

var (
	class     = regexp.MustCompile(`(?ms)^export class (\w+) extends cdktf\.(\w+) \{(.*?)^\}`)
	mapper    = regexp.MustCompile(`(?ms)^export function (\w+?)ToHclTerraform\(.*?const attrs = \{(.*?)^  \};`)
	hcl       = regexp.MustCompile(`(?s)\b(\w+): \{\s*value: ([^\n]*?),\n\s*isBlock: (true|false),\s*type: "(\w+)"`)
	property  = regexp.MustCompile(`// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)`)
	part      = regexp.MustCompile(`= new (\w+?)(List|Map|OutputReference)\(this, "(\w+)"(?:, (true|false))?\)`)
	collected = regexp.MustCompile(`= new cdktf\.(\w+)\(this, "`)
	getter    = regexp.MustCompile(`return (cdktf\.Fn\.tolist\()?this\.(?:get(\w+)Attribute|interpolationForAttribute)\('`)
	declared  = regexp.MustCompile(`(?ms)^export interface (\w+)[^{]*\{(.*?)^\}`)
	writers   = regexp.MustCompile(`(\w+)ToHclTerraform\b`)
	camelCase = regexp.MustCompile(`(?:this\._|struct!\.)(\w+)`)
)

func parse(text string) classes {
	s := classes{bodies: map[string]string{}, mappers: map[string]string{}, interfaces: map[string]string{}, blocks: map[string]bool{}}
	note := func(of, attributes string) {
		for _, m := range hcl.FindAllStringSubmatch(attributes, -1) {
			// A list says by its mapper's flag whether it is of blocks; a single object
			// with a type of its own is an attribute, but for timeouts.
			isBlock := m[3] == "true" && !strings.Contains(m[2], "HclTerraform, false)") && (m[4] != "struct" || m[1] == "timeouts")
			s.blocks[of+"/"+m[1]] = isBlock
		}
	}
	for _, m := range class.FindAllStringSubmatch(text, -1) {
		s.bodies[m[1]] = m[3]
		switch m[2] {
		case "TerraformResource", "TerraformDataSource", "TerraformProvider":
			s.root = m[1]
			if _, attributes, ok := strings.Cut(m[3], "synthesizeHclAttributes()"); ok {
				note(m[1], attributes)
				s.mappers[m[1]] = attributes
			}
		}
	}
	for _, m := range mapper.FindAllStringSubmatch(text, -1) {
		note(title(m[1])+"OutputReference", m[2])
		s.mappers[title(m[1])] = m[2]
	}
	for _, m := range declared.FindAllStringSubmatch(text, -1) {
		s.interfaces[m[1]] = m[2]
	}
	return s
}

func (s classes) block(name string) block {
	b := block{Attributes: map[string]attribute{}, Blocks: map[string]nested{}}
	body := s.bodies[name]
	at := property.FindAllStringSubmatchIndex(body, -1)
	for i, m := range at {
		end := len(body)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		field, text := body[m[2]:m[3]], body[m[1]:end]
		a := attribute{Computed: body[m[4]:m[5]] == "true", Optional: body[m[6]:m[7]] == "true", Required: body[m[8]:m[9]] == "true"}
		if p := part.FindStringSubmatch(text); p != nil {
			mode := map[string]string{"List": "list", "Map": "map", "OutputReference": "single"}[p[2]]
			if p[4] == "true" {
				mode = "set"
			}
			inner := s.block(p[1] + "OutputReference")
			switch isBlock, settable := s.blocks[name+"/"+field]; {
			case !settable: // only read: a list of objects
				a.Type = []any{mode, object(inner)}
				if mode == "single" {
					a.Type = []any{"list", object(inner)}
				}
			case isBlock:
				if mode == "single" && field != "timeouts" {
					mode = "list" // at most one
				}
				b.Blocks[field] = nested{Mode: mode, Required: a.Required, Block: inner}
				continue
			default:
				a.Mode, a.Object = mode, inner
			}
		} else {
			a.Type = typeOf(text)
		}
		b.Attributes[field] = a
	}
	return b
}

// input is a block or a nested object of the provider itself, which has no class:
// only a function that writes it, and an interface.
func (s classes) input(name string) block {
	b := block{Attributes: map[string]attribute{}, Blocks: map[string]nested{}}
	for _, m := range hcl.FindAllStringSubmatch(s.mappers[name], -1) {
		field, value := m[1], m[2]
		required := false
		if camel := camelCase.FindStringSubmatch(value); camel != nil {
			required = strings.Contains(s.interfaces[name], "readonly "+camel[1]+": ")
		}
		a := attribute{Required: required, Optional: !required}
		if writer := writers.FindStringSubmatch(value); writer != nil && s.mappers[title(writer[1])] != "" {
			mode := map[string]string{"list": "list", "set": "set", "struct": "single"}[m[4]]
			if s.blocks[name+"/"+field] || s.blocks[name+"OutputReference/"+field] {
				b.Blocks[field] = nested{Mode: mode, Required: required, Block: s.input(title(writer[1]))}
				continue
			}
			a.Mode, a.Object = mode, s.input(title(writer[1]))
		} else {
			a.Type = written(value)
		}
		b.Attributes[field] = a
	}
	return b
}

func written(value string) any {
	for _, w := range []struct {
		writer string
		is     any
	}{
		{"listMapperHcl(cdktf.stringTo", []any{"list", "string"}}, {"listMapperHcl(cdktf.numberTo", []any{"list", "number"}},
		{"hashMapperHcl(cdktf.stringTo", []any{"map", "string"}}, {"stringTo", "string"}, {"numberTo", "number"}, {"booleanTo", "bool"},
	} {
		if strings.Contains(value, w.writer) {
			return w.is
		}
	}
	return "dynamic"
}

func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

func object(b block) []any {
	fields := map[string]any{}
	for n, a := range b.Attributes {
		fields[n] = a.Type
		if a.Type == nil {
			fields[n] = "dynamic"
		}
	}
	return []any{"object", fields}
}

var primitives = map[string]any{
	"String": "string", "Number": "number", "Boolean": "bool",
	"List": []any{"list", "string"}, "NumberList": []any{"list", "number"},
	"StringMap": []any{"map", "string"}, "NumberMap": []any{"map", "number"}, "BooleanMap": []any{"map", "bool"}, "AnyMap": []any{"map", "string"},
}

func typeOf(text string) any {
	g := getter.FindStringSubmatch(text)
	if c := collected.FindStringSubmatch(text); c != nil {
		g = []string{"", "", c[1]}
	}
	if g != nil {
		t, ok := primitives[g[2]]
		if !ok {
			return "dynamic"
		}
		if list, ok := t.([]any); ok && g[1] != "" {
			return []any{"set", list[1]}
		}
		return t
	}
	return "dynamic"
}
