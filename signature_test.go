package flyext_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
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
	bHeader   = "missing or repeated Authorization: Bearer header"
	bMismatch = "bearer token: does not match"

	extensionPath = "/flyio/extensions/x1"
)

// xBody signs a POST of that body.
func xBody(body string) *wireRequest {
	w := newPost()
	w.body = body
	return w.xSignature()
}

// xURLOf signs a POST that says that it is meant for that URL.
func xURLOf(url string) *wireRequest {
	return xBody(strings.Replace(signingBody, "https://logjam.test/flyio/extensions", url, 1))
}

func xQuery(target string) *wireRequest { return newGet(target).xSignature() }

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
		{name: "the MAC and more", request: recode(newPost(), func(m []byte) string { return fmt.Sprintf("%x00", m) }), want: xEncoding},
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
		{name: "a method of nobody's", request: newPost().xSignature().tampered(setMethod("BREW")), want: xMethod},
		{name: "a method in lower case", request: newPost().xSignature().tampered(setMethod("post")), want: xMethod},
		{name: "GET made a DELETE: only the nonce tells them apart", request: xQuery(query).tampered(setMethod("DELETE"))},

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
		{name: "nonce of more", request: xBody(strings.Replace(signingBody, "n1", strings.Repeat("n", 1025), 1)), want: xNonce},

		// The URL: a request to one provider, or for one extension, is no other's.
		{name: "no url", request: xBody(strings.Replace(signingBody, `"url"`, `"uri"`, 1)), want: xURL},
		{name: "url twice in a query", request: xQuery(query + "&url=x"), want: xURL},
		{name: "url that does not parse", request: xURLOf("https://logjam.test:x/"), want: xURL},
		{name: "another scheme", request: xURLOf("http://logjam.test/flyio/extensions"), want: xURL},
		{name: "another host", request: xURLOf("https://other.test/flyio/extensions"), want: xURL},
		{name: "another port", request: xURLOf("https://logjam.test:8443/flyio/extensions"), want: xURL},
		{name: "another path", request: xURLOf("https://logjam.test/flyio/extensions/x2"), want: xURL},
		{name: "path in another case", request: xURLOf("https://logjam.test/flyio/Extensions"), want: xURL},
		{name: "path with a slash behind", request: xURLOf("https://logjam.test/flyio/extensions/"), want: xURL},
		{name: "host of a user", request: xURLOf("https://logjam.test@logjam.test/flyio/extensions"), want: xURL},
		{name: "opaque url", request: xURLOf("https:logjam.test/flyio/extensions"), want: xURL},
		{name: "an empty host", request: xURLOf("https:///flyio/extensions"), want: xURL},
		{name: "no colon and slashes", request: xURLOf("httpslogjam.test/flyio/extensions"), want: xURL},
		{name: "no scheme", request: xURLOf("://logjam.test/flyio/extensions"), want: xURL},
		{name: "a host that goes on", request: xURLOf("https://logjam.test.evil.test/flyio/extensions"), want: xURL},
		{name: "a scheme that goes on", request: xURLOf("httpss://logjam.test/flyio/extensions"), want: xURL},
		{name: "no host", request: xURLOf("/flyio/extensions"), want: xURL},
		{name: "GET for another extension", request: xQuery(query).tampered(func(w *wireRequest) {
			w.target = strings.Replace(w.target, "/x1?", "/x2?", 1)
		}), want: xURL},
		{name: "GET of what is below the url", request: xQuery(signedQuery("/flyio/extensions")).tampered(func(w *wireRequest) {
			w.target = strings.Replace(w.target, "?", "/x2?", 1)
		}), want: xURL},
		{name: "broken escape where the url has nothing", request: xQuery(signedQuery("/flyio/extensions/")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/?", "/%zz?", 1) }), want: xURL},
		{name: "default port", request: xURLOf("https://logjam.test:443/flyio/extensions")},
		{name: "scheme and host in another case", request: xURLOf("HTTPS://LogJam.test/flyio/extensions")},
		{name: "escaped id in the other case of hex", request: xQuery(signedQuery("/flyio/extensions/a%2fb")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a%2fb", "/a%2Fb", 1) })},
		{name: "escaped slash made a slash", request: xQuery(signedQuery("/flyio/extensions/a%2Fb")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a%2Fb", "/a/b", 1) }), want: xURL},
		{name: "broken escape in the path", request: xQuery(signedQuery("/flyio/extensions/a")).
			tampered(func(w *wireRequest) { w.target = strings.Replace(w.target, "/a?", "/%zz?", 1) }), want: xURL},

		// What the MAC does not reach.
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

// What no URL has unescaped may be a body's or another format's base: that its
// MAC is right says nothing.
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

// A genuine body that is no JSON object is told so: its sender knows the secret.
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

func TestBearerToken(t *testing.T) {
	t.Parallel()
	v := flyext.BearerToken("new", "old")
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"new", []string{"Bearer new"}, ""},
		{"old", []string{"Bearer old"}, ""},
		{"scheme in another case", []string{"bEARER old"}, ""},
		{"beside another scheme", []string{"Signature keyId=x", "Bearer old"}, ""},
		{"none", nil, bHeader},
		{"another scheme", []string{"Basic new"}, bHeader},
		{"no scheme", []string{"new"}, bHeader},
		{"scheme alone", []string{"Bearer"}, bHeader},
		{"twice", []string{"Bearer new", "Bearer new"}, bHeader},
		{"wrong", []string{"Bearer other"}, bMismatch},
		{"empty", []string{"Bearer "}, bMismatch},
		{"start of it", []string{"Bearer ne"}, bMismatch},
		{"more of it", []string{"Bearer new1"}, bMismatch},
		{"both in one", []string{"Bearer new, old"}, bMismatch},
		{"in another case", []string{"Bearer NEW"}, bMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, newAuthenticator(t, v, 0).Check(newPost().set("Authorization", c.lines...).request(t)), c.want)
		})
	}
}

// A service may verify a message that it made itself.
func TestVerifyMessageMadeByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verifier flyext.Verifier
		request  *wireRequest
	}{
		"X-Signature":       {flyext.XSignature(signingSecret), newPost().xSignature()},
		"message signature": {flyext.MessageSignature(signingKey), newPost().rfc9421()},
	} {
		base, err := url.Parse(signingBase)
		if err != nil {
			t.Fatal(err)
		}
		m := &flyext.Message{
			Method: c.request.method, Target: c.request.target, Host: c.request.host, Header: c.request.header, Body: []byte(c.request.body),
			BaseURL: base, Now: time.Unix(signingTime, 0),
		}
		for range 2 { // verifying uses nothing up
			if v, err := c.verifier.Verify(t.Context(), m); err != nil || len(v.Nonces) != 1 {
				t.Errorf("%s: got %+v, %v", name, v, err)
			}
		}
	}
}

