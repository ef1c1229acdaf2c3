package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/field"
)

//go:embed reference.html
var reference string

// reference.html is filled with these.
type (
	described struct {
		Info   *huma.Info
		Tags   []tagged
		Fields []field.Definition
	}
	tagged struct {
		Name       string
		Operations []*huma.Operation
	}
)

// referencePage describes the API for people. It asks for nothing from elsewhere.
func referencePage(of *huma.OpenAPI) ([]byte, error) {
	d := described{Info: of.Info, Fields: hot.Definitions()}
	for _, path := range slices.Sorted(maps.Keys(of.Paths)) {
		op := of.Paths[path].Get
		if op == nil {
			continue
		}
		i := slices.IndexFunc(d.Tags, func(t tagged) bool { return t.Name == op.Tags[0] })
		if i < 0 {
			i = len(d.Tags)
			d.Tags = append(d.Tags, tagged{Name: op.Tags[0]})
		}
		d.Tags[i].Operations = append(d.Tags[i].Operations, op)
	}
	page, err := template.New("reference").Funcs(template.FuncMap{"values": values}).Parse(reference)
	if err != nil {
		return nil, fmt.Errorf("read the reference page: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("write the reference page: %w", err)
	}
	return b.Bytes(), nil
}

// values says what a parameter may be, in a few words.
func values(s *huma.Schema) string {
	if s.Items != nil {
		return "several: " + values(s.Items)
	}
	if len(s.Enum) > 8 {
		return "a field, below"
	}
	var out []string
	for _, v := range s.Enum {
		out = append(out, fmt.Sprint(v))
	}
	if len(out) == 0 {
		out = append(out, strings.TrimSpace(s.Type+" "+s.Format))
	}
	text := strings.Join(out, ", ")
	if s.Minimum != nil && s.Maximum != nil {
		text += fmt.Sprintf(", %g to %g", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		text += fmt.Sprintf("; %v unless given", s.Default)
	}
	return text
}
