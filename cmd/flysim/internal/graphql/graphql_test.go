package graphql_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/graphql"
)

var schema = graphql.MustParse("test", `
type Query { animal(kind: String = "cat"): Animal required: Strict count: Int! list: [Animal!]! echo(n: Int!, tags: [String!]): JSON }
interface Animal { name: String! }
type Cat implements Animal { name: String! lives: Int! }
type Dog implements Animal { name: String! tricks: [String!] }
type Strict { never: String! fails: String! }
scalar JSON
`)

func animal(kind string) *graphql.Object {
	if kind == "dog" {
		return &graphql.Object{Type: "Dog", Fields: map[string]graphql.Resolver{"name": graphql.Value("Rex"), "tricks": graphql.Value([]any{"sit"})}}
	}
	return &graphql.Object{Type: "Cat", Fields: map[string]graphql.Resolver{"name": graphql.Value("Tom"), "lives": graphql.Value(9)}}
}

func root(string) *graphql.Object {
	return &graphql.Object{Type: "Query", Fields: map[string]graphql.Resolver{
		"animal": func(args map[string]any) (any, error) { return animal(args["kind"].(string)), nil },
		"list":   graphql.Value([]any{animal("cat"), animal("dog")}),
		"count":  func(map[string]any) (any, error) { return nil, errors.New("cannot count") },
		"echo":   func(args map[string]any) (any, error) { return args, nil },
		"required": graphql.Value(&graphql.Object{Type: "Strict", Fields: map[string]graphql.Resolver{
			"fails": func(map[string]any) (any, error) { return nil, errors.New("broken") },
		}}),
	}}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, query, operation string
		variables              map[string]any
		want                   string
	}{
		{"order and aliases", `{ b: animal { name } a: animal { name } }`, "", nil, `{"data":{"b":{"name":"Tom"},"a":{"name":"Tom"}}}`},
		{"merged selections", `{ animal { name } animal { __typename } }`, "", nil, `{"data":{"animal":{"name":"Tom","__typename":"Cat"}}}`},
		{"fragments by type", `{ list { name ...C ... on Dog { tricks } } } fragment C on Cat { lives }`, "", nil, `{"data":{"list":[{"name":"Tom","lives":9},{"name":"Rex","tricks":["sit"]}]}}`},
		{"inline fragment without a type", `{ ... { animal { name } } }`, "", nil, `{"data":{"animal":{"name":"Tom"}}}`},
		{"skip and include", `query Q($no: Boolean!) { a: animal @include(if: $no) { name } b: animal @skip(if: $no) { name } }`, "Q", map[string]any{"no": false}, `{"data":{"b":{"name":"Tom"}}}`},
		{"variables and defaults", `query Q($k: String = "dog") { animal(kind: $k) { name } }`, "Q", nil, `{"data":{"animal":{"name":"Rex"}}}`},
		{"one of several operations", `query A { animal { name } } query B { list { name } }`, "B", nil, `{"data":{"list":[{"name":"Tom"},{"name":"Rex"}]}}`},
		{"an error that reaches the root", "{\n  count\n}", "", nil, `{"data":null,"errors":[{"message":"cannot count","path":["count"],"locations":[{"line":2,"column":3}]}]}`},
		{"an error below a nullable field", `{ required { fails } animal { name } }`, "", nil, `{"data":{"required":null,"animal":{"name":"Tom"}},"errors":[{"message":"broken","path":["required","fails"],"locations":[{"line":1,"column":14}]}]}`},
		{"a null in a non-null field", `{ required { never } }`, "", nil, `{"data":{"required":null},"errors":[{"message":"the field must not be null","path":["required","never"],"locations":[{"line":1,"column":14}]}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(schema.Execute(graphql.Request{Query: test.query, OperationName: test.operation, Variables: test.variables}, root))
			if err != nil || string(got) != test.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, test.want)
			}
		})
	}
}