// The generation decides the shape of the answer.
func TestGenerations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verifier flyext.Verifier
		request  *wireRequest
		want     flyext.Generation
	}{
		"X-Signature":       {flyext.XSignature(signingSecret), newPost().xSignature(), flyext.Generation2},
		"message signature": {flyext.MessageSignature(signingKey), newPost().rfc9421(), flyext.Generation1},
		"bearer token":      {flyext.BearerToken("t"), newPost().set("Authorization", "Bearer t"), flyext.Generation1},
	} {
		if v, err := c.verifier.Verify(t.Context(), c.request.message(t)); err != nil || v.Generation != c.want {
			t.Errorf("%s: got %+v, %v", name, v, err)
		}
	}
}

// A scripted verifier returns what a test says.
type scripted struct {
	verification flyext.Verification
	err          error
}

func (s scripted) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return s.verification, s.err
}

func nonces(keys ...byte) (list []flyext.Nonce) {
	for _, k := range keys {
		list = append(list, flyext.Nonce{Key: [16]byte{k}, Expires: time.Unix(signingTime+int64(k), 0)})
	}
	return list
}

func TestGroups(t *testing.T) {
	t.Parallel()
	later := nonces(1)
	later[0].Expires = later[0].Expires.Add(time.Hour)
	one := scripted{verification: flyext.Verification{Generation: flyext.Generation1, Nonces: nonces(1)}}
	two := scripted{verification: flyext.Verification{Generation: flyext.Generation2, Nonces: nonces(2, 3)}}
	longer := scripted{verification: flyext.Verification{Nonces: later}}
	no, nor := scripted{err: errors.New("no")}, scripted{err: errors.New("nor")}
	for _, c := range []struct {
		name       string
		verifier   flyext.Verifier
		generation flyext.Generation
		nonces     []flyext.Nonce
		errs       []string
	}{
		{"all", flyext.AllOf(one, two), 2, nonces(1, 2, 3), nil},
		{"all, the highest generation first", flyext.AllOf(two, one), 2, nonces(2, 3, 1), nil},
		{"all, a shared nonce counts once and lives longest", flyext.AllOf(one, longer, one), 1, later, nil},
		{"all but the first", flyext.AllOf(no, one), 0, nil, []string{"no"}},
		{"all but the last", flyext.AllOf(one, two, no), 0, nil, []string{"no"}},
		{"any, the first decides", flyext.AnyOf(one, two), 1, nonces(1, 2, 3), nil},
		{"any, the first decides though the second is lower", flyext.AnyOf(two, one), 2, nonces(2, 3, 1), nil},
		{"any, a shared nonce counts once", flyext.AnyOf(one, one), 1, nonces(1), nil},
		{"any, the first says no", flyext.AnyOf(no, two), 2, nonces(2, 3), nil},
		{"any, the last says no", flyext.AnyOf(two, no), 2, nonces(2, 3), nil},
		{"any of none", flyext.AnyOf(no, nor), 0, nil, []string{"no", "nor"}},
		{"any of all", flyext.AnyOf(flyext.AllOf(one, no), flyext.AllOf(two)), 2, nonces(2, 3), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := c.verifier.Verify(t.Context(), &flyext.Message{})
			if v.Generation != c.generation || !slices.Equal(v.Nonces, c.nonces) {
				t.Errorf("got %+v, want generation %d, nonces %v", v, c.generation, c.nonces)
			}
			if (err == nil) != (c.errs == nil) || err != nil && err.Error() != strings.Join(c.errs, "\n") {
				t.Errorf("got error %v, want %v", err, c.errs)
			}
		})
	}
}

