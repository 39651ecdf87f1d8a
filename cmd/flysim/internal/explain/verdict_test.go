package explain

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/readings"
)

// signedText returns a request whose X-Signature signs exactly this body, or this
// query of a method that signs the query.
func signedText(method, target, body string) *Request {
	content := body
	if signsQuery(method) {
		_, content, _ = strings.Cut(target, "?")
	}
	header := http.Header{"X-Signature": {readings.Right(readings.Request{Content: []byte(content), Secret: secret})}}
	return &Request{Method: method, Target: target, Host: "logjam.io", Header: header, Body: []byte(body)}
}

// withParameters returns a body with the parameters of the signature.
func withParameters(members string) string {
	return `{"timestamp":1800000000,"nonce":"n","url":"https://logjam.io/flyio/extensions"` + members + `}`
}

// TestVerdict: the verdict on an X-Signature is that of the library about the request
// that was sent, and it is Unknown if the capture does not have that request.
func TestVerdict(t *testing.T) {
	t.Parallel()
	const path = "/flyio/extensions"
	query := func(members string) string {
		return path + "/x?" + members + "&timestamp=1800000000&nonce=n&url=" + url.QueryEscape(base+"/extensions/x")
	}
	post := func() *Request { return signedText("POST", path, withParameters(`,"id":"x"`)) }
	long := func(n int) func(q *Question) {
		return func(q *Question) {
			q.Request.Header.Set("Content-Length", strconv.Itoa(len(q.Request.Body)))
			q.Request.Body = q.Request.Body[:n]
		}
	}
	lines := func() *Request { return signedText("POST", path, "{\r\n"+withParameters("")[1:]) }
	event := func(method, target string) *Request {
		return signedText(method, target, `{"specversion":"1.0","id":"e"}`)
	}
	hook := func(members string) *Request {
		return signedText("POST", "/webhooks", `{"timestamp":"1800000000","action":"a","resource":{}`+members+`}`)
	}
	notation := func(write func(sum []byte) string) func(q *Question) {
		return func(q *Question) {
			sum, err := hex.DecodeString(q.Request.Header.Get("X-Signature"))
			if err != nil {
				t.Error(err)
			}
			q.Request.Header.Set("X-Signature", write(sum))
		}
	}
	inBase64 := notation(base64.StdEncoding.EncodeToString)
	inCapitals := notation(func(sum []byte) string { return strings.ToUpper(hex.EncodeToString(sum)) })
	for _, c := range []struct {
		name    string
		request *Request
		change  func(q *Question)
		verdict Verdict
		want    string
		never   []string // no finding has it
	}{
		{"right", post(), nil, Accepted, "The signature is right", []string{"refuses"}},

		// The capture differs from the request.
		{"a newline", post(), func(q *Question) { q.Request.Body = append(q.Request.Body, "\r\n"...) }, Changed, "The signature fits the body without the newline at its end, which the capture has added.", nil},
		{"a newline more than Content-Length", post(), func(q *Question) { long(len(q.Request.Body))(q); q.Request.Body = append(q.Request.Body, '\n') }, Changed, "which the capture has added", nil},
		{"the newline was sent", post(), func(q *Question) {
			q.Request.Body = append(q.Request.Body, '\n')
			long(len(q.Request.Body))(q)
		}, Refused, "so it was sent with the newline. Sign the bytes that are sent.", []string{"the capture has added"}},
		{"CRLF became LF", lines(), func(q *Question) { q.Request.Body = bytes.ReplaceAll(q.Request.Body, []byte("\r"), nil) }, Changed, `with "\r\n" for each newline, which the capture has changed`, nil},
		{"LF became CRLF", signedText("POST", path, "{\n"+withParameters("")[1:]), func(q *Question) { q.Request.Body = bytes.ReplaceAll(q.Request.Body, []byte("\n"), []byte("\r\n")) }, Changed, `with "\n" for each "\r\n"`, nil},
		{"a newline is lost", signedText("POST", path, withParameters("")+"\n"), func(q *Question) { long(len(q.Request.Body) - 1)(q) }, Changed, "which the capture has removed", nil},
		{"a newline, and another base URL", post(), func(q *Question) {
			q.Request.Body = append(q.Request.Body, '\n')
			q.BaseURL = "https://elsewhere.example"
		}, Refused, "the base URL is for https://elsewhere.example", nil},
		{"a newline, and no nonce", signedText("POST", path, `{"timestamp":1800000000,"url":"https://logjam.io/flyio/extensions"}`), func(q *Question) { q.Request.Body = append(q.Request.Body, '\n') }, Refused, `no parameter "nonce"`, nil},

		// The capture lacks the body.
		{"no body", post(), long(0), Unknown, "Cannot be judged: the capture has no body; pass it with --body. curl -v shows no body.", []string{"parameter", "secret", "clock", "known reading"}},
		{"no body, and no Content-Length", post(), func(q *Question) { q.Request.Body = nil }, Unknown, "the capture has no body", []string{"parameter", "secret"}},
		{"no body, to compare", post(), func(q *Question) { long(0)(q); q.Pasted = []byte("x") }, Unknown, "Your text cannot be compared", nil},
		{"a part of the body", post(), long(20), Unknown, "the capture has 20 of the 88 bytes of the body. For the whole body: pass it with --body.", []string{"parameter", "secret"}},
		{"an empty body", signedText("POST", path, ""), func(q *Question) { q.Request.Header.Set("Content-Length", "0") }, Refused, `no parameter "url"`, nil},
		{"an empty body, another secret", signedText("POST", path, ""), func(q *Question) { q.Request.Header.Set("Content-Length", "0"); q.Secret = "another" }, Refused, "Either the secret differs", nil},

		// What the library refuses.
		{"no nonce", signedText("POST", path, `{"timestamp":1800000000,"url":"https://logjam.io/flyio/extensions"}`), nil, Refused, `The signed content has no parameter "nonce".`, nil},
		{"a nonce that is a number", signedText("POST", path, `{"timestamp":1800000000,"nonce":5,"url":"https://logjam.io/flyio/extensions"}`), nil, Refused, `no parameter "nonce"`, nil},
		{"GET without a nonce", signedText("GET", path+"/x?timestamp=1800000000&url="+url.QueryEscape(base+"/extensions/x"), ""), nil, Refused, `no parameter "nonce"`, nil},
		{"GET with a body", signedText("GET", query("a=b"), "{}"), nil, Refused, "The signature of a GET does not cover the body", nil},
		{"DELETE with a body that the capture lacks", signedText("DELETE", query("a=b"), ""), func(q *Question) { q.Request.Header.Set("Content-Length", "2") }, Refused, "The signature of a DELETE does not cover the body", nil},
		{"POST with a query", signedText("POST", path+"?a=b", withParameters("")), nil, Refused, "The query of the request is not signed", nil},
		{"OPTIONS", signedText("OPTIONS", path, withParameters("")), nil, Refused, "Fly.io signs no request with the method OPTIONS", nil},
		{"a brace in the query", signedText("GET", query("a={}"), ""), nil, Refused, "A provider refuses the request: x-signature: the query could be a body", nil},
		{"a repeated parameter", signedText("GET", query("nonce=m"), ""), nil, Refused, "nonce is missing, repeated or not a string", nil},
		{"a repeated member", signedText("POST", path, withParameters(`,"nonce":"m"`)), nil, Refused, "A provider refuses the request: ", nil},
		{"a signed time", signedText("POST", path, strings.Replace(withParameters(""), "1800000000", `"+1800000000"`, 1)), nil, Refused, "timestamp is missing, repeated or not a number", nil},
		{"another path", signedText("POST", path+"/", withParameters("")), nil, Refused, "/flyio/extensions is signed, and /flyio/extensions/ arrived", nil},
		{"a slash is not its escape", signedText("GET", strings.Replace(query("a=b"), "/x?", "%2Fx?", 1), ""), nil, Refused, "A proxy changed the path", nil},
		{"mixed digits", post(), notation(func(sum []byte) string { return "aF" + hex.EncodeToString(sum)[2:] }), Refused, "", nil},
		{"an event with a query", event("POST", path+"/events?a=b"), nil, Refused, "The query of the request is not signed", []string{"accepts it"}},
		{"a text with an attribute", signedText("POST", path+"/events", "text"), func(q *Question) { q.Request.Header.Set("Ce-Specversion", "1.0") }, Refused, `no parameter "url"`, nil},
		{"a webhook in base64", hook(""), inBase64, Refused, "The signature of a webhook must be in lower-case hex.", nil},

		// What the library accepts.
		{"base64", post(), inBase64, Accepted, "in base64. flyext accepts it.", []string{"program that"}},
		{"upper-case digits", post(), inCapitals, Accepted, "in upper-case hex digits. flyext accepts it.", []string{"program that"}},
		{"another case of an escape", signedText("GET", strings.Replace(path, "flyio", "fly%2fio", 1)+"/x?timestamp=1800000000&nonce=n&url="+url.QueryEscape("https://logjam.io/fly%2Fio/extensions/x"), ""), nil, Accepted, "right", []string{"changed the path"}},
		{"the default port in the base URL", post(), func(q *Question) { q.BaseURL = "https://LOGJAM.io:443/flyio" }, Accepted, "right", []string{"base URL"}},
		{"the default port in Host", post(), func(q *Question) { q.Request.Host = "logjam.io:443" }, Accepted, "right", []string{"a proxy rewrites Host"}},
		{"the default port in the signed URL", signedText("POST", path, strings.Replace(withParameters(""), "logjam.io", "logjam.io:443", 1)), nil, Accepted, "right", []string{"base URL"}},
		{"POST with the query of the signed URL", signedText("POST", path+"?a=b", strings.Replace(withParameters(""), `extensions"`, `extensions?a=b"`, 1)), nil, Accepted, "right", []string{"not signed"}},
		{"no base URL", post(), func(q *Question) { q.BaseURL = "" }, Accepted, "right", nil},
		{"HEAD", signedText("HEAD", query("a=b"), ""), nil, Accepted, "of the query", nil},
		{"a time in text", signedText("POST", path, strings.Replace(withParameters(""), "1800000000", `"1800000000"`, 1)), nil, Accepted, "right", nil},
		{"an event", event("POST", path+"/events"), nil, Accepted, "The event has no timestamp", nil},
		{"a webhook without a nonce", hook(`,"url":"https://logjam.io/webhooks"`), nil, Accepted, "right", []string{"nonce"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := Question{Request: c.request, Secret: secret, BaseURL: base, Now: now, GiveBody: "pass it with --body"}
			if c.change != nil {
				c.change(&q)
			}
			got := Explain(q)
			text := strings.Join(got.Findings, "\n")
			if got.Verdict != c.verdict || !strings.Contains(text, c.want) {
				t.Errorf("%s, want %s and %q:\n%s", got.Verdict, c.verdict, c.want, text)
			}
			for _, never := range c.never {
				if strings.Contains(text, never) {
					t.Errorf("%q is in:\n%s", never, text)
				}
			}
			if got.Verdict == Unknown && (got.Base != nil || got.Expected != "") {
				t.Errorf("the signed bytes are %q and the right signature is %q, want neither", got.Base, got.Expected)
			}
		})
	}
}

