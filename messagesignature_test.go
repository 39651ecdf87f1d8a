package flyext_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

func messageVerifier(p flyext.Policy) flyext.Verifier { return p.MessageSignature(signingKey) }

// The logged reasons of refusals.
const (
	uncoveredTarget = "method or target is not covered"
	uncoveredBody   = "body is not covered by a digest"
	uncoveredLength = "neither content-length nor a digest is covered"
	uncoveredTime   = "no time of signing is covered"
	wrongDigest     = "the covered digest differs from the body's"
	weakDigest      = "the covered digest has no sha-256 or sha-512"
	brokenDigest    = "the covered digest is malformed"
	wrongAlgorithm  = "algorithm is not HMAC-SHA256"
	wrongMAC        = "MAC does not match"
	tooOld          = "message is too old"
	fromTheFuture   = "message is from the future"
	expired         = "the signature has expired"
	unknownKey      = "key id is not configured"
	noKeyID         = "no key id"
	missing         = "a component that the policy requires is not covered"
	unknown         = "unknown component or component parameter"
	repeated        = "a component is covered twice"
	absent          = "a covered component is absent from the request"
	labels          = "have different labels"
	syntax          = "syntax error"
	badParameter    = "signature parameter is malformed or repeated"
	badValue        = "signature value is not a byte sequence"
	twoHeaders      = "carry different signatures"
	noSignature     = "signature is missing"
	nothingCovered  = "signature covers nothing"
	queryParameter  = "a covered query parameter is absent or repeated"
	wrongLength     = "the covered Content-Length is not the body's length"
	badDate         = "the covered Date is not an HTTP date"
	fieldValue      = "a covered field has a value that cannot be signed"
	methodCase      = "the method has lower-case letters"
)

const (
	covered     = `"@method" "@target-uri" "content-digest"`
	minute      = time.Minute
	second      = time.Second
	queryTarget = "/flyio/extensions/x1?a=b"
)

func rfc(covered, params string) *wireRequest {
	return newPost().signRFC9421("sig1", covered, params)
}

func rfcGet(target, covered string) *wireRequest {
	return newGet(target).signRFC9421("sig1", covered, rfcParams(signingTime))
}

// withDigest returns a signed request with that Content-Digest.
func withDigest(field string) *wireRequest { return newPost().set("Content-Digest", field).rfc9421() }

