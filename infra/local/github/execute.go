package github

import (
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// failure is one entry of an answer's errors. As a value it makes a field null.
type failure struct {
	Type       string         `json:"type,omitempty"`
	Code       string         `json:"code,omitempty"`
	Path       []any          `json:"path,omitempty"`
	Extensions map[string]any `json:"extensions,omitempty"`
	Locations  []location     `json:"locations,omitempty"`
	Message    string         `json:"message"`
}

type location struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func (f *failure) Error() string { return f.Message }

// object is a value of one of the schema's types, whose fields are worked out
// when they are asked for. A value is nil, a scalar, an object, a list, or a
// *failure. Any other error says that the emulator cannot answer.
type object interface {
	kind() string // the name of its type
	get(x *execution, f *ast.Field, args map[string]any) (any, error)
}

// question is a query that GitHub's schema allows.
type question struct {
	schema    *ast.Schema
	set       ast.SelectionSet
	variables map[string]any
}

// parse reads a query and checks it, and its variables, against the schema.
func parse(schema *ast.Schema, query string, variables map[string]any) (*question, []*failure) {
	doc, errs := gqlparser.LoadQueryWithRules(schema, query, rules.NewDefaultRules())
	if len(errs) > 0 {
		failures := make([]*failure, len(errs))
		for i, e := range errs {
			failures[i] = &failure{Message: e.Message, Extensions: map[string]any{"code": invalidQuery}}
			for _, l := range e.Locations {
				failures[i].Locations = append(failures[i].Locations, location{l.Line, l.Column})
			}
		}
		return nil, failures
	}
	if len(doc.Operations) != 1 || doc.Operations[0].Operation != ast.Query {
		return nil, []*failure{{Message: "one query is wanted", Extensions: map[string]any{"code": invalidQuery}}}
	}
	op := doc.Operations[0]
	values, err := validator.VariableValues(schema, op, variables)
	if err != nil {
		return nil, []*failure{{Message: err.Error(), Extensions: map[string]any{"code": invalidQuery}}}
	}
	return &question{schema: schema, set: op.SelectionSet, variables: values}, nil
}

const invalidQuery = "invalidQuery"

// first is the name of the query's first field.
func (q *question) first() string {
	for _, g := range q.collect("", q.set) {
		return g.fields[0].Name
	}
	return ""
}

// group is the fields of a query that answer to one name.
type group struct {
	alias  string
	fields []*ast.Field
}

// collect lists what is asked of an object of one type; of any, if kind is "".
func (q *question) collect(kind string, sets ...ast.SelectionSet) []*group {
	var groups []*group
	byAlias := map[string]*group{}
	var walk func(set ast.SelectionSet)
	walk = func(set ast.SelectionSet) {
		for _, selection := range set {
			switch s := selection.(type) {
			case *ast.Field:
				if q.skipped(s.Directives) {
					continue
				}
				if g := byAlias[s.Alias]; g != nil {
					g.fields = append(g.fields, s)
					continue
				}
				g := &group{alias: s.Alias, fields: []*ast.Field{s}}
				groups, byAlias[s.Alias] = append(groups, g), g
			case *ast.InlineFragment:
				if !q.skipped(s.Directives) && q.applies(s.TypeCondition, kind) {
					walk(s.SelectionSet)
				}
			case *ast.FragmentSpread:
				if !q.skipped(s.Directives) && q.applies(s.Definition.TypeCondition, kind) {
					walk(s.Definition.SelectionSet)
				}
			}
		}
	}
	for _, set := range sets {
		walk(set)
	}
	return groups
}

// skipped obeys @skip and @include.
func (q *question) skipped(directives ast.DirectiveList) bool {
	for _, d := range directives {
		condition, _ := d.ArgumentMap(q.variables)["if"].(bool)
		if d.Name == "skip" && condition || d.Name == "include" && !condition {
			return true
		}
	}
	return false
}

func (q *question) applies(condition, kind string) bool {
	if condition == "" || kind == "" || condition == kind {
		return true
	}
	def := q.schema.Types[condition]
	return def != nil && slices.ContainsFunc(q.schema.GetPossibleTypes(def), func(t *ast.Definition) bool { return t.Name == kind })
}

// execution answers one question, and only what it asks.
type execution struct {
	*question
	timing   Timing
	cost     effort // so far
	limit    int    // resolutions of objects before the resource limit; 0 for none
	resolved int    // so far
	failures []*failure
	fault    error // the emulator cannot answer
}

// run returns the data and the errors.
func (x *execution) run(root object) (any, []*failure, error) {
	data, _ := x.object(root, nil, x.set)
	return data, x.failures, x.fault
}

// object is false where a field that may not be null is, so that the object
// itself becomes null.
func (x *execution) object(o object, path []any, sets ...ast.SelectionSet) (any, bool) {
	if r, ok := o.(repositoryObject); ok {
		x.work(r.r.owner, x.timing.Repository)
	}
	out := map[string]any{}
	for _, g := range x.collect(o.kind(), sets...) {
		f := g.fields[0]
		at := append(slices.Clone(path), g.alias)
		if f.Name == "__typename" {
			out[g.alias] = o.kind()
			continue
		}
		v := x.resolve(o, f)
		sets := make([]ast.SelectionSet, len(g.fields))
		for i := range g.fields {
			sets[i] = g.fields[i].SelectionSet
		}
		value, ok := x.complete(f.Definition.Type, v, at, f, sets)
		if !ok {
			return nil, false
		}
		out[g.alias] = value
	}
	return out, true
}

func (x *execution) resolve(o object, f *ast.Field) any {
	if len(f.SelectionSet) > 0 && x.limit > 0 && o.kind() != "Query" {
		x.resolved++
		if x.resolved == x.limit {
			return starved()
		}
		if x.resolved > x.limit {
			return nil
		}
	}
	v, err := o.get(x, f, f.ArgumentMap(x.variables))
	if err != nil {
		if f, ok := err.(*failure); ok {
			return f
		}
		if x.fault == nil {
			x.fault = err
		}
		return nil
	}
	return v
}

func starved() *failure {
	return &failure{Type: "RESOURCE_LIMITS_EXCEEDED", Message: "Resource limits for this query exceeded."}
}

// complete turns a value into its form in the answer.
func (x *execution) complete(t *ast.Type, v any, path []any, f *ast.Field, sets []ast.SelectionSet) (any, bool) {
	switch value := v.(type) {
	case *failure:
		shown := *value
		shown.Path, shown.Locations = path, []location{{f.Position.Line, f.Position.Column}}
		x.failures = append(x.failures, &shown)
		return nil, !t.NonNull
	case nil:
		return nil, !t.NonNull
	case object:
		inner, ok := x.object(value, path, sets...)
		return inner, ok || !t.NonNull
	case []any:
		list := make([]any, len(value))
		for i, e := range value {
			var ok bool
			if list[i], ok = x.complete(t.Elem, e, append(slices.Clone(path), i), f, sets); !ok {
				return nil, !t.NonNull
			}
		}
		return list, true
	}
	return v, true
}

// unmodelled says that GitHub would answer and the emulator cannot.
func unmodelled(o object, f *ast.Field) error {
	return fmt.Errorf("the emulator does not model %s.%s", o.kind(), f.Name)
}