// TestMessageSignatureVerdict: the MAC of a message signature does not depend on the
// body, so a body that is missing or wrong is kept apart from the secret.
func TestMessageSignatureVerdict(t *testing.T) {
	t.Parallel()
	const wrong = `{"id":"y","name":"ü"}`
	noBody := func(q *Question) { q.Request.Body = nil }
	// The draft-cavage signature covers only the length of the body.
	byLength := map[string]bool{"no body": true, "a part of the body": true, "another body": true}
	for _, format := range []string{formatRFC9421, formatCavage} {
		for _, c := range []struct {
			name    string
			change  func(q *Question)
			verdict Verdict
			want    string
			never   string
		}{
			{"right", func(*Question) {}, Accepted, "The signature is right.", "MAC"},
			{"no body", noBody, Unknown, "The MAC is right, so the secret is right.\nCannot be judged: the capture has no body; pass it with --body. curl -v shows no body.", "the secret differs"},
			{"a part of the body", func(q *Question) { q.Request.Body = q.Request.Body[:5] }, Unknown, "The MAC is right, so the secret is right.\nCannot be judged: the capture has 5 of the 22 bytes of the body. For the whole body: pass it with --body.", "the secret differs"},
			{"no body, another secret", func(q *Question) { noBody(q); q.Secret = "another" }, Refused, "Either the secret differs", "The MAC is right"},
			{"no body, white space", func(q *Question) { noBody(q); q.Secret = " " + secret }, Refused, "The signature fits the secret without the white space", "the secret differs"},
			{"another body", func(q *Question) { q.Request.Body = []byte(wrong) }, Refused, "The MAC is right, so the secret is right. The body differs from the signed digest", "the secret differs"},
			{"an empty body", func(q *Question) { noBody(q); q.Request.Header.Set("Content-Length", "0") }, Refused, "", "Cannot be judged"},
			{"a newline of the capture", func(q *Question) { q.Request.Body = append(q.Request.Body, '\n') }, Changed, "which the capture has added", "does not verify"},
			{"a newline of the capture, too old", func(q *Question) {
				q.Request.Body = append(q.Request.Body, '\n')
				q.Now = now.AddDate(1, 0, 0)
			}, Refused, "which the capture has added.\nThe signature does not verify: ", "the secret differs"},
		} {
			t.Run(format+", "+c.name, func(t *testing.T) {
				t.Parallel()
				verdict, want := c.verdict, c.want
				if only := byLength[c.name]; only && format == formatCavage {
					verdict, want = Accepted, "The signature is right."
				}
				r, _, _ := signedMessage(t, format)
				q := Question{Request: r, Secret: secret, BaseURL: base, Now: now, GiveBody: "pass it with --body"}
				c.change(&q)
				got := Explain(q)
				text := strings.Join(got.Findings, "\n")
				if got.Verdict != verdict || !strings.Contains(text, want) || strings.Contains(text, c.never) {
					t.Errorf("%s, want %s, %q and not %q:\n%s", got.Verdict, verdict, want, c.never, text)
				}
			})
		}
	}
	t.Run("no body and no Content-Length", func(t *testing.T) {
		t.Parallel()
		r := signed(t, http.MethodPost, "/extensions", `{"id":"x"}`, flytest.RFC9421Options{
			Components: []string{"@method", "@target-uri", "content-digest"},
		}.RFC9421(flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}))
		r.Body = nil
		if got := Explain(Question{Request: r, Secret: secret, BaseURL: base, Now: now}); got.Verdict != Unknown {
			t.Errorf("%s:\n%s", got.Verdict, strings.Join(got.Findings, "\n"))
		}
	})
}
