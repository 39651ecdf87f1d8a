// Package graphql executes GraphQL operations on objects in memory (GraphQL
// specification, October 2021, section 6). It uses github.com/vektah/gqlparser for
// parsing and validation.
package graphql

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

// The limits of one operation.
const (
	maxTokens = 5000
	maxFields = 20_000 // executed fields
)

// A Request is the body of an HTTP request.
type Request struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

// A Response is the body of an HTTP response.
type Response struct {
	Data   any           `json:"data"`
	Errors gqlerror.List `json:"errors,omitempty"`
}

// An Object is a value of an object type. A missing field is null.
type Object struct {
	Type   string
	Fields map[string]Resolver
}

// A Resolver returns the value of a field. args includes the defaults of arguments
// that the request omits. The value is nil, an *Object, a slice of values ([]any), or
// a value that encoding/json encodes as the field's scalar.
type Resolver func(args map[string]any) (any, error)

// Value returns a resolver that returns a fixed value.
func Value(value any) Resolver { return func(map[string]any) (any, error) { return value, nil } }

// A Schema validates and executes requests. It is safe for concurrent use.
type Schema struct{ schema *ast.Schema }

// MustParse parses a schema in the schema definition language. It panics if the
// schema is invalid. name is for error messages.
func MustParse(name, text string) *Schema {
	return &Schema{gqlparser.MustLoadSchema(&ast.Source{Name: name, Input: text})}
}

// Execute executes a request. root returns the root object of an operation, which is
// "query", "mutation" or "subscription".
func (s *Schema) Execute(r Request, root func(operation string) *Object) Response {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: r.Query}, maxTokens)
	if err != nil {
		return Response{Errors: gqlerror.List{gqlerror.WrapIfUnwrapped(err)}}
	}
	if errs := validator.ValidateWithRules(s.schema, doc, nil); len(errs) > 0 {
		return Response{Errors: errs}
	}
	op, err := operationOf(doc, r.OperationName)
	if err != nil {
		return Response{Errors: gqlerror.List{gqlerror.WrapIfUnwrapped(err)}}
	}
	variables, err := validator.VariableValues(s.schema, op, r.Variables)
	if err != nil {
		return Response{Errors: gqlerror.List{gqlerror.WrapIfUnwrapped(err)}}
	}
	e := &execution{schema: s.schema, variables: variables}
	data, ok := e.object(root(string(op.Operation)), op.SelectionSet, nil)
	if !ok {
		return Response{Errors: e.errors}
	}
	return Response{Data: data, Errors: e.errors}
}

func operationOf(doc *ast.QueryDocument, name string) (*ast.OperationDefinition, error) {
	op := doc.Operations.ForName(name)
	if op == nil || name == "" && len(doc.Operations) != 1 {
		return nil, gqlerror.Errorf("there is no operation %q", name)
	}
	return op, nil
}

// An execution is the state of one running operation.
type execution struct {
	schema    *ast.Schema
	variables map[string]any
	errors    gqlerror.List
	fields    int
}

// fail adds an error with its location and path (section 7.1.2).
func (e *execution) fail(field *ast.Field, path ast.Path, err error) {
	failed := &gqlerror.Error{Message: err.Error(), Path: append(ast.Path(nil), path...)}
	if field.Position != nil {
		failed.Locations = []gqlerror.Location{{Line: field.Position.Line, Column: field.Position.Column}}
	}
	e.errors = append(e.errors, failed)
}

// object executes selections. ok is false if a non-null field is null.
func (e *execution) object(o *Object, selections ast.SelectionSet, path ast.Path) (any, bool) {
	data := &ordered{}
	for _, group := range e.collect(o.Type, selections, nil) {
		field := group[0]
		at := append(append(ast.Path(nil), path...), ast.PathName(field.Alias))
		if field.Name == "__typename" {
			data.set(field.Alias, o.Type)
			continue
		}
		if e.fields++; e.fields > maxFields {
			e.fail(field, at, fmt.Errorf("the operation has more than %d fields", maxFields))
			return nil, false
		}
		var value any
		var err error
		if resolve := o.Fields[field.Name]; resolve != nil {
			value, err = resolve(field.ArgumentMap(e.variables))
		}
		if err != nil {
			e.fail(field, at, err)
			value = nil
		}
		completed, ok := e.complete(group, field.Definition.Type, value, at, err != nil)
		if !ok {
			return nil, false
		}
		data.set(field.Alias, completed)
	}
	return data, true
}

// complete converts a value to its form in the answer (section 6.4.3).
func (e *execution) complete(group []*ast.Field, t *ast.Type, value any, path ast.Path, failed bool) (any, bool) {
	if value == nil {
		if t.NonNull && !failed {
			e.fail(group[0], path, fmt.Errorf("the field must not be null"))
		}
		return nil, !t.NonNull
	}
	ok := true
	switch v := value.(type) {
	case *Object:
		var selections ast.SelectionSet
		for _, field := range group {
			selections = append(selections, field.SelectionSet...)
		}
		value, ok = e.object(v, selections, path)
	case []any:
		if t.Elem != nil {
			value, ok = e.list(group, t.Elem, v, path)
		}
	}
	if !ok {
		return nil, !t.NonNull
	}
	return value, true
}

func (e *execution) list(group []*ast.Field, t *ast.Type, values []any, path ast.Path) (any, bool) {
	list := make([]any, len(values))
	for i, value := range values {
		completed, ok := e.complete(group, t, value, append(append(ast.Path(nil), path...), ast.PathIndex(i)), false)
		if !ok {
			return nil, false
		}
		list[i] = completed
	}
	return list, true
}

// collect groups the fields of selections by their alias, fragments included
// (section 6.3.2).
func (e *execution) collect(typeName string, selections ast.SelectionSet, groups [][]*ast.Field) [][]*ast.Field {
	for _, selection := range selections {
		switch s := selection.(type) {
		case *ast.Field:
			if e.included(s.Directives) {
				groups = add(groups, s)
			}
		case *ast.InlineFragment:
			if e.included(s.Directives) && e.applies(s.TypeCondition, typeName) {
				groups = e.collect(typeName, s.SelectionSet, groups)
			}
		case *ast.FragmentSpread:
			if e.included(s.Directives) && e.applies(s.Definition.TypeCondition, typeName) {
				groups = e.collect(typeName, s.Definition.SelectionSet, groups)
			}
		}
	}
	return groups
}

func add(groups [][]*ast.Field, field *ast.Field) [][]*ast.Field {
	for i, group := range groups {
		if group[0].Alias == field.Alias {
			groups[i] = append(group, field)
			return groups
		}
	}
	return append(groups, []*ast.Field{field})
}

// included evaluates @skip and @include.
func (e *execution) included(directives ast.DirectiveList) bool {
	if d := directives.ForName("skip"); d != nil && d.ArgumentMap(e.variables)["if"] == true {
		return false
	}
	d := directives.ForName("include")
	return d == nil || d.ArgumentMap(e.variables)["if"] == true
}

func (e *execution) applies(condition, typeName string) bool {
	if condition == "" || condition == typeName {
		return true
	}
	for _, possible := range e.schema.PossibleTypes[condition] {
		if possible.Name == typeName {
			return true
		}
	}
	return false
}

// ordered is a JSON object that keeps its members in the order of the selections.
type ordered struct {
	names  []string
	values []any
}

func (o *ordered) set(name string, value any) {
	o.names, o.values = append(o.names, name), append(o.values, value)
}

// MarshalJSON implements [json.Marshaler].
func (o *ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(o.values[i])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
