package explain

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/readings"
)

const (
	secret = "signing-secret-of-the-tests"
	base   = "https://logjam.io/flyio"
)

var now = time.Unix(1_800_000_000, 0)

// signed returns a request as Fly.io sends it.
func signed(t *testing.T, method, path, body string, signer flytest.Signer) *Request {
	t.Helper()
	fly := flytest.Platform{BaseURL: base, Signer: signer, Now: func() time.Time { return now }}
	r, err := fly.NewRequest(t.Context(), method, path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	sent := &Request{Method: method, Target: r.URL.RequestURI(), Host: r.URL.Host, Header: r.Header}
	if method == http.MethodPost {
		sent.Body = []byte(flytest.SignatureBase(r))
	}
	return sent
}

// asIs returns a request that is signed without the parameters of the signature.
func asIs(t *testing.T, body string) *Request {
	t.Helper()
	return signed(t, http.MethodPost, "/extensions", body, flytest.XSignatureOptions{AsIs: true}.XSignature(secret))
}

func TestExplain(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}
	post := func(t *testing.T) *Request {
		return signed(t, "POST", "/extensions", `{"id":"x","name":"ü"}`, flytest.XSignature(secret))
	}
	get := func(t *testing.T) *Request {
		return signed(t, "GET", "/extensions/x?a=b+c", "", flytest.XSignature(secret))
	}
	by := func(id string) func(*Question) {
		return func(q *Question) {
			for _, reading := range readings.All(readings.Request{Content: q.Request.Body, URL: base + "/extensions", Timestamp: "1800000000", Secret: secret}) {
				if reading.ID == id {
					q.Request.Header.Set("X-Signature", reading.Signature)
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T) *Request
		change func(q *Question)
		format string
		right  bool
		want   string
	}{
		{"right", post, nil, "x-signature", true, "The signature is right: it is the HMAC-SHA256 of the raw bytes of the body."},
		{"right, a query", get, nil, "x-signature", true, "of the query"},
		{"re-serialized", post, by("json-dumps"), "x-signature", false, "re-serialized JSON, as Python's json.dumps writes it"},
		{"over the URL", post, by("url"), "x-signature", false, "The signature fits a program that signs the URL, not the body."},
		{"the query is rewritten", get, func(q *Question) { q.Request.Target = strings.Replace(q.Request.Target, "b+c", "b%20c", 1) }, "x-signature", false, "sorted and escaped anew"},
		{"another path", post, func(q *Question) { q.Request.Target = "/extensions" }, "x-signature", false, "A proxy changed the path, or the provider sees it below a mount point: /flyio/extensions is signed, and /extensions arrived."},
		{"another base URL", post, func(q *Question) { q.BaseURL = "http://logjam.io/flyio" }, "x-signature", false, "The signed URL is for https://logjam.io, and the base URL is for http://logjam.io."},
		{"another Host", post, func(q *Question) { q.Request.Host = "10.0.0.1:8080" }, "x-signature", true, "a proxy rewrites Host"},
		{"the header is rewritten", post, func(q *Question) {
			q.Request.Header.Set("X-Signature", strings.ToUpper(q.Request.Header.Get("X-Signature")))
		}, "x-signature", true, "in upper-case hex digits. flyext accepts it."},
		{"another secret", post, func(q *Question) { q.Secret = "another" }, "x-signature", false, "Either the secret differs (the one used here has 7 bytes)"},
		{"old", post, func(q *Question) { q.Now = now.Add(time.Hour) }, "x-signature", false, "signed 1h0m0s ago"},
		{"ahead", post, func(q *Question) { q.Now = now.Add(-time.Hour) }, "x-signature", false, "signed 1h0m0s ahead of this clock"},
		{"no body", post, func(q *Question) { q.Request.Body = nil }, "x-signature", false, "Cannot be judged: the capture has no body; give it by itself. curl -v shows no body."},
		{"a newline of the capture", post, func(q *Question) { q.Request.Body = append(q.Request.Body, '\n') }, "x-signature", true, "without the newline at its end, which the capture has added"},
		{"a pasted base", post, func(q *Question) { q.Pasted = []byte(strings.Replace(string(q.Request.Body), `"name"`, ` "name"`, 1)) }, "x-signature", true, `differs at offset 10 (line 1, column 11): 0x22 is signed, and your text has 0x20. Signed from there: "\"name\":\"\xc3\xbc\",\"tim". Your text from there: " \"name`},
		{"the same base", post, func(q *Question) { q.Pasted = q.Request.Body }, "x-signature", true, "Your text equals the signed bytes."},
		{"an event without parameters", func(t *testing.T) *Request { return asIs(t, `{"specversion":"1.0","id":"e"}`) }, nil, "x-signature", true, "The event has no timestamp, nonce and url of its own."},
		{"a binary event without parameters", func(t *testing.T) *Request { return asIs(t, `{"status":"started"}`) }, func(q *Question) { q.Request.Header.Set("Ce-Specversion", "1.0") }, "x-signature", true, "The event has no"},
		{"a webhook without url", func(t *testing.T) *Request { return asIs(t, `{"timestamp":"1800000000","action":"a","resource":{}}`) }, nil, "x-signature", true, "The signature is right"},
		{"a webhook without a time", func(t *testing.T) *Request { return asIs(t, `{"action":"a","resource":{}}`) }, nil, "x-signature", false, `has no parameter "timestamp"`},
		{"a request without parameters", func(t *testing.T) *Request { return asIs(t, `{"id":"x"}`) }, nil, "x-signature", false, `has no parameter "url"`},
		{"no signature", post, func(q *Question) { q.Request.Header.Del("X-Signature") }, "none", false, "A proxy may have removed the header."},
		{"a message signature", func(t *testing.T) *Request { return signed(t, "GET", "/extensions/x", "", flytest.RFC9421(key)) }, nil, "rfc9421", true, "The signature is right."},
		{"a message signature under another secret", func(t *testing.T) *Request { return signed(t, "GET", "/extensions/x", "", flytest.RFC9421(key)) }, func(q *Question) { q.Secret = "another" }, "rfc9421", false, "does not verify"},
		{"cavage", func(t *testing.T) *Request { return signed(t, "GET", "/extensions/x", "", flytest.Cavage(key)) }, nil, "cavage", true, "The signature is right."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := Question{Request: c.make(t), Secret: secret, BaseURL: base, Now: now}
			if c.change != nil {
				c.change(&q)
			}
			got := Explain(q)
			text := strings.Join(got.Findings, "\n")
			if again := Explain(q); !slices.Equal(got.Findings, again.Findings) {
				t.Errorf("the findings differ from run to run:\n%q\n%q", got.Findings, again.Findings)
			}
			if got.Format != c.format || got.Right() != c.right || !strings.Contains(text, c.want) {
				t.Errorf("%s, right: %v, want %s, %v, %q:\n%s", got.Format, got.Right(), c.format, c.right, c.want, text)
			}
			if strings.Contains(text, q.Secret) && q.Secret == secret {
				t.Errorf("the secret is in:\n%s", text)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const body = `{"id":"x"}`
	entry := map[string]any{"request": map[string]any{
		"method": "POST", "url": "https://logjam.io/flyio/extensions", "postData": map[string]any{"text": body},
		"headers": []map[string]string{{"name": ":path", "value": "/"}, {"name": "X-Signature", "value": "aa"}},
	}}
	harFile, err := json.Marshal(map[string]any{"log": map[string]any{"entries": []any{entry}}})
	if err != nil {
		t.Fatal(err)
	}
	head := "POST /flyio/extensions HTTP/1.1\r\nHost: logjam.io\r\nX-Signature: aa\r\nContent-Length: 10\r\n\r\n"
	curl := "* Connected\n" + "> " + strings.ReplaceAll(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n", "\n> ") + "\n> \n> " + body + "\n* done\n< HTTP/1.1 200 OK\n"
	for name, captured := range map[string]string{"raw": head + body, "raw, longer": head + body + "\n\n", "curl -v": curl, "HAR": string(harFile)} {
		r, err := Parse([]byte(captured))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprint(r.Method, " ", r.Target, " ", r.Host, " ", r.Header.Get("X-Signature"), " ", string(r.Body)); got != "POST /flyio/extensions logjam.io aa "+body {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, c := range map[string]struct{ captured, body string }{
		"a quotation":               {head[:len(head)-6] + "24\r\n\r\nhello\r\n> quoted\r\nbye", "hello\r\n> quoted\r\nbye"},
		"a quoted request line":     {strings.Replace(head, "Content-Length: 10\r\n", "", 1) + "> GET / HTTP/1.1\n", "> GET / HTTP/1.1\n"},
		"a prompt before curl -v":   {"$ curl -v https://logjam.io/flyio/extensions\n" + curl, body},
		"a request without version": {"POST /x\n\n> a", "> a"},
	} {
		if r, err := Parse([]byte(c.captured)); err != nil || r.Method != http.MethodPost || string(r.Body) != c.body {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
	for _, captured := range []string{"", "nonsense", "> no request line\n> Host: x\n", "{", `{"log": {}}`, "POST /x HTTP/1.1\nno colon", `{"log":{"entries":[{"request":{"url":"%"}}]}}`} {
		if _, err := Parse([]byte(captured)); err == nil {
			t.Errorf("%q was parsed; it must be an error", captured)
		}
	}
}
