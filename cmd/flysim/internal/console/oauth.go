package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxOAuth = 64 << 10 // bytes of a request, and of the recorded part of an answer

// serveOAuth passes a request to the simulated sign-on, and adds it to the feed.
func (c *Console) serveOAuth(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOAuth))
	var rest io.Reader = http.NoBody
	if err != nil {
		rest = failing{err}
	}
	in := r.Clone(r.Context())
	in.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), rest))
	out := &tee{ResponseWriter: w, status: http.StatusOK}
	c.oauth.ServeHTTP(out, in)

	seen := incomingWire(r, c.url, withoutClientSecret(body))
	seen.status, seen.statusText = out.status, fmt.Sprintf("HTTP/1.1 %d %s", out.status, http.StatusText(out.status))
	seen.answer, seen.answerBody, seen.duration = linesOf(w.Header()), out.kept.Bytes(), time.Since(start)
	o := outcomeOfOAuth(r, out)
	c.mu.Lock()
	defer c.mu.Unlock()
	step := c.newRecord(actionOAuth)
	c.keep(step, seen, o)
	c.save(step, nil)
	c.changed("OAuth: " + o.headline)
}

// incomingWire returns a received request, without its answer.
func incomingWire(r *http.Request, own string, body []byte) *wire {
	target := printable(clipBytes(r.URL.RequestURI(), maxShown))
	w := &wire{method: r.Method, url: own + target, target: target, requestBody: body, incoming: true}
	w.request = append([]headerLine{{"Host", r.Host}}, linesOf(r.Header)...)
	return w
}

func clipBytes(text string, length int) string { return text[:min(len(text), length)] }

// withoutClientSecret redacts the client secret in a form. The other parameters
// stay as received.
func withoutClientSecret(form []byte) []byte {
	pairs := strings.Split(string(form), "&")
	for i, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil && decoded == "client_secret" {
			pairs[i] = name + "=[redacted]"
		}
	}
	return []byte(strings.Join(pairs, "&"))
}

// A tee records the beginning of an answer.
type tee struct {
	http.ResponseWriter
	status int
	kept   bytes.Buffer
}

func (t *tee) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *tee) Write(p []byte) (int, error) {
	if room := maxOAuth - t.kept.Len(); room > 0 {
		t.kept.Write(p[:min(len(p), room)])
	}
	return t.ResponseWriter.Write(p)
}

// outcomeOfOAuth describes the result of a step of the sign-on.
func outcomeOfOAuth(r *http.Request, out *tee) outcome {
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(out.kept.Bytes(), &refusal) // a page is not JSON
	place, _ := url.Parse(out.Header().Get("Location"))
	switch {
	case out.status >= 400 && refusal.Error != "":
		return outcome{false, clip("Refused: "+refusal.Error, 200), sentence(refusal.Description)}
	case out.status >= 400:
		return outcome{false, fmt.Sprintf("Refused with %d %s", out.status, http.StatusText(out.status)), ""}
	case place != nil && place.Query().Has("error"):
		return outcome{true, clip("Redirected to the provider with the error "+place.Query().Get("error"), 200), ""}
	case place != nil && place.Query().Has("code"):
		return outcome{true, "Redirected to the provider with a code", ""}
	case r.URL.Path == "/oauth/authorize":
		return outcome{true, "Sign-in page shown", ""}
	case r.URL.Path == "/oauth/token":
		return outcome{true, "Access token issued", ""}
	case r.URL.Path == "/oauth/token/info":
		return outcome{true, "User and organizations returned", ""}
	}
	return outcome{true, fmt.Sprintf("Answered with %d", out.status), ""}
}
