package main

import (
	"fmt"
	"io"
	"strings"
)

// Some editors write byteOrderMark at the start of a file.
const byteOrderMark = "\ufeff"

// parseEnvFile reads a file of KEY=VALUE lines. It removes the quotes around a value
// and expands no variables in it. In an unquoted value, a # after a space begins a
// comment. An error contains the number of the line and not its text, which may be a
// secret.
func parseEnvFile(in io.Reader) (map[string]string, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(text), byteOrderMark)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if ok && isEnvName(name) {
			value, ok = unquote(strings.TrimSpace(value))
		}
		if !ok || !isEnvName(name) {
			return nil, fmt.Errorf("line %d must be KEY=VALUE", number)
		}
		values[name] = value
	}
	return values, nil
}

// unquote returns the text of a value. ok is false if the closing quote is missing.
func unquote(value string) (text string, ok bool) {
	if value == "" || value[0] != '\'' && value[0] != '"' {
		value, _, _ = strings.Cut(value, " #")
		return strings.TrimSpace(value), true
	}
	quote := value[0]
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		c := value[i]
		switch {
		case c == quote:
			rest := strings.TrimSpace(value[i+1:])
			return b.String(), rest == "" || strings.HasPrefix(rest, "#")
		case c == '\\' && quote == '"' && i+1 < len(value) && strings.IndexByte("\\\"$`", value[i+1]) >= 0:
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