func TestRFC9421Policy(t *testing.T) {
	t.Parallel()
	good := rfcParams(signingTime)
	md5sum := md5.Sum([]byte(signingBody))
	weak := "md5=:" + base64.StdEncoding.EncodeToString(md5sum[:]) + ":"
	is256, is512 := "sha-256=:"+sum256(signingBody)+":", "sha-512=:"+sum512(signingBody)+":"
	runVerdicts(t, []verdict{
		{name: "target-uri", request: rfc(covered, good)},
		{name: "request-target", request: rfc(`"@method" "@request-target" "content-digest"`, good)},
		{name: "path and query", request: rfcGet(queryTarget, `"@method" "@path" "@query"`)},
		{name: "only the path, no query", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`)},
		{name: "date instead of created", request: rfc(covered+` "date"`, `;keyid="`+signingKeyID+`"`)},
		{name: "no alg", request: rfc(covered, fmt.Sprintf(`;created=%d;keyid="%s"`, signingTime, signingKeyID))},

		// Coverage: in each of these an attacker could choose an uncovered part.
		{name: "method uncovered", request: rfc(`"@target-uri" "content-digest"`, good), want: uncoveredTarget},
		{name: "target uncovered", request: rfc(`"@method" "@authority" "content-digest"`, good), want: uncoveredTarget},
		{name: "query uncovered", request: rfcGet(queryTarget, `"@method" "@path"`), want: uncoveredTarget},
		{name: "query added to a covered path", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`).
			tampered(func(w *wireRequest) { w.target += "?a=b" }), want: uncoveredTarget},
		{name: "path uncovered", request: rfcGet(queryTarget, `"@method" "@query"`), want: uncoveredTarget},
		{name: "one query parameter covered, the query uncovered", request: queryParam(`"@query-param";name="a"`),
			want: uncoveredTarget},
		{name: "body uncovered", request: rfc(`"@method" "@target-uri" "content-length"`, good), want: uncoveredBody},
		{name: "body added to a GET", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`).
			tampered(func(w *wireRequest) { w.body = "{}" }), want: uncoveredBody},
		{name: "a byte of a body added to a GET", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`).
			tampered(func(w *wireRequest) { w.body = "0" }), want: uncoveredBody},
		{name: "body covered on a GET", request: newGet("/flyio/extensions/x1").tampered(func(w *wireRequest) {
			w.body = "{}"
			w.setDigests()
		}).rfc9421()},
		{name: "time uncovered", request: rfc(covered, `;keyid="`+signingKeyID+`"`), want: uncoveredTime},
		{name: "expires covered, but no time of signing", request: rfc(covered,
			fmt.Sprintf(`;expires=%d;keyid="%s"`, signingTime+60, signingKeyID)), want: uncoveredTime},
		{name: "covered content-length of another body", request: newPost().set("Content-Length", "7").
			signRFC9421("sig1", covered+` "content-length"`, good), want: wrongLength},
		{name: "content-length covered", request: rfc(covered+` "content-length"`, good)},
		{name: "coverage skipped", request: newPost().signRFC9421("sig1", `"date"`, good),
			policy: flyext.Policy{InsecureSkipCoverage: true}},
		{name: "coverage skipped, MAC wrong", request: newPost().signedWith("other").signRFC9421("sig1", `"date"`, good),
			policy: flyext.Policy{InsecureSkipCoverage: true}, want: wrongMAC},
		{name: "coverage skipped, digest wrong", request: rfc(`"content-digest"`, good).
			tampered(func(w *wireRequest) { w.body = "{}" }),
			policy: flyext.Policy{InsecureSkipCoverage: true}, want: wrongDigest},
		{name: "an event without a Content-Type", request: newPost().tampered(func(w *wireRequest) { w.header.Del("Content-Type") }).
			set("Ce-Id", "e1").signRFC9421("sig1", covered+` "ce-id"`, good)},
		{name: "an event of one field, with an unsigned Content-Type", request: newPost().
			set("Ce-Id", "e1").signRFC9421("sig1", covered+` "ce-id"`, good), want: "a header field of the event is not covered"},

		// Digests.
		{name: "body exchanged", request: rfc(covered, good).tampered(func(w *wireRequest) { w.body = "{}" }),
			want: wrongDigest},
		{name: "body taken away", request: rfc(covered, good).tampered(func(w *wireRequest) { w.body = "" }),
			want: wrongDigest},
		{name: "digest made anew", request: rfc(covered, good).tampered(func(w *wireRequest) {
			w.body = "{}"
			w.setDigests()
		}), want: wrongMAC},
		{name: "sha-512", request: withDigest(is512)},
		{name: "sha-512 of another body", request: withDigest("sha-512=:" + sum512("{}") + ":"), want: wrongDigest},
		{name: "both digests", request: withDigest(is256 + ", " + is512)},
		{name: "both digests over two lines", request: newPost().set("Content-Digest", is256, is512).rfc9421()},
		{name: "second digest of another body", request: withDigest(is256 + ", sha-512=:" + sum512("{}") + ":"),
			want: wrongDigest},
		{name: "first digest of another body", request: withDigest("sha-256=:" + sum256("{}") + ":, " + is512),
			want: wrongDigest},
		{name: "md5 alone", request: withDigest(weak), want: weakDigest},
		{name: "sha-1 alone", request: withDigest("sha=:AAAA:"), want: weakDigest},
		{name: "md5 next to sha-256", request: withDigest(weak + ", " + is256)},
		{name: "empty digest", request: withDigest(""), want: weakDigest},
		{name: "digest cut short", request: withDigest("sha-256=:" + sum256(signingBody)[:8] + ":"), want: wrongDigest},
		{name: "digest as a string", request: withDigest(`sha-256="` + sum256(signingBody) + `"`), want: brokenDigest},
		{name: "digest as a list", request: withDigest("sha-256=(:" + sum256(signingBody) + ":)"), want: brokenDigest},
		{name: "digest twice", request: withDigest(is256 + ", " + is256), want: brokenDigest},
		{name: "RFC 3230 digest, as draft-05 signs", request: rfc(`"@method" "@request-target" "digest"`, good)},
		{name: "RFC 3230 sha-512", request: newPost().set("Digest", "sha-512="+sum512(signingBody)).
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good)},
		{name: "RFC 3230 sha-512 of another body", request: newPost().set("Digest", "sha-512="+sum512("{}")).
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good), want: wrongDigest},
		{name: "RFC 3230 md5 alone", request: newPost().set("Digest", "MD5="+base64.StdEncoding.EncodeToString(md5sum[:])).
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good), want: weakDigest},
		{name: "RFC 3230 digest of another body", request: newPost().set("Digest", "SHA-256="+sum256("{}")).
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good), want: wrongDigest},
		{name: "RFC 3230 digest without a value", request: newPost().set("Digest", "SHA-256").
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good), want: brokenDigest},
		{name: "RFC 3230 digest not base64", request: newPost().set("Digest", "SHA-256=!").
			signRFC9421("sig1", `"@method" "@request-target" "digest"`, good), want: brokenDigest},

		// Time, in both directions.
		{name: "as old as allowed", request: rfc(covered, good), after: 5 * minute},
		{name: "stale", request: rfc(covered, good), after: 5*minute + second, want: tooOld},
		{name: "as far ahead as allowed", request: rfc(covered, good), after: -minute},
		{name: "future", request: rfc(covered, good), after: -minute - second, want: fromTheFuture},
		{name: "next year", request: rfc(covered, rfcParams(signingTime+31_536_000)), want: fromTheFuture},
		{name: "year 30 million", request: rfc(covered, rfcParams(999_999_999_999_999)), want: fromTheFuture},
		{name: "created is negative", request: rfc(covered, rfcParams(-999_999_999_999_999)), want: tooOld},
		{name: "own MaxAge", request: rfc(covered, good), policy: flyext.Policy{MaxAge: second}, after: 2 * second, want: tooOld},
		{name: "within own MaxAge", request: rfc(covered, good), policy: flyext.Policy{MaxAge: time.Hour}, after: time.Hour},
		{name: "own ClockSkew", request: rfc(covered, good), policy: flyext.Policy{ClockSkew: second},
			after: -2 * second, want: fromTheFuture},
		{name: "within own ClockSkew", request: rfc(covered, good), policy: flyext.Policy{ClockSkew: time.Hour}, after: -time.Hour},
		{name: "stale date next to a fresh created", request: newPost().setDate(signingTime-301).
			signRFC9421("sig1", covered+` "date"`, good), want: tooOld},
		{name: "stale created next to a fresh date", request: rfc(covered+` "date"`, rfcParams(signingTime-301)), want: tooOld},
		{name: "expired", request: rfc(covered, good+fmt.Sprintf(";expires=%d", signingTime+1)), after: 62 * second, want: expired},
		{name: "expired within the skew", request: rfc(covered, good+fmt.Sprintf(";expires=%d", signingTime+1)), after: 61 * second},
		{name: "covered date malformed", request: newPost().set("Date", "yesterday").
			signRFC9421("sig1", covered+` "date"`, good), want: badDate},
		{name: "date in UTC by name", request: newPost().set("Date", "Tue, 14 Nov 2023 22:13:20 UTC").
			signRFC9421("sig1", covered+` "date"`, good)},
		{name: "date in the form of RFC 850", request: newPost().set("Date", "Tuesday, 14-Nov-23 22:13:20 GMT").
			signRFC9421("sig1", covered+` "date"`, good)},
		{name: "date in the form of asctime", request: newPost().set("Date", "Tue Nov 14 22:13:20 2023").
			signRFC9421("sig1", covered+` "date"`, good)},
		{name: "date with a numeric zone", request: newPost().set("Date", "Tue, 14 Nov 2023 22:13:20 +0000").
			signRFC9421("sig1", covered+` "date"`, good)},

		// Algorithm and key.
		{name: "hmac-sha512", request: rfc(covered, strings.Replace(good, "hmac-sha256", "hmac-sha512", 1)), want: wrongAlgorithm},
		{name: "another alg", request: rfc(covered, strings.Replace(good, "hmac-sha256", "rsa-v1_5-sha256", 1)), want: wrongAlgorithm},
		{name: "alg none", request: rfc(covered, strings.Replace(good, "hmac-sha256", "none", 1)), want: wrongAlgorithm},
		{name: "alg in upper case", request: rfc(covered, strings.Replace(good, "hmac-sha256", "HMAC-SHA256", 1)), want: wrongAlgorithm},
		{name: "hs2019, which only draft-cavage has", request: rfc(covered, strings.Replace(good, "hmac-sha256", "hs2019", 1)), want: wrongAlgorithm},
		{name: "empty alg", request: rfc(covered, strings.Replace(good, "hmac-sha256", "", 1)), want: badParameter},
		{name: "unknown key id", request: rfc(covered, strings.Replace(good, signingKeyID, "other", 1)), want: unknownKey},
		{name: "empty key id", request: rfc(covered, strings.Replace(good, signingKeyID, "", 1)), want: unknownKey},
		{name: "no key id", request: rfc(covered, fmt.Sprintf(";created=%d", signingTime))},
		{name: "no key id where one is required", request: rfc(covered, fmt.Sprintf(";created=%d", signingTime)),
			policy: flyext.Policy{RequireKeyID: true}, want: noKeyID},
		{name: "key id where one is required", request: rfc(covered, good), policy: flyext.Policy{RequireKeyID: true}},
		{name: "wrong secret", request: newPost().signedWith("other").rfc9421(), want: wrongMAC},
		{name: "no signature", request: newPost(), want: noSignature},

		// Further components.
		{name: "required and covered", request: rfc(covered+` "@authority" "content-type"`, good),
			policy: flyext.Policy{RequireComponents: []string{"@authority", "content-type"}}},
		{name: "required and uncovered", request: rfc(covered, good),
			policy: flyext.Policy{RequireComponents: []string{"@scheme"}}, want: missing + ": @scheme"},
		{name: "authority required, and in the target URI", request: rfc(covered, good),
			policy: flyext.Policy{RequireComponents: []string{"@authority"}}},
		{name: "authority required, and the Host field", request: rfc(`"@method" "@request-target" "content-digest" "host"`, good),
			policy: flyext.Policy{RequireComponents: []string{"@authority"}}},
		{name: "authority required, and not in the request target", request: rfc(`"@method" "@request-target" "content-digest"`, good),
			policy: flyext.Policy{RequireComponents: []string{"@authority"}}, want: missing + ": @authority"},
		{name: "required, covered under a parameter", request: func() *wireRequest {
			w := newPost()
			w.values = map[string]string{`content-type";bs`: ":" + base64.StdEncoding.EncodeToString([]byte("application/json")) + ":"}
			return w.signRFC9421("sig1", covered+` "content-type";bs`, good)
		}(), policy: flyext.Policy{RequireComponents: []string{"content-type"}}, want: missing},
		{name: "draft-05 query parameter off", request: queryParam(`"@query-params";name="a"`), want: unknown},
		{name: "draft-05 query parameter on, query still uncovered", request: queryParam(`"@query-params";name="a"`),
			policy: flyext.Policy{DraftQueryParams: true}, want: uncoveredTarget},
		{name: "draft-05 query parameter on", request: queryParam(`"@query-params";name="a" "@query"`),
			policy: flyext.Policy{DraftQueryParams: true}},
	}, messageVerifier)
}

