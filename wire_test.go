package flyext_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// serve starts a real server that admits the requests that v accepts. It answers with
// the request's body.
func serve(t *testing.T, v flyext.Verifier, log io.Writer) *httptest.Server {
	t.Helper()
	config := flyext.Config{
		BaseURL: signingBase, Verifier: v,
		Now: func() time.Time { return time.Unix(signingTime, 0) },
	}
	if log == nil {
		log = io.Discard
	}
	config.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	auth, err := flyext.NewAuthenticator(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	})))
	t.Cleanup(server.Close)
	return server
}

// bytes returns the request as sent over the wire.
func (w *wireRequest) bytes() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", w.method, w.target, w.host)
	if w.header.Get("Content-Length") == "" && w.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(w.body))
	}
	for name, lines := range w.header {
		for _, line := range lines {
			fmt.Fprintf(&b, "%s: %s\r\n", name, line)
		}
	}
	return b.String() + "\r\n" + w.body
}

// send sends bytes to a server and returns its answer.
func send(t *testing.T, server *httptest.Server, text string) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(all)
}

func TestOverTheWire(t *testing.T) {
	t.Parallel()
	folded := newPost().set("X-A", "one two").signRFC9421("sig1", covered+` "x-a"`, rfcParams(signingTime)).bytes()
	list := newPost().set("X-A", "one", "two").signRFC9421("sig1", covered+` "x-a"`, rfcParams(signingTime)).bytes()
	input := newPost().rfc9421()
	plain := input.bytes()
	get := newGet(queryTarget).rfc9421().bytes()
	replace := func(text, from, to string) string {
		if strings.Count(text, from) != 1 {
			t.Fatalf("%q must be in the request once", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	for _, c := range []struct {
		name, text string
		status     int
	}{
		{"as signed", plain, http.StatusOK},
		{"obsolete line folding in a covered field: one space (RFC 9421, section 2.1)",
			replace(folded, "X-A: one two\r\n", "X-A: one\r\n\t two\r\n"), http.StatusOK},
		{"obsolete line folding that splits a word: two words",
			replace(folded, "X-A: one two\r\n", "X-A: one tw\r\n o\r\n"), http.StatusUnauthorized},
		{"obsolete line folding in Signature-Input, before the signed list",
			replace(plain, "Signature-Input: sig1", "Signature-Input:\r\n  sig1"), http.StatusOK},
		{"obsolete line folding in Signature-Input, inside the signed list",
			replace(plain, `("@method" `, "(\r\n \"@method\" "), http.StatusUnauthorized},
		{"list over several lines", list, http.StatusOK},
		{"list made one line: the same value (RFC 9110, section 5.3)",
			replace(list, "X-A: one\r\nX-A: two\r\n", "X-A: one, two\r\n"), http.StatusOK},
		{"list made one line with other spaces: another value",
			replace(list, "X-A: one\r\nX-A: two\r\n", "X-A: one,two\r\n"), http.StatusUnauthorized},
		{"field names in another case", replace(replace(plain, "Signature-Input:", "SIGNATURE-INPUT:"), "Content-Digest:", "content-digest:"), http.StatusOK},
		{"spaces around a covered value", replace(plain, "Content-Digest: ", "Content-Digest: \t  "), http.StatusOK},
		{"absolute form of the target: the same URI (RFC 9112, section 3.2.2)",
			replace(plain, "POST /flyio", "POST https://logjam.test/flyio"), http.StatusOK},
		{"absolute form that names another host than Host: it counts, not Host",
			replace(plain, "POST /flyio", "POST https://other.test/flyio"), http.StatusUnauthorized},
		{"chunked, with the same body", replace(replace(plain, fmt.Sprintf("Content-Length: %d\r\n", len(signingBody)),
			"Transfer-Encoding: chunked\r\n"), signingBody, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(signingBody), signingBody)), http.StatusOK},
		{"body cut short", replace(plain, "Content-Length: ", "Content-Length: 1"), 0},
		{"GET", get, http.StatusOK},
		{"GET with an unsigned body", replace(get, "Connection: close\r\n", "Connection: close\r\nContent-Length: 2\r\n") + "{}", http.StatusUnauthorized},
		{"another Host", replace(plain, "Host: logjam.test", "Host: other.test"), http.StatusUnauthorized},
		{"Host with the default port", replace(plain, "Host: logjam.test", "Host: logjam.test:443"), http.StatusOK},
		{"forwarded Host is not trusted", replace(replace(plain, "Host: logjam.test", "Host: other.test"),
			"Connection: close\r\n", "Connection: close\r\nX-Forwarded-Host: logjam.test\r\nForwarded: host=logjam.test\r\n"), http.StatusUnauthorized},
		{"line break inside a field", replace(plain, "Content-Digest: ", "Content-Digest: a\rb"), http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, flyext.MessageSignature(signingKey), nil)
			if c.status == 0 { // the sender closes the connection
				sendAndHangUp(t, server, c.text)
				return
			}
			status, _, body := send(t, server, c.text)
			if status != c.status {
				t.Fatalf("got %d %s, want %d", status, body, c.status)
			}
			if want := c.text[len(c.text)-len(body):]; status == http.StatusOK && !strings.Contains(c.name, "chunked") && body != want {
				t.Errorf("the wrapped handler read %q, want %q", body, want)
			}
		})
	}
}

