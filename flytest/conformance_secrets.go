package flytest

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
)

// redact replaces the secrets in a text for the report.
func (r *conformanceRun) redact(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	byLength := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) } // a long secret can contain a short one
	for _, secret := range slices.SortedFunc(maps.Keys(r.secrets), byLength) {
		if r.secrets[secret] != public {
			text = r.spellings(secret).ReplaceAllLiteralString(text, "[redacted]")
		}
	}
	return text
}

// minSecret is the shortest text that counts as a secret. A shorter text can appear
// in an answer by chance.
const minSecret = 8

// The owner of a secret is the id of an extension or one of these.
const (
	shared = ""  // Fly.io and the provider
	public = "*" // the text is not secret after all
)

// addSecret records a secret, and the password in it if it is a URL. Only the answer
// to a provision request may hold a secret. A text that two extensions have in
// common, such as a host name, becomes public. The caller holds r.mu during a run.
func (r *conformanceRun) addSecret(text, owner string) {
	texts := []string{text}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		password, _ := u.User.Password()
		texts = append(texts, password)
	}
	for _, text := range texts {
		before, known := r.secrets[text]
		switch {
		case len(text) < minSecret || known && before == shared:
		case known && before != owner:
			r.secrets[text] = public
		default:
			r.secrets[text] = owner
		}
	}
}

// hasSecret reports whether a text holds a secret of the run, in any of its spellings.
// The caller holds r.mu.
func (r *conformanceRun) hasSecret(text string) bool {
	escaped := strings.ContainsAny(text, `\%&+`) // otherwise there is one spelling
	for secret, owner := range r.secrets {
		if owner != public && (strings.Contains(text, secret) || escaped && r.spellings(secret).MatchString(text)) {
			return true
		}
	}
	return false
}

// maxSpelled is the size in bytes up to which a secret is found if it is escaped. It
// bounds the pattern.
const maxSpelled = 16 << 10

// spellings returns a pattern of the texts that stand for a secret: the secret itself,
// and the secret with some characters escaped as in JSON, in a URL or in HTML. JSON may
// be nested in JSON, with more backslashes at each level. The caller holds r.mu.
func (r *conformanceRun) spellings(secret string) *regexp.Regexp {
	if known := r.patterns[secret]; known != nil {
		return known
	}
	text := regexp.QuoteMeta(strings.ToValidUTF8(secret, "\uFFFD"))
	if len(secret) <= maxSpelled {
		var b strings.Builder
		for _, c := range secret {
			b.WriteString(spelling(c))
		}
		text = b.String()
	}
	pattern := regexp.MustCompile(text)
	r.patterns[secret] = pattern
	return pattern
}

// shortEscapes are the characters with an escape of two characters in JSON.
var shortEscapes = map[rune]string{'\n': "n", '\r': "r", '\t': "t", '\b': "b", '\f': "f"}

// entities are the characters with a named entity in HTML.
var entities = map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos"}

// spelling returns a pattern of the texts that stand for a character. No encoder
// escapes the letters and digits of ASCII.
func spelling(c rune) string {
	if '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
		return string(c)
	}
	ways := []string{`\\*` + regexp.QuoteMeta(string(c)), unicodeEscape(c), percentEscape(c), fmt.Sprintf(`&#(?:0*%d|[xX]0*(?i:%x));`, c, c)}
	if short := shortEscapes[c]; short != "" {
		ways = append(ways, `\\+`+short)
	}
	if name := entities[c]; name != "" {
		ways = append(ways, "&"+name+";")
	}
	if c == ' ' {
		ways = append(ways, `\+`) // in the query of a URL
	}
	return "(?:" + strings.Join(ways, "|") + ")"
}

// unicodeEscape returns a pattern of a character as JSON's \u and four digits, twice for
// a character outside the basic plane.
func unicodeEscape(c rune) string {
	pattern := ""
	for _, unit := range utf16.Encode([]rune{c}) {
		pattern += fmt.Sprintf(`\\+u(?i:%04x)`, unit)
	}
	return pattern
}

// percentEscape returns a pattern of the bytes of a character as in a URL.
func percentEscape(c rune) string {
	pattern := ""
	for _, octet := range []byte(string(c)) {
		pattern += fmt.Sprintf(`%%(?i:%02x)`, octet)
	}
	return pattern
}