// A verifier that would verify what anybody signs is refused when it is built,
// and where it is used without that, verifies nothing.
func TestVerifierMistakes(t *testing.T) {
	t.Parallel()
	var none flyext.Verifier
	good := flyext.BearerToken("t")
	for name, v := range map[string]flyext.Verifier{
		"no X-Signature secret":        flyext.XSignature(),
		"empty X-Signature secret":     flyext.XSignature(""),
		"one empty X-Signature secret": flyext.XSignature("good", ""),
		"no message signature key":     flyext.MessageSignature(),
		"key without secret":           flyext.MessageSignature(flyext.Key{ID: "k"}),
		"key without id":               flyext.MessageSignature(flyext.Key{Secret: "s"}),
		"one key without secret":       flyext.MessageSignature(signingKey, flyext.Key{ID: "k"}),
		"no token":                     flyext.BearerToken(),
		"empty token":                  flyext.BearerToken(""),
		"one empty token":              flyext.BearerToken("t", ""),
		"token with a space":           flyext.BearerToken(" t"),
		"all of nothing":               flyext.AllOf(),
		"any of nothing":               flyext.AnyOf(),
		"all of nil":                   flyext.AllOf(good, none),
		"any of nil":                   flyext.AnyOf(none, good),
		"any of all of nothing":        flyext.AnyOf(good, flyext.AllOf()),
		"all of an empty secret":       flyext.AllOf(flyext.XSignature(""), good),
		"negative MaxAge":              flyext.Policy{MaxAge: -1}.XSignature("s"),
		"negative ClockSkew":           flyext.Policy{ClockSkew: -1}.MessageSignature(signingKey),
		"component in upper case":      flyext.Policy{RequireComponents: []string{"Host"}}.MessageSignature(signingKey),
		"component without name":       flyext.Policy{RequireComponents: []string{""}}.MessageSignature(signingKey),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := flyext.Config{BaseURL: signingBase, Verifier: v}
			if a, err := flyext.NewAuthenticator(config); err == nil || a != nil {
				t.Errorf("NewAuthenticator took it")
			}
			m := &flyext.Message{Method: "GET", Header: http.Header{"Authorization": {"Bearer "}, "X-Signature": {""}}}
			if got, err := v.Verify(t.Context(), m); err == nil || got.Generation != 0 || len(got.Nonces) > 0 {
				t.Errorf("Verify says %+v, %v", got, err)
			}
		})
	}
	if _, err := flyext.NewAuthenticator(flyext.Config{BaseURL: signingBase}); err == nil {
		t.Error("NewAuthenticator took no verifier")
	}
}

