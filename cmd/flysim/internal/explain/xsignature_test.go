package explain

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/readings"
)

// TestXSignatureBytes: Base is the bytes that the format signs, even if the sender
// signed others. The pasted text is compared with Base.
func TestXSignatureBytes(t *testing.T) {
	t.Parallel()
	python := func(body []byte) readings.Reading {
		for _, r := range readings.All(readings.Request{Content: body, Secret: secret}) {
			if r.ID == "json-dumps" {
				return r
			}
		}
		t.Fatal("no reading json-dumps")
		panic("unreachable")
	}
	for _, c := range []struct {
		name    string
		change  func(q *Question, body []byte)
		signed  string // "python" or ""
		reading string
		want    string
	}{
		{"right", func(q *Question, body []byte) { q.Pasted = body }, "", "the raw bytes of the body", "Your text equals the signed bytes."},
		{"the sender re-serializes", func(q *Question, body []byte) {
			q.Request.Header.Set("X-Signature", python(body).Signature)
			q.Pasted = body
		}, "python", "json.dumps", "Your text equals the signed bytes."},
		{"sender and pasted text are re-serialized", func(q *Question, body []byte) {
			q.Request.Header.Set("X-Signature", python(body).Signature)
			q.Pasted = python(body).Base
		}, "python", "json.dumps", `0x22 is signed, and your text has 0x20.`},
		{"only the pasted text is re-serialized", func(q *Question, body []byte) { q.Pasted = python(body).Base }, "", "the raw bytes of the body",
			"Your text is that of a program that verifies re-serialized JSON, as Python's json.dumps writes it. Sign the raw bytes"},
		{"the capture adds a newline", func(q *Question, body []byte) {
			q.Request.Body = append(bytes.Clone(body), '\n')
			q.Pasted = body
		}, "", "without the newline at its end", "Your text equals the signed bytes."},
		{"upper-case digits", func(q *Question, _ []byte) {
			q.Request.Header.Set("X-Signature", strings.ToUpper(q.Request.Header.Get("X-Signature")))
		}, "", "upper-case hex digits", "upper-case hex digits"},
		{"another secret", func(q *Question, _ []byte) { q.Secret = "another" }, "", "", "No known reading of the body fits."},
		{"two headers", func(q *Question, _ []byte) { q.Request.Header.Add("X-Signature", "00") }, "", "the raw bytes of the body", "The request has 2 X-Signature headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := Question{Request: signed(t, http.MethodPost, "/extensions", `{"id":"x","name":"ü"}`, flytest.XSignature(secret)), Secret: secret, BaseURL: base, Now: now}
			body := bytes.Clone(q.Request.Body)
			c.change(&q, body)
			got := Explain(q)
			if string(got.Base) != string(body) {
				t.Errorf("the signed bytes are %q, want %q", got.Base, body)
			}
			var other []byte
			if c.signed != "" {
				other = python(body).Base
			}
			if !bytes.Equal(got.Signed, other) {
				t.Errorf("the sender signed %q, want %q", got.Signed, other)
			}
			if want := readings.Right(readings.Request{Content: body, Secret: q.Secret}); got.Expected != want {
				t.Errorf("the right signature is %s, want %s", got.Expected, want)
			}
			if c.reading == "" && got.Reading != "" || !strings.Contains(got.Reading, c.reading) {
				t.Errorf("the reading is %q, want %q", got.Reading, c.reading)
			}
			if text := strings.Join(got.Findings, "\n"); !strings.Contains(text, c.want) {
				t.Errorf("the findings are:\n%s\nwant %q in them", text, c.want)
			}
		})
	}
}
