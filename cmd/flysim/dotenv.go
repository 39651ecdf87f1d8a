package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flyext/flyext"
)

// dotenv returns secrets as lines that a POSIX shell can source, and that most
// readers of .env files read alike. They have passed checkEnv.
func dotenv(secrets flyext.Secrets) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		b.WriteString(name + "=" + shellQuote(secrets[name]) + "\n")
	}
	return b.String()
}

// inDoubleQuotes escapes what is not itself there (POSIX.1-2017, Shell Command
// Language, section 2.2.3).
var inDoubleQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

// shellQuote quotes a text for a shell. A single quote in it is the one thing
// that cannot be in single quotes.
func shellQuote(text string) string {
	if !strings.Contains(text, "'") {
		return "'" + text + "'"
	}
	return `"` + inDoubleQuotes.Replace(text) + `"`
}

// isEnvName says whether a name can be an environment variable's (POSIX.1-2017,
// section 8.1).
func isEnvName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func quoted(text string) string { return strconv.QuoteToASCII(text) }
