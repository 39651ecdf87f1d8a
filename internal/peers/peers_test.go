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

// key is the one that flytest signs with and the peers verify with.
var key = flyext.Key{ID: flytest.DefaultKeyID, Secret: "a signing secret of thirty-eight bytes"}

var credentials = flytest.Credentials{SigningSecret: key.Secret, BearerToken: "logjam-bearer-token"}

// A peer is somebody else's verifier.
type peer struct {
	name string // the library and its version
	// verify gives one verdict per message, in their order.
	verify func(t *testing.T, messages []message) []verdict
	// digest is the field with which the library itself compares the body. ""
	// leaves that to the service that uses it.
	digest string
	// decodesPath says that the library covers the path decoded: it refuses
	// whatever has a percent sign there, however genuine.
	decodesPath bool
	forms       []form
}

// A form is one way in which flytest signs.
type form struct {
	name   string
	signer flytest.Signer
	// covers is what the signature protects besides method, path and query.
	covers []string
	// refused says why the peer does not accept this form; "" if it does.
	refused string
}

const (
	host   = "host"
	body   = "body"
	bearer = "bearer"
)

// A message is a request as it comes over the wire.
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
	Why string `json:"why"` // what a refusal says
}

// requests are what Fly.io asks of a provider.
var requests = []struct {
	name, method, path, body string
}{
	{"provision", http.MethodPost, "/extensions", `{"name":"test","organization":{"id":"O1"}}`},
	{"update", http.MethodPatch, "/extensions/test", `{"name":"other"}`},
	{"update of an escaped id", http.MethodPatch, "/extensions/a%2Fb", `{"name":"other"}`},
	{"fetch", http.MethodGet, "/extensions/test?timestamp=1685641159&nonce=e3f7b4c8", ""},
	{"deprovision", http.MethodDelete, "/extensions/test", ""},
}

// tampered are what happens to a genuine request on its way.
var tampered = []struct {
	name  string
	needs string // what the signature has to cover, besides the request line
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
	// Whoever changes the body can compute its digest, too.
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

// changedBody returns another body of the same length.
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

// test has the peer verify what flytest signs, in each form, genuine and
// tampered with.
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
			continue // it is refused with a plain path, which says enough
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
		t.Fatalf("%d verdicts on %d messages", len(verdicts), len(messages))
	}
	if f.refused != "" {
		t.Logf("refused because %s; it says: %s", f.refused, verdicts[0].Why)
	}
	for i, v := range verdicts {
		if v.OK != want[i] {
			t.Errorf("%s: accepted is %t (%s), want %t\n%s", names[i], v.OK, v.Why, want[i], messages[i].raw)
		}
	}
}

// received is what is left of a request after its way over the wire.
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

// server is the message as net/http gives it to a server's handler, over TLS.
func (m message) server() (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.raw)))
	if err == nil {
		r.TLS = &tls.ConnectionState{}
	}
	return r, err
}

// each verifies one message after the other with a peer written in Go, whose
// refusals are errors.
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

// module returns "name version", with the version that go.mod asks for.
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
