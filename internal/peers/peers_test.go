package peers_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	authority = "logjam.org"
	baseURL   = "https://" + authority + "/flyio"
)

// key is the key of flytest and the peers.
var key = flyext.Key{ID: flytest.DefaultKeyID, Secret: "a signing secret of thirty-eight bytes"}

var credentials = flytest.Credentials{SigningSecret: key.Secret, BearerToken: "logjam-bearer-token"}

// A peer is a verifier of another project.
type peer struct {
	name string // the library and its version
	// verify returns a verdict for each message.
	verify func(t *testing.T, messages []message) []verdict
	// digest is the field that the library itself compares with the body. "" means
	// that the service must do that.
	digest string
	// decodesPath reports whether the library decodes the path. It then refuses
	// genuine requests whose path has percent-encoding.
	decodesPath bool
	forms       []form
}

// A form is a variant of flytest's signatures.
type form struct {
	name   string
	signer flytest.Signer
	// covers lists what the signature protects in addition to method, path and
	// query.
	covers []string
	// refused is the reason why the peer refuses this form, or "".
	refused string
}

const (
	host   = "host"
	body   = "body"
	bearer = "bearer"
)

// A message is a request in wire format.
type message struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"` // of the request line
	URL     string      `json:"url"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
	raw     []byte
}

type verdict struct {
	OK  bool   `json:"ok"`
	Why string `json:"why"` // the error of a refusal
}

// requests are Fly.io's requests to a provider.
var requests = []struct {
	name, method, path, body string
}{
	{"provision", http.MethodPost, "/extensions", `{"name":"test","organization":{"id":"O1"}}`},
	{"update", http.MethodPatch, "/extensions/test", `{"name":"other"}`},
	{"update of an escaped id", http.MethodPatch, "/extensions/a%2Fb", `{"name":"other"}`},
	{"fetch", http.MethodGet, "/extensions/test?timestamp=1685641159&nonce=e3f7b4c8", ""},
	{"deprovision", http.MethodDelete, "/extensions/test", ""},
}

// tampered are modifications of a genuine request.
var tampered = []struct {
	name  string
	needs string // what the signature must cover in addition to the request line
	do    func(r *http.Request) bool
}{
	{"method", "", func(r *http.Request) bool {
		r.Method = map[string]string{"POST": "PUT", "PATCH": "POST", "GET": "HEAD", "DELETE": "GET"}[r.Method]
		return true
	}},
	{"path", "", func(r *http.Request) bool { r.URL.Path += "2"; r.URL.RawPath = ""; return true }},
	{"query", "", func(r *http.Request) bool {
		had := r.URL.RawQuery != ""
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "1685641159", "1685641160", 1)
		return had
	}},
	{"query added", "", func(r *http.Request) bool { r.URL.RawQuery += "&plan=free"; return true }},
	{"host", host, func(r *http.Request) bool { r.Host = "other.example.com"; return true }},
	{"bearer token", bearer, func(r *http.Request) bool { r.Header.Set("Authorization", "Bearer other"); return true }},
	{"body", body, func(r *http.Request) bool {
		changed, ok := changedBody(r)
		flytest.SetBody(r, changed)
		return ok
	}},
	// An attacker who changes the body can also compute its digest.
	{"body and digest", body, func(r *http.Request) bool {
		changed, ok := changedBody(r)
		flytest.SetBody(r, changed)
		sum := sha256.Sum256(changed)
		text := base64.StdEncoding.EncodeToString(sum[:])
		for name, value := range map[string]string{"Digest": "SHA-256=" + text, "Content-Digest": "sha-256=:" + text + ":"} {
			if r.Header.Get(name) != "" {
				r.Header.Set(name, value)
			}
		}
		return ok
	}},
	{"signature", "", func(r *http.Request) bool {
		for _, name := range []string{"Signature", "Authorization"} {
			if value := r.Header.Get(name); value != "" {
				r.Header.Set(name, flipMAC(value))
			}
		}
		return true
	}},
}

// changedBody returns a different body of the same length.
func changedBody(r *http.Request) ([]byte, bool) {
	content, _ := io.ReadAll(r.Body)
	return bytes.Replace(content, []byte("name"), []byte("mane"), 1), len(content) > 0
}

// flipMAC changes the first character of the MAC in the value of a field.
func flipMAC(value string) string {
	return regexp.MustCompile(`(signature="|sig1=:).`).ReplaceAllStringFunc(value, func(found string) string {
		last := len(found) - 1
		if found[last] == 'A' {
			return found[:last] + "B"
		}
		return found[:last] + "A"
	})
}

