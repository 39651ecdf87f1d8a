package console

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// masked stands for a secret.
const masked = "[masked]"

// A masker removes secrets from the text that is written to disk:
//
//   - the secrets of the configuration, wherever they are
//   - the values in a provider's answer
//   - the tokens and codes of OAuth
//   - each value whose name is that of a password
type masker struct {
	keep    bool     // the person asked to keep secrets
	secrets []string // of the configuration
}

func newMasker(keep bool, config Config) masker {
	all := []string{config.Credentials.SigningSecret, config.Credentials.BearerToken, config.ClientSecret, config.WebhookSecret}
	return masker{keep, slices.DeleteFunc(all, func(s string) bool { return s == "" })}
}

func (m masker) secret(text string) string {
	if m.keep {
		return text
	}
	return masked
}

// text removes the configuration's secrets from a text.
func (m masker) text(text string) string {
	if m.keep {
		return text
	}
	for _, secret := range m.secrets {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return text
}

// wire returns an exchange as it is written to disk.
func (m masker) wire(w *wire) *savedWire {
	saved := &savedWire{
		Method: w.method, URL: w.url, Target: w.target, Request: w.request, RequestBody: w.requestBody, Base: w.base,
		Status: w.status, StatusText: w.statusText, Answer: w.answer, AnswerBody: w.answerBody,
		Duration: w.duration, Incoming: w.incoming, Masked: w.masked,
	}
	if m.keep {
		return saved
	}
	saved.URL, saved.Target = m.query(w.url), m.query(w.target)
	saved.Request, saved.Answer = m.headers(w.request), m.headers(w.answer)
	saved.RequestBody = m.body(w.requestBody)
	saved.AnswerBody = m.answer(w)
	if w.base == string(w.requestBody) {
		saved.Base = string(saved.RequestBody)
	} else {
		saved.Base = m.query(m.lines(w.base))
	}
	saved.Masked = w.masked || saved.URL != w.url || !slices.Equal(saved.Request, w.request) || !bytes.Equal(saved.RequestBody, w.requestBody)
	return saved
}

var (
	secretName = regexp.MustCompile(`(?i)pass|secret|token|credential|private_?key|access_?key|^code$|code_verifier|^authorization$|cookie`)
	secretLine = regexp.MustCompile(`(?im)^"?(authorization|cookie|set-cookie)"?: .*$`)
)

func (m masker) headers(lines []headerLine) []headerLine {
	shown := make([]headerLine, len(lines))
	for i, line := range lines {
		shown[i] = headerLine{line.Name, m.query(line.Value)}
		if secretName.MatchString(line.Name) {
			shown[i].Value = masked
		}
	}
	return shown
}

// lines removes the header fields with a token from a signature base.
func (m masker) lines(base string) string {
	return secretLine.ReplaceAllStringFunc(base, func(line string) string {
		name, _, _ := strings.Cut(line, ": ")
		return name + ": " + masked
	})
}

var parameter = regexp.MustCompile(`([?&]|^)([A-Za-z_]+)=([^&\s]*)`)

// query removes codes and tokens from a URL, a query or a form.
func (m masker) query(text string) string {
	return parameter.ReplaceAllStringFunc(m.text(text), func(match string) string {
		parts := parameter.FindStringSubmatch(match)
		if secretName.MatchString(parts[2]) {
			return parts[1] + parts[2] + "=" + url.QueryEscape(masked)
		}
		return match
	})
}

// body removes the values with the name of a secret from a body.
func (m masker) body(body []byte) []byte {
	if m.keep || len(body) == 0 {
		return body
	}
	if !json.Valid(body) {
		return []byte(m.query(string(body)))
	}
	return m.json(body, func(name string) bool { return secretName.MatchString(name) })
}

// answer is like body, for an answer. All values in "config", all values in an
// answer of generation 1, and all unreadable text are secret.
func (m masker) answer(w *wire) []byte {
	body := w.answerBody
	if len(body) == 0 || w.incoming && w.status >= 300 {
		return m.body(body)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		if w.status/100 == 2 && !w.incoming {
			return []byte(masked)
		}
		return []byte(m.text(string(body)))
	}
	_, id := members["id"]
	_, config := members["config"]
	_, status := members["status"]
	flat := !id && !config && !status && !w.incoming && w.status/100 == 2
	return m.json(body, func(name string) bool {
		return flat || name == "config" || name == "environment" || secretName.MatchString(name)
	})
}

// json replaces the values of members with the name of a secret, including
// everything in them.
func (m masker) json(body []byte, isSecret func(name string) bool) []byte {
	var out bytes.Buffer
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	enc := jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	changed, inside := false, 0 // inside is the depth at which a secret's value began
	for {
		kind := dec.PeekKind()
		name := lastName(enc)
		if kind == 0 {
			break
		}
		atName := isNamePosition(enc)
		if inside == 0 && !atName && name != "" && isSecret(name) && (kind == '{' || kind == '[') {
			inside = enc.StackDepth() + 1
		}
		token, err := dec.ReadToken()
		if err != nil {
			return []byte(masked)
		}
		if !atName && kind != '{' && kind != '[' && kind != '}' && kind != ']' && (inside > 0 || name != "" && isSecret(name)) {
			token, changed = jsontext.String(masked), true
		} else if kind == '"' {
			if text := m.text(token.String()); text != token.String() {
				token, changed = jsontext.String(text), true
			}
		}
		if err := enc.WriteToken(token.Clone()); err != nil {
			return []byte(masked)
		}
		if inside > 0 && enc.StackDepth() < inside {
			inside = 0
		}
	}
	if !changed {
		return body
	}
	return bytes.TrimSpace(out.Bytes())
}

// isNamePosition reports whether the next token is the name of a member.
func isNamePosition(enc *jsontext.Encoder) bool {
	kind, length := enc.StackIndex(enc.StackDepth())
	return kind == '{' && length%2 == 0
}

// lastName returns the name of the member whose value comes next, or "".
func lastName(enc *jsontext.Encoder) string {
	if kind, length := enc.StackIndex(enc.StackDepth()); kind != '{' || length%2 == 0 {
		return ""
	}
	return enc.StackPointer().LastToken()
}
