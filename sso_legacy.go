package flyext

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

type object struct {
	b   eventBody
	err error
}
type reader[T any] func(o *object, value jsontext.Value) (T, error)

func parseObject(body []byte) (*object, error) {
	o := &object{}
	return o, o.b.read(body)
}
func readText(_ *object, v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", errors.New("a string")
	}
	return textOf(v), nil
}
func unquote(v jsontext.Value) []byte { return []byte(textOf(v)) }
func optional[T any](o *object, read reader[T], names ...string) (opt Optional[T]) {
	for _, n := range names {
		v, ok := o.b.members[n]
		if !ok || v.Kind() == 'n' {
			continue
		}
		x, err := read(o, v)
		if err != nil && o.err == nil {
			o.err = invalidField(n, err.Error())
		}
		return OptionalOf(x)
	}
	return opt
}
func required(o *object, name string) string {
	t := optional(o, readText, name).Value
	if t == "" && o.err == nil {
		o.err = invalidField(name, mustNotBeEmpty)
	}
	return t
}
