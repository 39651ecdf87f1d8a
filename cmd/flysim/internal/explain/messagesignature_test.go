package explain

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// signedMessage returns a POST with a message signature, and the bytes and the
// MAC that its signer used.
func signedMessage(t *testing.T, format string) (r *Request, signedBytes, value string) {
	t.Helper()
	key := flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}
	signer := flytest.RFC9421(key)
	if format == formatCavage {
		signer = flytest.Cavage(key)
	}
	fly := flytest.Platform{BaseURL: base, Signer: signer, Now: func() time.Time { return now }}
	const body = `{"id":"x","name":"ü"}`
	sent, err := fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	sent.Header.Set("Content-Length", "22")
	r = &Request{Method: http.MethodPost, Target: sent.URL.RequestURI(), Host: sent.URL.Host, Header: sent.Header, Body: []byte(body)}
	header := sent.Header.Get("Signature") + sent.Header.Get("Authorization")
	if format == formatCavage {
		_, value, _ = strings.Cut(header, `signature="`)
		value, _, _ = strings.Cut(value, `"`)
	} else {
		_, value, _ = strings.Cut(header, "=:")
		value = strings.TrimSuffix(value, ":")
	}
	return r, flytest.SignatureBase(sent), value
}

// TestMessageSignatureBytes: the signed bytes and the right MAC are those of
// flytest's signer, and the pasted text is compared with them.
func TestMessageSignatureBytes(t *testing.T) {
	t.Parallel()
	for _, format := range []string{formatRFC9421, formatCavage} {
		for _, c := range []struct {
			name   string
			change func(q *Question, signed string)
			right  bool
			same   bool // the signed bytes are the signer's
			signed bool // the sender signed others, which are the signer's
			want   string
		}{
			{"right", func(*Question, string) {}, true, true, false, "The signature is right."},
			{"the same text", func(q *Question, signed string) { q.Pasted = []byte(signed) }, true, true, false, "Your text equals the signed bytes."},
			{"a text with another method", func(q *Question, signed string) {
				q.Pasted = []byte(strings.NewReplacer("POST", "PUT", "post", "put").Replace(signed))
			}, true, true, false, "is signed, and your text has 0x"},
			{"a text with a newline", func(q *Question, signed string) { q.Pasted = []byte(signed + "\n") }, true, true, false, "An editor may have added the newline."},
			{"an empty text", func(q *Question, _ string) { q.Pasted = []byte{} }, true, true, false, "your text has 0."},
			{"another secret", func(q *Question, _ string) { q.Secret = "another" }, false, true, false, "Either the secret differs (the one used here has 7 bytes)"},
			{"the secret has white space", func(q *Question, _ string) { q.Secret = " " + secret }, false, true, false, "The signature fits the secret without the white space around it."},
			{"old", func(q *Question, _ string) { q.Now = now.Add(time.Hour) }, false, true, false, "Its MAC is right"},
			{"the capture adds a newline", func(q *Question, _ string) { q.Request.Body = append(bytes.Clone(q.Request.Body), '\n') }, true, true, false, "The signature fits the body without the newline at its end, which the capture has added."},
			{"the mount point is removed", func(q *Question, _ string) { q.Request.Target = "/extensions" }, false, false, true, "The signature fits the path below /flyio. A proxy removed the mount point."},
			{"a signed field is missing", func(q *Question, _ string) {
				q.Request.Header.Del("Content-Digest")
				q.Request.Header.Del("Date")
				q.Pasted = []byte("x")
			}, false, false, false, "a covered component is absent"},
		} {
			t.Run(format+", "+c.name, func(t *testing.T) {
				t.Parallel()
				r, signed, value := signedMessage(t, format)
				q := Question{Request: r, Secret: secret, BaseURL: base, Now: now}
				c.change(&q, signed)
				got := Explain(q)
				text := strings.Join(got.Findings, "\n")
				if got.Format != format || got.Right() != c.right || !strings.Contains(text, c.want) {
					t.Errorf("%s, right: %v; want %s, %v, %q in:\n%s", got.Format, got.Right(), format, c.right, c.want, text)
				}
				if again := Explain(q); !slices.Equal(got.Findings, again.Findings) {
					t.Errorf("the findings differ from run to run:\n%q\n%q", got.Findings, again.Findings)
				}
				if c.same && string(got.Base) != signed {
					t.Errorf("the signed bytes are\n%q, want\n%q", got.Base, signed)
				}
				if c.same && (got.Expected == value) != (q.Secret == secret) {
					t.Errorf("the right MAC is %s, and the header has %s", got.Expected, value)
				}
				if c.signed != (string(got.Signed) == signed) {
					t.Errorf("the sender signed\n%q, want\n%q", got.Signed, signed)
				}
				if !c.same && !c.signed && !strings.Contains(text, "Your text cannot be compared") {
					t.Errorf("the pasted text is compared with nothing:\n%s", text)
				}
				if c.same && (got.Difference == nil) != (q.Pasted == nil) {
					t.Errorf("the difference is %v", got.Difference)
				}
				if strings.Contains(text, secret) {
					t.Errorf("the secret is in:\n%s", text)
				}
			})
		}
	}
}

// TestMessageSignatureHost: behind a proxy that rewrites Host, the signature fits
// the host of the base URL.
func TestMessageSignatureHost(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}
	r := signed(t, http.MethodGet, "/extensions/x", "", flytest.RFC9421(key))
	if !strings.Contains(r.Header.Get("Signature-Input"), "@authority") && !strings.Contains(r.Header.Get("Signature-Input"), "@target-uri") {
		t.Skip("this signer does not cover the host")
	}
	for _, c := range []struct {
		name   string
		change func(q *Question)
		want   string
	}{
		{"host", func(q *Question) { q.Request.Host = "10.0.0.1:8080" }, "The signature fits the host of the base URL, logjam.io."},
		{"scheme", func(q *Question) { q.BaseURL = "http://logjam.io/flyio" }, "The signature fits the scheme https."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			copied := *r
			q := Question{Request: &copied, Secret: secret, BaseURL: base, Now: now}
			c.change(&q)
			got := Explain(q)
			if text := strings.Join(got.Findings, "\n"); got.Right() || !strings.Contains(text, c.want) {
				t.Errorf("right: %v, want %q in:\n%s", got.Right(), c.want, text)
			}
		})
	}
}

// TestMessageSignatureKeyID: the secret counts for the key id that the signature
// names.
func TestMessageSignatureKeyID(t *testing.T) {
	t.Parallel()
	r := signed(t, http.MethodGet, "/extensions/x", "", flytest.RFC9421(flyext.Key{ID: "another-id", Secret: secret}))
	if got := Explain(Question{Request: r, Secret: secret, BaseURL: base, Now: now}); !got.Right() {
		t.Errorf("refused:\n%s", strings.Join(got.Findings, "\n"))
	}
}