// sendAndHangUp closes the connection before the body is complete and wants 400.
func sendAndHangUp(t *testing.T, server *httptest.Server, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", answer.StatusCode)
	}
}

// Every refusal gets the same answer: the request is not authenticated. The log has the
// reason in a fixed text, without bytes of the request and without secrets.
func TestRefusalsTellNothing(t *testing.T) {
	t.Parallel()
	const canary = "canary4711"
	verifiers := flyext.AnyOf(
		flyext.XSignature(signingSecret),
		flyext.AllOf(flyext.BearerToken("token-"+signingSecret), flyext.Policy{ZntrioDialect: true}.MessageSignature(signingKey)),
		scripted{err: errors.New("the reason of a custom verifier")},
	)
	bearer := func(w *wireRequest) *wireRequest { return w.set("Authorization", "Bearer token-"+signingSecret) }
	foreign := func() *wireRequest { return bearer(newPost().signedWith(canary)) }
	requests := map[string]*wireRequest{
		"unsigned":             newPost(),
		"wrong X-Signature":    newPost().signedWith(canary).xSignature(),
		"no hex":               newPost().set("X-Signature", canary),
		"stale":                xBody(strings.Replace(signingBody, "1700000000", "1600000000", 1)),
		"url of another host":  xURLOf("https://" + canary + ".test/flyio/extensions"),
		"nonce missing":        xBody(strings.Replace(signingBody, "n1", "", 1)),
		"wrong bearer":         newPost().set("Authorization", "Bearer "+canary).rfc9421(),
		"only a bearer token":  bearer(newPost()),
		"wrong message MAC":    foreign().rfc9421(),
		"unknown key":          foreign().signRFC9421("s", covered, `;created=1;keyid="`+canary+`"`),
		"unknown algorithm":    foreign().signRFC9421("s", covered, `;created=1;alg="`+canary+`"`),
		"unknown component":    foreign().signRFC9421("s", `"@`+canary+`"`, ""),
		"absent field":         foreign().signRFC9421("s", `"x-`+canary+`"`, ""),
		"broken input":         foreign().set("Signature", canary).set("Signature-Input", canary+`="`),
		"broken digest":        bearer(newPost()).set("Content-Digest", canary+`="`).rfc9421(),
		"digest of another":    bearer(newPost()).rfc9421().tampered(exchangeBody),
		"broken draft-cavage":  bearer(newPost()).set("Signature", canary),
		"unknown draft-cavage": bearer(newPost()).set("Signature", canary+`="`+canary+`",signature="AAAA"`),
		"uncovered":            bearer(newPost()).signRFC9421("s", `"@method"`, rfcParams(signingTime)),
	}
	requests["replay"] = newPost().xSignature()
	for _, w := range requests {
		w.set("X-Canary", canary)
	}
	type answer struct{ status, header, body string }
	var uniform *answer
	for name, w := range requests {
		var log bytes.Buffer
		server := serve(t, verifiers, &log)
		if name == "replay" {
			if status, _, _ := send(t, server, w.bytes()); status != http.StatusOK {
				t.Fatalf("the genuine request: got %d", status)
			}
		}
		status, header, body := send(t, server, w.setLength().bytes())
		server.Close() // the record is written by then
		id := header.Get("X-Request-Id")
		header.Del("X-Request-Id")
		header.Del("Date")
		got := answer{fmt.Sprint(status), fmt.Sprint(header), body}
		if uniform == nil {
			uniform = &got
		}
		if got != *uniform || status != http.StatusUnauthorized {
			t.Errorf("%s: got %v, want the answer of the other refusals, %v", name, got, *uniform)
		}
		if strings.Count(log.String(), "\n") != 1 || id == "" || !strings.Contains(log.String(), id) {
			t.Errorf("%s: the log does not have exactly one record with request id %q: %s", name, id, log.String())
		}
		for _, secret := range []string{canary, signingSecret, "x1", "n1", w.header.Get("X-Signature"), w.header.Get("Signature")} {
			if secret == canary && name == "url of another host" {
				continue // the log has both hosts; this one was signed with the secret
			}
			if secret != "" && (strings.Contains(strings.ReplaceAll(log.String(), id, ""), secret) || strings.Contains(body, secret)) {
				t.Errorf("%s: %q is in the log or the answer: %s %s", name, secret, log.String(), body)
			}
		}
	}
}