// The MAC of an empty secret is anybody's to compute.
func TestEmptySecretVerifiesNothing(t *testing.T) {
	t.Parallel()
	emptyMAC := newPost().tampered(func(w *wireRequest) { w.secret = "\x00" }) // pads to the same HMAC key as ""
	if _, err := flyext.XSignature("").Verify(t.Context(), emptyMAC.xSignature().message(t)); err == nil {
		t.Error("an empty secret verified")
	}
}

func (w *wireRequest) message(t *testing.T) *flyext.Message {
	t.Helper()
	var seen *flyext.Message
	spy := verifierFunc(func(m *flyext.Message) { seen = m })
	if err := newAuthenticator(t, spy, 0).Check(w.request(t)); err != nil {
		t.Fatal(err)
	}
	return seen
}

type verifierFunc func(*flyext.Message)

func (f verifierFunc) Verify(_ context.Context, m *flyext.Message) (flyext.Verification, error) {
	f(m)
	return flyext.Verification{}, nil
}

func TestVerifiersRedactThemselves(t *testing.T) {
	t.Parallel()
	const secret = "canary-4711"
	key := flyext.Key{ID: "k", Secret: secret}
	for name, v := range map[string]any{
		"XSignature":       flyext.XSignature(secret),
		"MessageSignature": flyext.MessageSignature(key),
		"BearerToken":      flyext.BearerToken(secret),
		"AllOf":            flyext.AllOf(flyext.XSignature(secret), flyext.BearerToken(secret)),
		"AnyOf":            flyext.AnyOf(flyext.XSignature(secret)),
		"Key":              key,
		"*Key":             &key,
		"[]Key":            []flyext.Key{key},
		"map of Key":       map[string]flyext.Key{"a": key},
		"struct of Key":    struct{ K flyext.Key }{key},
		"Config":           flyext.Config{BaseURL: signingBase, Verifier: flyext.XSignature(secret)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
			slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
			prints := []string{log.String()}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				prints = append(prints, fmt.Sprintf(verb, v))
			}
			if _, isConfig := v.(flyext.Config); !isConfig { // it has funcs, which JSON refuses
				text, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				prints = append(prints, string(text))
			}
			if _, ok := v.(flyext.Verifier); ok { // not the hashes of its tokens either
				for _, p := range prints[1:] {
					if strings.Trim(p, `"`) != "Verifier([redacted])" {
						t.Errorf("it prints as %s", p)
					}
				}
			}
			for _, p := range prints {
				for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret))} {
					if strings.Contains(p, form) {
						t.Errorf("the secret is in %s", p)
					}
				}
			}
		})
	}
}

// Of a key one sees which it is.
func TestKeyPrintsItsID(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: "k", Secret: "s"}
	text, err := json.Marshal(key)
	for _, got := range []string{fmt.Sprint(key), key.LogValue().String(), strings.Trim(string(text), `"`)} {
		if got != "Key(k)" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
