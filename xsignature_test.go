package flyext_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	xMissing  = "no X-Signature header"
	xTwice    = "more than one X-Signature header"
	xEncoding = "neither hex nor base64 of 32 bytes"
	xContent  = "the query could be a body"
	xMismatch = "x-signature: MAC does not match"
	xMethod   = "Fly.io signs no request with this method"
	xUnsigned = "a query or a body that the MAC does not cover"
	xTime     = "timestamp is missing, repeated or not a number"
	xNonce    = "nonce is missing, repeated or not a string"
	xURL      = "message was signed for another URL"

	extensionPath = "/flyio/extensions/x1"
)

// xBody returns a signed POST with that body.
func xBody(body string) *wireRequest {
	w := newPost()
	w.body = body
	return w.xSignature()
}

// xURLOf returns a signed POST whose url parameter is that URL.
func xURLOf(url string) *wireRequest {
	return xBody(strings.Replace(signingBody, "https://logjam.test/flyio/extensions", url, 1))
}

func xQuery(target string) *wireRequest { return newGet(target).xSignature() }

// recode sets the X-Signature of a request to an encoding of its MAC.
func recode(w *wireRequest, encode func(mac []byte) string) *wireRequest {
	return w.set("X-Signature", encode(w.mac(w.body)))
}

