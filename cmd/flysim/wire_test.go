package main

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
)

var shownBase = regexp.MustCompile(`(?s)--- signature base: (\d+) bytes, (a newline|no newline) at the end\n(.*?)\n--- end of the signature base\n(\[redacted\] hides[^\n]*\n)?SHA-256      (\w+)\n`)

// TestVerboseShowsWhatIsSigned: --verbose shows exactly the signed bytes, so that a
// user can compare them.
func TestVerboseShowsWhatIsSigned(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		for _, args := range []string{"provision --id x --option note=größe", "fetch x", "update x --name y", "deprovision x"} {
			t.Run(string(format)+" "+args, func(t *testing.T) {
				t.Parallel()
				m := &memory{}
				term := newTerminal(m.serve(t, "", 0))
				if !strings.HasPrefix(args, "provision") {
					term.run(t, "provision", "--id", "x").want(t, 0)
				}
				shown := term.run(t, append(strings.Fields(args), "-v", "--format", string(format))...).want(t, 0).stderr
				if strings.Contains(shown, bearerToken) {
					t.Error("the output shows the bearer token")
				}
				match := shownBase.FindStringSubmatch(shown)
				if match == nil {
					t.Fatalf("the output shows no signature base:\n%s", shown)
				}
				base := match[3]
				if match[2] == "a newline" {
					base += "\n"
				}
				redacted := strings.Contains(base, "Bearer [redacted]")
				base = strings.ReplaceAll(base, "Bearer [redacted]", "Bearer "+bearerToken)
				if covered := format == flytest.FormatRFC9421 || format == flytest.FormatDraft05; redacted != covered || covered != (match[4] != "") {
					t.Errorf("the token is redacted: %v, and signed: %v", redacted, covered)
				}
				if strconv.Itoa(len(base)) != match[1] {
					t.Errorf("the base has %d bytes, but the output says %s", len(base), match[1])
				}
				if sum := sha256.Sum256([]byte(base)); hex.EncodeToString(sum[:]) != match[5] {
					t.Error("the shown hash is not the hash of the base")
				}
				mac := hmac.New(sha256.New, []byte(signingSecret))
				mac.Write([]byte(base))
				signature := mac.Sum(nil)
				sent := map[flytest.Format]string{
					flytest.FormatXSignature: "X-Signature: " + hex.EncodeToString(signature) + "\n",
					flytest.FormatRFC9421:    "Signature: sig1=:" + base64.StdEncoding.EncodeToString(signature) + ":\n",
					flytest.FormatDraft05:    "Signature: sig1=:" + base64.StdEncoding.EncodeToString(signature) + ":\n",
					flytest.FormatCavage:     `signature="` + base64.StdEncoding.EncodeToString(signature) + "\"\n",
				}[format]
				contains(t, shown, sent, "HMAC-SHA256  "+hex.EncodeToString(signature)+"\n", "in base64    "+base64.StdEncoding.EncodeToString(signature)+"\n")
				contains(t, shown, " HTTP/1.1\n> Host: ", "\n< HTTP/1.1 200 OK\n", "\n< answered in ")
			})
		}
	}
}

func TestVerboseShowsWhereLinesEnd(t *testing.T) {
	t.Parallel()
	m := &memory{}
	base := m.serve(t, "", 0)
	p := &program{}
	p.signingSecret = signingSecret
	fly := flytest.Platform{BaseURL: base, Signer: flytest.XSignatureOptions{AsIs: true}.XSignature(signingSecret)}
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"no newline": {"{}", []string{"--- signature base: 2 bytes, no newline at the end\n{}\n--- end"}},
		"newline":    {"{}\n", []string{"--- signature base: 3 bytes, a newline at the end\n{}\n--- end"}},
		"newlines":   {"{}\n\n", []string{"--- signature base: 4 bytes, a newline at the end\n{}\n\n--- end"}},
		"CR":         {"{}\r\n", []string{"4 bytes, a newline", `{}\r`, `in quotes    "{}\r\n"`}},
		"space":      {"{} \n", []string{`in quotes    "{} \n"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := fly.NewRequest(t.Context(), "POST", "/extensions", []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			p.showRequest(&page{w: &text}, r, []byte(c.body))
			contains(t, text.String(), c.want...)
		})
	}
}

// TestVerboseHidesAShortToken: --verbose hides even a short token in the header and
// in the signature base.
func TestVerboseHidesAShortToken(t *testing.T) {
	t.Parallel()
	shown := newTerminal("http://"+servertest.FreeAddr(t)).with("FLYIO_BEARER_TOKEN", "qxz").
		run(t, "fetch", "x", "-v", "--generation", "1").want(t, 3).stderr
	contains(t, shown, "> Authorization: Bearer [redacted]\n", "\"authorization\": Bearer [redacted]\n")
	if strings.Contains(shown, "Bearer qxz") {
		t.Error("the output shows the token")
	}
}

// TestVerboseUndoesCompression: --verbose decompresses an answer and says so.
func TestVerboseUndoesCompression(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("the request does not accept gzip")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		if r.URL.Path == "/bomb/extensions/x" {
			z.Write(bytes.Repeat([]byte{' '}, 32<<20)) // 32 KiB of gzip, or less if the client stops reading
			return
		}
		z.Write([]byte(`{"id": "x", "status": "ready"}`))
	}))
	defer server.Close()
	got := newTerminal(server.URL).run(t, "fetch", "x", "-v").want(t, 0)
	contains(t, got.stderr, `< {"id": "x", "status": "ready"}`, "\n< decompressed from gzip\n")
	got = newTerminal(server.URL+"/bomb").run(t, "fetch", "x", "-v").want(t, 1)
	contains(t, got.stderr, "the answer is larger than 1048576 bytes")
}

// TestVerboseShowsWhatIsNotAnswered: --verbose shows a request without an answer.
func TestVerboseShowsWhatIsNotAnswered(t *testing.T) {
	t.Parallel()
	shown := newTerminal("http://"+servertest.FreeAddr(t)).run(t, "fetch", "x", "-v").want(t, 3).stderr
	contains(t, shown, "> GET /extensions/x?", "--- signature base: ", "flysim: no answer from")
}