// test checks the peer's verdicts on genuine and modified requests in each form.
func (p peer) test(t *testing.T) {
	t.Run(p.name, func(t *testing.T) {
		t.Parallel()
		for _, f := range p.forms {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				p.testForm(t, f)
			})
		}
	})
}

func (p peer) testForm(t *testing.T, f form) {
	var names []string
	var messages []message
	var want []bool
	for _, q := range requests {
		sign := func() *http.Request {
			fly := &flytest.Platform{BaseURL: baseURL, Signer: f.signer}
			r, err := fly.NewRequest(t.Context(), q.method, q.path, []byte(q.body))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		genuine := sign()
		if f.refused != "" && genuine.URL.RawPath != "" {
			continue // the same path unescaped is tested
		}
		names = append(names, q.name)
		messages = append(messages, received(t, genuine))
		want = append(want, f.refused == "" && !(p.decodesPath && strings.Contains(q.path, "%")))
		for _, attack := range tampered {
			if attack.needs != "" && !slices.Contains(f.covers, attack.needs) ||
				attack.name == "body" && (p.digest == "" || genuine.Header.Get(p.digest) == "") {
				continue
			}
			r := sign()
			if !attack.do(r) {
				continue
			}
			names = append(names, q.name+", other "+attack.name)
			messages = append(messages, received(t, r))
			want = append(want, false)
		}
	}
	verdicts := p.verify(t, messages)
	if len(verdicts) != len(messages) {
		t.Fatalf("got %d verdicts on %d messages", len(verdicts), len(messages))
	}
	if f.refused != "" {
		t.Logf("refused because %s; the library says: %s", f.refused, verdicts[0].Why)
	}
	for i, v := range verdicts {
		if v.OK != want[i] {
			t.Errorf("%s: got accepted %t (%s), want %t\n%s", names[i], v.OK, v.Why, want[i], messages[i].raw)
		}
	}
}

// received returns a request in the form in which it arrives.
func received(t *testing.T, r *http.Request) message {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	head, content, _ := strings.Cut(wire.String(), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	target := strings.Fields(lines[0])[1]
	m := message{Method: r.Method, Target: target, URL: "https://" + r.Host + target, Body: content, raw: wire.Bytes()}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		m.Headers = append(m.Headers, [2]string{name, value})
	}
	return m
}

// server returns the request that net/http passes to a handler with TLS.
func (m message) server() (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.raw)))
	if err == nil {
		r.TLS = &tls.ConnectionState{}
	}
	return r, err
}

// each adapts a Go verifier to several messages. An error is a refusal.
func each(verify func(r *http.Request) error) func(*testing.T, []message) []verdict {
	return func(t *testing.T, messages []message) []verdict {
		verdicts := make([]verdict, len(messages))
		for i, m := range messages {
			r, err := m.server()
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(r); err != nil {
				verdicts[i].Why = err.Error()
			} else {
				verdicts[i].OK = true
			}
		}
		return verdicts
	}
}

// module returns "name version" with the version in go.mod.
func module(name string) string {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		panic(err)
	}
	found := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(name) + ` (\S+)`).FindSubmatch(text)
	if found == nil {
		panic(fmt.Sprintf("%s is not in go.mod", name))
	}
	return strings.ReplaceAll(strings.TrimPrefix(name, "github.com/"), "/", "-") + " " + string(found[1])
}