func TestXSignaturePolicy(t *testing.T) {
	t.Parallel()
	query := signedQuery(extensionPath)
	setMethod := func(m string) func(*wireRequest) { return func(w *wireRequest) { w.method = m } }
	runVerdicts(t, []verdict{
		{name: "POST", request: newPost().xSignature()},
		{name: "GET", request: xQuery(query)},
		{name: "DELETE", request: newGet(query).tampered(setMethod("DELETE")).xSignature()},
		{name: "HEAD", request: xQuery(query).tampered(setMethod("HEAD"))},
		{name: "timestamp as a string", request: xBody(strings.Replace(signingBody, "1700000000", `"1700000000"`, 1))},
		{name: "hex in upper case", request: recode(newPost(), func(m []byte) string { return fmt.Sprintf("%X", m) })},
		{name: "base64", request: recode(newPost(), base64.StdEncoding.EncodeToString)},

		{name: "no header", request: newPost(), want: xMissing},
		{name: "header twice", request: newPost().xSignature().tampered(func(w *wireRequest) {
			w.header.Add("X-Signature", w.header.Get("X-Signature"))
		}), want: xTwice},
		{name: "empty", request: newPost().set("X-Signature", ""), want: xEncoding},
		{name: "half the MAC", request: recode(newPost(), func(m []byte) string { return fmt.Sprintf("%x", m[:16]) }), want: xEncoding},
		{name: "the MAC and a byte", request: recode(newPost(), func(m []byte) string { return fmt.Sprintf("%x00", m) }), want: xEncoding},
		{name: "hex in both cases", request: recode(newPost(), func(m []byte) string {
			return fmt.Sprintf("%x", m[:16]) + strings.ToUpper(fmt.Sprintf("%x", m[16:]))
		}), want: xEncoding},
		{name: "64 characters that are not hex", request: newPost().set("X-Signature", strings.Repeat("g", 64)), want: xEncoding},
		{name: "44 characters that are not base64", request: newPost().set("X-Signature", strings.Repeat("!", 44)), want: xEncoding},
		{name: "base64 of 31 bytes", request: recode(newPost(), func(m []byte) string {
			return base64.StdEncoding.EncodeToString(m[:31])
		}), want: xEncoding},
		{name: "base64 of 33 bytes", request: recode(newPost(), func(m []byte) string {
			return base64.StdEncoding.EncodeToString(append(m, 0))
		}), want: xEncoding},
		{name: "base64 with other spare bits", request: recode(newPost(), func(m []byte) string {
			text := []byte(base64.StdEncoding.EncodeToString(m))
			text[42]++
			return string(text)
		}), want: xEncoding},
		{name: "wrong secret", request: newPost().signedWith("other").xSignature(), want: xMismatch},
		{name: "all zero", request: newPost().set("X-Signature", strings.Repeat("0", 64)), want: xMismatch},
		{name: "body exchanged", request: newPost().xSignature().tampered(exchangeBody), want: xMismatch},
		{name: "query exchanged", request: xQuery(query).tampered(func(w *wireRequest) { w.target += "&a=b" }), want: xMismatch},
		{name: "POST made a GET", request: newPost().xSignature().tampered(setMethod("GET")), want: xMismatch},
		{name: "an unknown method", request: newPost().xSignature().tampered(setMethod("BREW")), want: xMethod},
		{name: "a method in lower case", request: newPost().xSignature().tampered(setMethod("post")), want: xMethod},
		{name: "GET made a DELETE: only the nonce prevents it", request: xQuery(query).tampered(setMethod("DELETE"))},

		{name: "as old as allowed", request: newPost().xSignature(), after: 5 * time.Minute},
		{name: "stale", request: newPost().xSignature(), after: 5*time.Minute + time.Second, want: tooOld},
		{name: "stale GET", request: xQuery(query), after: 5*time.Minute + time.Second, want: tooOld},
		{name: "as far ahead as allowed", request: newPost().xSignature(), after: -time.Minute},
		{name: "future", request: newPost().xSignature(), after: -time.Minute - time.Second, want: fromTheFuture},
		{name: "own MaxAge", request: newPost().xSignature(), policy: flyext.Policy{MaxAge: time.Second}, after: 2 * time.Second, want: tooOld},
		{name: "own ClockSkew", request: newPost().xSignature(), policy: flyext.Policy{ClockSkew: time.Second}, after: -2 * time.Second, want: fromTheFuture},
		{name: "no timestamp", request: xBody(strings.Replace(signingBody, "timestamp", "time", 1)), want: xTime},
		{name: "timestamp null", request: xBody(strings.Replace(signingBody, "1700000000", "null", 1)), want: xTime},
		{name: "timestamp empty", request: xBody(strings.Replace(signingBody, "1700000000", `""`, 1)), want: xTime},
		{name: "timestamp with a fraction", request: xBody(strings.Replace(signingBody, "1700000000", "1700000000.5", 1)), want: xTime},
		{name: "timestamp with an exponent", request: xBody(strings.Replace(signingBody, "1700000000", "17e8", 1)), want: xTime},
		{name: "timestamp negative", request: xBody(strings.Replace(signingBody, "1700000000", "-1700000000", 1)), want: xTime},
		{name: "timestamp with a colon for a digit", request: xBody(strings.Replace(signingBody, "1700000000", `"170000000:"`, 1)), want: xTime},
		{name: "timestamp with a slash for a digit", request: xBody(strings.Replace(signingBody, "1700000000", `"170000000/"`, 1)), want: xTime},
		{name: "timestamp of 15 digits", request: xBody(strings.Replace(signingBody, "1700000000", "999999999999999", 1)), want: fromTheFuture},
		{name: "timestamp of 16 digits as a string", request: xBody(strings.Replace(signingBody, "1700000000", `"0000001700000000"`, 1)), want: xTime},
		{name: "timestamp past 64 bits", request: xBody(strings.Replace(signingBody, "1700000000", "18446744075409551616", 1)), want: xTime},
		{name: "timestamp twice in a query", request: xQuery(query + "&timestamp=1700000000"), want: xTime},
		{name: "query that does not parse", request: xQuery(query + "&a=%zz"), want: xTime},
		{name: "no nonce", request: xBody(strings.Replace(signingBody, "nonce", "once", 1)), want: xNonce},
		{name: "empty nonce", request: xBody(strings.Replace(signingBody, "n1", "", 1)), want: xNonce},
		{name: "nonce a number", request: xBody(strings.Replace(signingBody, `"n1"`, "1", 1)), want: xNonce},
		{name: "nonce twice in a query", request: xQuery(query + "&nonce=n2"), want: xNonce},
		{name: "nonce of 1 KiB", request: xBody(strings.Replace(signingBody, "n1", strings.Repeat("n", 1024), 1))},
		{name: "nonce of more than 1 KiB", request: xBody(strings.Replace(signingBody, "n1", strings.Repeat("n", 1025), 1)), want: xNonce},

		// The URL: a request to one provider or extension is refused for another.
		{name: "no url", request: xBody(strings.Replace(signingBody, `"url"`, `"uri"`, 1)), want: xURL},
		{name: "url twice in a query", request: xQuery(query + "&url=x"), want: xURL},
		{name: "url that does not parse", request: xURLOf("https://logjam.test:x/"), want: xURL},
		{name: "another scheme", request: xURLOf("http://logjam.test/flyio/extensions"), want: xURL},
		{name: "another host", request: xURLOf("https://other.test/flyio/extensions"), want: xURL},
		{name: "another port", request: xURLOf("https://logjam.test:8443/flyio/extensions"), want: xURL},
		{name: "another path", request: xURLOf("https://logjam.test/flyio/extensions/x2"), want: xURL},
		{name: "path in another case", request: xURLOf("https://logjam.test/flyio/Extensions"), want: xURL},
		{name: "path with a trailing slash", request: xURLOf("https://logjam.test/flyio/extensions/"), want: xURL},
		{name: "user in front of the host", request: xURLOf("https://logjam.test@logjam.test/flyio/extensions"), want: xURL},
		{name: "opaque url", request: xURLOf("https:logjam.test/flyio/extensions"), want: xURL},
		{name: "an empty host", request: xURLOf("https:///flyio/extensions"), want: xURL},
		{name: "no colon and slashes", request: xURLOf("httpslogjam.test/flyio/extensions"), want: xURL},
		{name: "no scheme", request: xURLOf("://logjam.test/flyio/extensions"), want: xURL},
		{name: "a host with the right prefix", request: xURLOf("https://logjam.test.evil.test/flyio/extensions"), want: xURL},
		{name: "a scheme with the right prefix", request: xURLOf("httpss://logjam.test/flyio/extensions"), want: xURL},
		{name: "no host", request: xURLOf("/flyio/extensions"), want: xURL},
		{name: "GET for another extension", request: xQuery(query).tampered(func(w *wireRequest) {
			w.target = strings.Replace(w.target, "/x1?", "/x2?", 1)
		}), want: xURL},
		{name: "GET of a path below the url", request: xQuery(signedQuery("/flyio/extensions")).tampered(func(w *wireRequest) {
			w.target = strings.Replace(w.target, "?", "/x2?", 1)
		}), want: xURL},
		{name: "broken escape where the url ends", request: xQuery(signedQuery("/flyio/extensions/")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/?", "/%zz?", 1) }), want: xURL},
		{name: "default port", request: xURLOf("https://logjam.test:443/flyio/extensions")},
		{name: "scheme and host in another case", request: xURLOf("HTTPS://LogJam.test/flyio/extensions")},
		{name: "escaped id in the other case of hex", request: xQuery(signedQuery("/flyio/extensions/a%2fb")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a%2fb", "/a%2Fb", 1) })},
		{name: "escaped slash made a slash", request: xQuery(signedQuery("/flyio/extensions/a%2Fb")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a%2Fb", "/a/b", 1) }), want: xURL},
		{name: "broken escape in the path", request: xQuery(signedQuery("/flyio/extensions/a")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a?", "/%zz?", 1) }), want: xURL},

		// Parts that the MAC does not cover.
		{name: "body on a GET", request: xQuery(query).tampered(func(w *wireRequest) { w.body = "{}" }), want: xUnsigned},
		{name: "a body of one byte on a GET", request: xQuery(query).tampered(func(w *wireRequest) { w.body = "0" }), want: xUnsigned},
		{name: "query on a POST", request: newPost().xSignature().tampered(func(w *wireRequest) { w.target += "?a=b" }), want: xUnsigned},
		{name: "query on a POST that its url has too", request: func() *wireRequest {
			w := xURLOf("https://logjam.test/flyio/extensions?a=b")
			w.target += "?a=b"
			return w
		}()},
		{name: "no query on a POST whose url has one", request: xURLOf("https://logjam.test/flyio/extensions?a=b")},
		{name: "another query on a POST", request: func() *wireRequest {
			w := xURLOf("https://logjam.test/flyio/extensions?a=b")
			w.target += "?a=c"
			return w
		}(), want: xUnsigned},
		{name: "body on a GET, coverage skipped", request: xQuery(query).tampered(func(w *wireRequest) { w.body = "{}" }),
			policy: flyext.Policy{InsecureSkipCoverage: true}},
	}, func(p flyext.Policy) flyext.Verifier { return p.XSignature(signingSecret) })
}

// A query with a character that every URL escapes could be a body or the signature base
// of another format. It is refused even with the right MAC.
func TestXSignatureOfNoQuery(t *testing.T) {
	t.Parallel()
	v := flyext.XSignature(signingSecret)
	for c, want := range map[string]string{
		"!": "", "|": "", "%22": "", "\u00e9": "", "{": xContent, `"`: xContent, " ": xContent, "\n": xContent, "\x00": xContent, "\x7f": xContent,
	} {
		w := xQuery(signedQuery(extensionPath) + "&a=" + c)
		wantRefusal(t, newAuthenticator(t, v, 0).Check(w.request(t)), want)
	}
}

// A body with the right MAC that is not a JSON object gets 400 instead of 401,
// because its sender knows the secret.
func TestXSignatureMalformedBody(t *testing.T) {
	t.Parallel()
	auth := newAuthenticator(t, flyext.AnyOf(flyext.XSignature(signingSecret), flyext.BearerToken("t")), 0)
	for _, body := range []string{"", "[]", "{", strings.Replace(signingBody, `"x1"`, `"x1","nonce":"n2"`, 1)} {
		e, ok := errors.AsType[*flyext.Error](auth.Check(xBody(body).request(t)))
		if !ok || e.Status != http.StatusBadRequest || e.Code != flyext.CodeMalformedBody {
			t.Errorf("%q: got %v, want 400", body, e)
		}
		wantRefusal(t, auth.Check(xBody(body).tampered(func(w *wireRequest) { w.body += " " }).request(t)), xMismatch)
	}
}

func TestXSignatureRotation(t *testing.T) {
	t.Parallel()
	v := flyext.XSignature("new", "old")
	for _, c := range []verdict{
		{name: "new", request: newPost().signedWith("new").xSignature()},
		{name: "old", request: newPost().signedWith("old").xSignature()},
		{name: "neither", request: newPost().signedWith("older").xSignature(), want: xMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, v)
		})
	}
}
