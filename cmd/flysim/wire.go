package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/flytest"
)

// A wire is a transport that shows requests. It shows a request before it sends it,
// and therefore also a request without an answer.
type wire struct {
	next    http.RoundTripper
	program *program
	// answers shows the answers too, where no [flytest.Platform.Observe] does.
	answers bool
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.GetBody != nil {
		if copied, err := r.GetBody(); err == nil {
			body, _ = io.ReadAll(copied)
			copied.Close()
		}
	}
	w.program.showRequest(w.program.err, r, body)
	start := time.Now()
	answer, err := w.next.RoundTrip(r)
	if err != nil || !w.answers {
		return answer, err
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxShown))
	if err != nil {
		answer.Body.Close()
		return nil, err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), answer.Body), answer.Body}
	w.program.showAnswer(flytest.Exchange{Response: answer, ResponseBody: body, Duration: time.Since(start)})
	return answer, nil
}

// maxShown bounds the shown part of an answer, in bytes.
const maxShown = 1 << 20

const bearer = "Bearer "

// showRequest shows a request as HTTP/1.1 sends it, and the bytes that are signed.
func (p *program) showRequest(out *page, r *http.Request, body []byte) {
	shown := r.Clone(context.WithoutCancel(r.Context())) // the context may have ended
	for i, value := range shown.Header["Authorization"] {
		if strings.HasPrefix(value, bearer) {
			shown.Header["Authorization"][i] = bearer + "[redacted]"
		}
	}
	flytest.SetBody(shown, body)
	dump, err := httputil.DumpRequestOut(shown, true)
	if err != nil {
		dump = fmt.Appendf(nil, "%s %s: %v", r.Method, r.URL, err)
	}
	p.quote(out, cyan, "> ", dump)
	if base := flytest.SignatureBase(r); base != "" {
		p.showBase(out, r, base)
	}
}

// showBase shows a signature base, so that the user can compare it byte for byte.
func (p *program) showBase(out *page, r *http.Request, base string) {
	ending := "no newline at the end"
	if strings.HasSuffix(base, "\n") {
		ending = "a newline at the end"
	}
	sum := sha256.Sum256([]byte(base))
	mac := hmac.New(sha256.New, []byte(p.signingSecret))
	mac.Write([]byte(base))
	signature := mac.Sum(nil)

	shown, redacted := base, ""
	if p.bearerToken != "" && strings.Contains(base, bearer+p.bearerToken) {
		shown = strings.ReplaceAll(base, bearer+p.bearerToken, bearer+"[redacted]")
		redacted = "[redacted] hides the bearer token; the length and the hashes include it."
	}
	out.line(yellow, "", fmt.Sprintf("--- signature base: %d bytes, %s", len(base), ending))
	out.raw(shown)
	if !strings.HasSuffix(base, "\n") {
		out.raw("\n")
	}
	out.line(yellow, "", "--- end of the signature base")
	if redacted != "" {
		out.line(plain, "", redacted)
	}
	if quoted := strconv.Quote(shown); strings.Contains(quoted, `\x`) || strings.Contains(quoted, `\r`) ||
		strings.Contains(quoted, `\t`) || strings.Contains(quoted, ` \n`) || strings.Contains(quoted, `\u`) {
		out.line(plain, "", "in quotes    "+quoted)
	}
	out.line(plain, "", "SHA-256      "+hex.EncodeToString(sum[:]))
	out.line(plain, "", "HMAC-SHA256  "+hex.EncodeToString(signature))
	out.line(plain, "", "in base64    "+base64.StdEncoding.EncodeToString(signature))
	for _, name := range []string{"X-Signature", "Signature-Input", "Signature"} {
		if value := r.Header.Get(name); value != "" {
			out.line(plain, "", "sent as      "+name+": "+value)
		}
	}
	out.blank()
}

// showAnswer shows an answer on standard error.
func (p *program) showAnswer(e flytest.Exchange) { p.showAnswerOn(p.err, e) }

func (p *program) showAnswerOn(out *page, e flytest.Exchange) {
	head, err := httputil.DumpResponse(&http.Response{
		Status: e.Response.Status, StatusCode: e.Response.StatusCode,
		ProtoMajor: e.Response.ProtoMajor, ProtoMinor: e.Response.ProtoMinor,
		Header: e.Response.Header, ContentLength: int64(len(e.ResponseBody)),
	}, false)
	if err != nil {
		head = []byte(e.Response.Status)
	}
	p.quote(out, green, "< ", append(head, e.ResponseBody...))
	if e.Response.Uncompressed {
		out.line(dim, "", "< decompressed from gzip")
	}
	out.line(dim, "", fmt.Sprintf("< answered in %v", e.Duration.Round(100*time.Microsecond)))
	out.blank()
}

// quote shows the lines of a message, with a mark for its direction.
func (p *program) quote(out *page, s style, mark string, message []byte) {
	head, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	for line := range strings.SplitSeq(string(head), "\r\n") {
		out.line(s, mark, p.redact(line))
		s = plain
	}
	if len(body) == 0 {
		return
	}
	out.line(plain, mark, "")
	for line := range strings.SplitSeq(strings.TrimSuffix(string(body), "\n"), "\n") {
		out.raw(mark + p.redact(line) + "\n") // keeps the spaces at the end
	}
}