// queryParam signs a GET of queryTarget and covers a component for its parameter a.
func queryParam(component string) *wireRequest {
	w := newGet(queryTarget)
	name, _, _ := strings.Cut(component, " ")
	w.values = map[string]string{strings.Trim(name, `"`): "b"}
	return w.signRFC9421("sig1", `"@method" "@path" `+component, rfcParams(signingTime))
}

func TestMessageSignatureRotation(t *testing.T) {
	t.Parallel()
	v := flyext.MessageSignature(
		flyext.Key{ID: "k", Secret: "new"}, flyext.Key{ID: "k", Secret: "old"}, flyext.Key{ID: "other", Secret: "third"})
	params := func(id string) string { return fmt.Sprintf(`;created=%d;keyid="%s"`, signingTime, id) }
	for _, c := range []verdict{
		{name: "the first of an id", request: newPost().signedWith("new").signRFC9421("s", covered, params("k"))},
		{name: "the second of an id", request: newPost().signedWith("old").signRFC9421("s", covered, params("k"))},
		{name: "another id", request: newPost().signedWith("third").signRFC9421("s", covered, params("other"))},
		{name: "no id", request: newPost().signedWith("third").signRFC9421("s", covered, fmt.Sprintf(";created=%d", signingTime))},
		{name: "a key under another's id", request: newPost().signedWith("third").signRFC9421("s", covered, params("k")), want: wrongMAC},
		{name: "a key that is not configured", request: newPost().signedWith("fourth").signRFC9421("s", covered, params("k")), want: wrongMAC},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, v)
		})
	}
}