// A custom verifier may return an *Error, which is the answer. Any other error
// becomes the uniform 401, and its text is only logged.
func TestVerifierErrors(t *testing.T) {
	t.Parallel()
	unreachable := &flyext.Error{Status: http.StatusServiceUnavailable, Code: "keys_unavailable", Message: "Try again."}
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"an *Error", unreachable, http.StatusServiceUnavailable, "keys_unavailable"},
		{"a wrapped *Error", fmt.Errorf("keys: %w", unreachable), http.StatusServiceUnavailable, "keys_unavailable"},
		{"another error", errors.New("database password hunter2"), http.StatusUnauthorized, flyext.CodeUnauthenticated},
		{"a nil *Error", (*flyext.Error)(nil), http.StatusUnauthorized, flyext.CodeUnauthenticated},
	} {
		for group, v := range map[string]flyext.Verifier{
			"alone":    scripted{err: c.err},
			"in AnyOf": flyext.AnyOf(flyext.XSignature("other"), scripted{err: c.err}),
			"in AllOf": flyext.AllOf(scripted{}, scripted{err: c.err}),
		} {
			t.Run(c.name+" "+group, func(t *testing.T) {
				t.Parallel()
				e, ok := errors.AsType[*flyext.Error](newAuthenticator(t, v, 0).Check(newPost().xSignature().request(t)))
				if !ok || e.Status != c.status || e.Code != c.code {
					t.Fatalf("got %v, want %d %s", e, c.status, c.code)
				}
				if strings.Contains(e.Message, "hunter2") {
					t.Errorf("the message for the client has the internal error: %q", e.Message)
				}
			})
		}
	}
}

// An attacker breaks a chunked body in different ways. The log names the kind of
// fault and has no bytes of the request.
func TestBrokenBodyWritesNoLog(t *testing.T) {
	t.Parallel()
	head := "POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\nConnection: close\r\n"
	for name, rest := range map[string]string{
		"a malformed trailer":   "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\ncanary4711 " + strings.Repeat("y", 4000) + "\r\n\r\n",
		"a malformed size":      "Transfer-Encoding: chunked\r\n\r\ncanary4711\r\n",
		"a chunk without end":   "Transfer-Encoding: chunked\r\n\r\n1\r\nxcanary4711",
		"a continuation line":   "Transfer-Encoding: chunked\r\n\r\n0\r\n canary4711\r\n\r\n",
		"a trailer of a length": "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX\x00canary4711: y\r\n\r\n",
	} {
		var log bytes.Buffer
		server := serve(t, everyVerifier(), &log)
		status, _, body := send(t, server, head+rest)
		server.Close()
		if status != 400 || strings.Contains(log.String()+body, "canary") || log.Len() > 400 || log.Len() == 0 {
			t.Errorf("%s: got %d %s, log %s", name, status, body, log.String())
		}
	}
}
