package githubtest

import (
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// failure is one entry of an answer's errors. As a value it makes a field null.
type failure struct {
	Type       string            `json:"type,omitempty"`
	Path       []any             `json:"path,omitempty"`
	Extensions map[string]string `json:"extensions,omitempty"`
	Message    string            `json:"message"`
}

func (f *failure) Error() string { return f.Message }

// execution answers one query: only what was asked, and a field that the schema
// does not have refuses the whole of it.
type execution struct {
	variables map[string]any
	failures  []*failure
	invalid   []*failure
}

// execute returns the data, nil if the query is invalid, and the errors.
func execute(query string, variables map[string]any, root object) (any, []*failure) {
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return nil, []*failure{{Message: err.Error(), Extensions: map[string]string{"code": "parseError"}}}
	}
	if len(doc.Operations) != 1 || doc.Operations[0].Operation != ast.Query {
		return nil, []*failure{{Message: "one query is wanted"}}
	}
	x := &execution{variables: variables}
	data := x.object(doc.Operations[0].SelectionSet, root, nil)
	if len(x.invalid) > 0 {
		return nil, x.invalid
	}
	return data, x.failures
}

func (x *execution) object(set ast.SelectionSet, o object, path []any) any {
	out := map[string]any{}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			out[s.Alias] = x.field(s, o, append(slices.Clone(path), s.Alias))
		case *ast.InlineFragment:
			if s.TypeCondition == "" || s.TypeCondition == o["__typename"] {
				inner, _ := x.object(s.SelectionSet, o, path).(map[string]any)
				for name, v := range inner {
					out[name] = v
				}
			}
		default:
			x.invalid = append(x.invalid, &failure{Message: fmt.Sprintf("%T is not provided for", s)})
		}
	}
	return out
}

func (x *execution) field(f *ast.Field, o object, path []any) any {
	v, ok := o[f.Name]
	if !ok {
		x.invalid = append(x.invalid, &failure{
			Path: path, Message: fmt.Sprintf("Field '%s' doesn't exist", f.Name),
			Extensions: map[string]string{"code": "undefinedField"},
		})
		return nil
	}
	if resolve, ok := v.(field); ok {
		args := map[string]any{}
		for _, a := range f.Arguments {
			value, err := a.Value.Value(x.variables)
			if err != nil {
				x.invalid = append(x.invalid, &failure{Path: path, Message: err.Error(), Extensions: map[string]string{"code": "argumentLiteralsIncompatible"}})
				return nil
			}
			args[a.Name] = value
		}
		var err error
		if v, err = resolve(args); err != nil {
			v = err
		}
	}
	return x.value(f.SelectionSet, v, path)
}

func (x *execution) value(set ast.SelectionSet, v any, path []any) any {
	switch v := v.(type) {
	case object:
		return x.object(set, v, path)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = x.value(set, e, append(slices.Clone(path), i))
		}
		return list
	case *failure:
		f := *v
		f.Path = path
		x.failures = append(x.failures, &f)
		return nil
	}
	return v
}