// The only HMAC example of RFC 9421 covers neither the method, the target nor the
// body. The default policy refuses it for that.
func TestRFC9421AppendixB25(t *testing.T) {
	t.Parallel()
	secret, err := base64.StdEncoding.DecodeString(
		"uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
	if err != nil {
		t.Fatal(err)
	}
	check := func(p flyext.Policy) error {
		auth, err := flyext.NewAuthenticator(flyext.Config{
			BaseURL:  "https://example.com/foo",
			Verifier: p.MessageSignature(flyext.Key{ID: "test-shared-secret", Secret: string(secret)}),
			Now:      func() time.Time { return time.Unix(1618884473, 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		w := wireRequest{method: "POST", target: "/foo?param=Value&Pet=dog", host: "example.com", body: `{"hello": "world"}`,
			header: http.Header{
				"Date":            {"Tue, 20 Apr 2021 02:07:55 GMT"},
				"Content-Type":    {"application/json"},
				"Signature-Input": {`sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`},
				"Signature":       {"sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"},
			}}
		return auth.Check(w.request(t))
	}
	if err := check(flyext.Policy{InsecureSkipCoverage: true}); err != nil {
		t.Errorf("coverage skipped: %v", err)
	}
	wantRefusal(t, check(flyext.Policy{}), uncoveredTarget)
}

// The alg_hmac of github.com/common-fate/httpsig v0.2.1 never hashes the message: its
// signature is the base followed by HMAC(key, ""). An attacker who has seen one
// signature can append that constant to any other base.
func TestForgeryOfUnhashedHMAC(t *testing.T) {
	t.Parallel()
	h := hmac.New(sha256.New, []byte(signingSecret))
	constant := string(h.Sum(nil))
	input := "(" + covered + ")" + rfcParams(signingTime)
	w := newPost()
	base := "\"@method\": POST\n\"@target-uri\": https://logjam.test/flyio/extensions\n" +
		"\"content-digest\": " + w.header.Get("Content-Digest") + "\n\"@signature-params\": " + input
	for _, value := range []string{base + constant, constant} {
		w.set("Signature-Input", "s="+input).set("Signature", "s=:"+base64.StdEncoding.EncodeToString([]byte(value))+":")
		wantRefusal(t, newAuthenticator(t, messageVerifier(flyext.Policy{}), 0).Check(w.request(t)), wrongMAC)
	}
}
