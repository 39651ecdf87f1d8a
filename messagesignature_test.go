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

// What is logged, by the check that refused.
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
	expired         = "past its expires"
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

// withDigest signs a request whose Content-Digest is this.
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
		{name: "path alone where there is no query", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`)},
		{name: "date instead of created", request: rfc(covered+` "date"`, `;keyid="`+signingKeyID+`"`)},
		{name: "no alg", request: rfc(covered, fmt.Sprintf(`;created=%d;keyid="%s"`, signingTime, signingKeyID))},

		// Coverage: each of these leaves a stranger something to choose.
		{name: "method uncovered", request: rfc(`"@target-uri" "content-digest"`, good), want: uncoveredTarget},
		{name: "target uncovered", request: rfc(`"@method" "@authority" "content-digest"`, good), want: uncoveredTarget},
		{name: "query uncovered", request: rfcGet(queryTarget, `"@method" "@path"`), want: uncoveredTarget},
		{name: "query added to a covered path", request: rfcGet("/flyio/extensions/x1", `"@method" "@path"`).
			tampered(func(w *wireRequest) { w.target += "?a=b" }), want: uncoveredTarget},
		{name: "path uncovered", request: rfcGet(queryTarget, `"@method" "@query"`), want: uncoveredTarget},
		{name: "one query parameter is not the query", request: queryParam(`"@query-param";name="a"`),
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
		{name: "expires is no time of signing", request: rfc(covered,
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
		{name: "an event of one field, and a Content-Type that nobody signed", request: newPost().
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
		{name: "md5 beside sha-256", request: withDigest(weak + ", " + is256)},
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
		{name: "before time", request: rfc(covered, rfcParams(-999_999_999_999_999)), want: tooOld},
		{name: "own MaxAge", request: rfc(covered, good), policy: flyext.Policy{MaxAge: second}, after: 2 * second, want: tooOld},
		{name: "within own MaxAge", request: rfc(covered, good), policy: flyext.Policy{MaxAge: time.Hour}, after: time.Hour},
		{name: "own ClockSkew", request: rfc(covered, good), policy: flyext.Policy{ClockSkew: second},
			after: -2 * second, want: fromTheFuture},
		{name: "within own ClockSkew", request: rfc(covered, good), policy: flyext.Policy{ClockSkew: time.Hour}, after: -time.Hour},
		{name: "stale date beside a fresh created", request: newPost().setDate(signingTime-301).
			signRFC9421("sig1", covered+` "date"`, good), want: tooOld},
		{name: "stale created beside a fresh date", request: rfc(covered+` "date"`, rfcParams(signingTime-301)), want: tooOld},
		{name: "expired", request: rfc(covered, good+fmt.Sprintf(";expires=%d", signingTime+1)), after: 62 * second, want: expired},
		{name: "expired within the skew", request: rfc(covered, good+fmt.Sprintf(";expires=%d", signingTime+1)), after: 61 * second},
		{name: "date covered and no date", request: newPost().set("Date", "yesterday").
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
		{name: "hs2019 is draft-cavage's alone", request: rfc(covered, strings.Replace(good, "hmac-sha256", "hs2019", 1)), want: wrongAlgorithm},
		{name: "empty alg", request: rfc(covered, strings.Replace(good, "hmac-sha256", "", 1)), want: badParameter},
		{name: "unknown key id", request: rfc(covered, strings.Replace(good, signingKeyID, "other", 1)), want: unknownKey},
		{name: "empty key id", request: rfc(covered, strings.Replace(good, signingKeyID, "", 1)), want: unknownKey},
		{name: "no key id", request: rfc(covered, fmt.Sprintf(";created=%d", signingTime))},
		{name: "no key id where one is required", request: rfc(covered, fmt.Sprintf(";created=%d", signingTime)),
			policy: flyext.Policy{RequireKeyID: true}, want: noKeyID},
		{name: "key id where one is required", request: rfc(covered, good), policy: flyext.Policy{RequireKeyID: true}},
		{name: "wrong secret", request: newPost().signedWith("other").rfc9421(), want: wrongMAC},
		{name: "nothing signed", request: newPost(), want: noSignature},

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

// queryParam signs a GET of queryTarget with a component for its parameter a.
func queryParam(component string) *wireRequest {
	w := newGet(queryTarget)
	name, _, _ := strings.Cut(component, " ")
	w.values = map[string]string{strings.Trim(name, `"`): "b"}
	return w.signRFC9421("sig1", `"@method" "@path" `+component, rfcParams(signingTime))
}

func TestCavagePolicy(t *testing.T) {
	t.Parallel()
	const example = "(request-target) date content-length"
	strict := flyext.Policy{RequireDigest: true}
	sign := func(covered string) *wireRequest { return newPost().signCavage(covered, cavageParams) }
	created := func(at int64, covered string) *wireRequest {
		w := newPost()
		w.values = map[string]string{"(created)": fmt.Sprint(at)}
		return w.signCavage(covered, cavageParams+fmt.Sprintf("created=%d,", at))
	}
	runVerdicts(t, []verdict{
		{name: "the proposal's example", request: sign(example)},
		{name: "in Authorization", request: inAuthorization(sign(example), "Signature")},
		{name: "digest instead of length", request: sign("(request-target) date digest")},
		{name: "content-digest instead of length", request: sign("(request-target) date content-digest")},
		{name: "created instead of date", request: created(signingTime, "(request-target) (created) content-length")},
		{name: "expires with a fraction, in the future", request: newPost().signCavage(example, cavageParams+"expires=1700000060.123,")},
		{name: "expires with a fraction, over", request: newPost().signCavage(example, cavageParams+"expires=1699999000.123,"), want: expired},
		{name: "expires with a fraction, covered", request: func() *wireRequest {
			w := newPost()
			w.values = map[string]string{"(expires)": "1700000060.5"}
			return w.signCavage(example+" (expires)", cavageParams+"expires=1700000060.5,")
		}()},
		{name: "created with a fraction", request: newPost().signCavage(example, cavageParams+"created=1700000000.5,"), want: badParameter},
		{name: "expires of two dots", request: newPost().signCavage(example, cavageParams+"expires=1700000060.1.2,"), want: badParameter},
		{name: "expires of a dot", request: newPost().signCavage(example, cavageParams+"expires=.,"), want: badParameter},
		{name: "expires before time", request: newPost().signCavage(example, cavageParams+`expires="-1",`), want: badParameter},
		{name: "hs2019", request: newPost().signCavage(example, `keyId="`+signingKeyID+`",algorithm="hs2019",`)},

		{name: "target uncovered", request: sign("date content-length host"), want: uncoveredTarget},
		{name: "date uncovered", request: sign("(request-target) content-length"), want: uncoveredTime},
		{name: "created stated, not covered", request: created(signingTime, "(request-target) content-length"), want: uncoveredTime},
		{name: "length uncovered", request: sign("(request-target) date"), want: uncoveredLength},
		{name: "no body, no length", request: newGet("/flyio/extensions/x1").signCavage("(request-target) date", cavageParams)},
		{name: "no body, no length, and a body added", request: newGet("/flyio/extensions/x1").signCavage("(request-target) date", cavageParams).
			tampered(func(w *wireRequest) { w.body = "{}" }), want: uncoveredLength},
		{name: "no body, no length, and a byte added", request: newGet("/flyio/extensions/x1").signCavage("(request-target) date", cavageParams).
			tampered(func(w *wireRequest) { w.body = "0" }), want: uncoveredLength},
		{name: "authority required, and the Host field", request: sign("(request-target) date content-length host"),
			policy: flyext.Policy{RequireComponents: []string{"@authority"}}},
		{name: "length of another body", request: sign(example).tampered(func(w *wireRequest) { w.body = "{}" }), want: wrongLength},
		{name: "length made anew", request: sign(example).tampered(func(w *wireRequest) {
			w.body = "{}"
			w.setLength()
		}), want: wrongMAC},
		{name: "length twice", request: newPost().set("Content-Length", fmt.Sprint(len(signingBody)), "1").signCavage(example, cavageParams), want: wrongLength},
		{name: "body exchanged for one as long: the example does not protect it", request: sign(example).tampered(exchangeBody)},
		{name: "body exchanged, digest required", request: sign(example).tampered(exchangeBody), policy: strict, want: uncoveredBody},
		{name: "digest required and covered", request: sign("(request-target) date digest"), policy: strict},
		{name: "digest required, no body", request: newGet("/flyio/extensions/x1").set("Content-Length", "0").
			signCavage(example, cavageParams), policy: strict},
		{name: "body exchanged under a digest", request: sign("(request-target) date digest").tampered(exchangeBody), want: wrongDigest},
		{name: "body exchanged under a content-digest", request: sign("(request-target) date content-digest").tampered(exchangeBody), want: wrongDigest},
		{name: "only date covered", request: sign("date"), want: uncoveredTarget},
		{name: "coverage skipped", request: sign("date"), policy: flyext.Policy{InsecureSkipCoverage: true}},

		{name: "stale", request: sign(example), after: 5*minute + second, want: tooOld},
		{name: "future", request: sign(example), after: -minute - second, want: fromTheFuture},
		{name: "stale created uncovered beside a fresh date", request: created(signingTime-301, example), want: tooOld},
		{name: "stale created covered", request: created(signingTime-301, "(request-target) (created) content-length"), want: tooOld},
		{name: "fresh created uncovered beside a stale date", request: newPost().setDate(signingTime-301).
			signCavage(example, cavageParams+fmt.Sprintf("created=%d,", signingTime)), want: tooOld},
		{name: "expired", request: newPost().signCavage(example, cavageParams+fmt.Sprintf("expires=%d,", signingTime-61)), want: expired},

		{name: "another algorithm", request: newPost().signCavage(example, `keyId="`+signingKeyID+`",algorithm="rsa-sha256",`), want: wrongAlgorithm},
		{name: "hmac-sha1", request: newPost().signCavage(example, `keyId="`+signingKeyID+`",algorithm="hmac-sha1",`), want: wrongAlgorithm},
		{name: "empty algorithm", request: newPost().signCavage(example, `keyId="`+signingKeyID+`",algorithm="",`), want: badParameter},
		{name: "unknown key id", request: newPost().signCavage(example, `keyId="other",`), want: unknownKey},
		{name: "no key id, which the draft requires", request: newPost().signCavage(example, ""), want: badParameter},
		{name: "wrong secret", request: newPost().signedWith("other").cavage(), want: wrongMAC},
		{name: "required and covered", request: sign(example + " host"), policy: flyext.Policy{RequireComponents: []string{"host"}}},
		{name: "required and uncovered", request: sign(example), policy: flyext.Policy{RequireComponents: []string{"host"}}, want: missing},
		{name: "method in lower case", request: sign(example).tampered(func(w *wireRequest) { w.method = "post" }), want: methodCase},

		{name: "repeated component", request: sign(example + " date"), want: repeated},
		{name: "repeated component in another case", request: sign(example + " Date"), want: repeated},
		{name: "unknown pseudo-header", request: sign(example + " (status)"), want: unknown},
		{name: "request-line of drafts before 03", request: sign(example + " request-line"), want: unknown},
		{name: "absent field", request: sign(example + " x-absent"), want: absent},
		{name: "created covered and not stated", request: sign(example + " (created)"), want: absent},
		{name: "expires covered and not stated", request: sign(example + " (expires)"), want: absent},
		{name: "two spaces in the list", request: sign("(request-target)  date content-length"), want: syntax},
		{name: "empty list", request: newPost().set("Signature", cavageParams+`headers="",signature="AAAA"`), want: nothingCovered},
		{name: "two Signature headers", request: sign(example).tampered(func(w *wireRequest) {
			w.set("Signature", w.header.Get("Signature"), w.header.Get("Signature"))
		}), want: twoHeaders},
		{name: "another one in Authorization", request: sign(example).tampered(func(w *wireRequest) {
			w.set("Authorization", "Signature "+newPost().signedWith("other").cavage().header.Get("Signature"))
		}), want: twoHeaders},
		{name: "two in Authorization", request: inAuthorization(sign(example), "Signature").tampered(func(w *wireRequest) {
			w.header.Add("Authorization", "Signature "+newPost().signedWith("other").cavage().header.Get("Signature"))
		}), want: twoHeaders},
		{name: "the same in both", request: sign(example).tampered(func(w *wireRequest) {
			w.set("Authorization", "Signature "+w.header.Get("Signature"))
		})},
	}, messageVerifier)
}

func exchangeBody(w *wireRequest) { w.body = strings.Replace(w.body, "x1", "x2", 1) }

// inAuthorization moves a draft-cavage signature there.
func inAuthorization(w *wireRequest, scheme string) *wireRequest {
	w.set("Authorization", scheme+" "+w.header.Get("Signature"))
	w.header.Del("Signature")
	return w
}

func TestZntrioPolicy(t *testing.T) {
	t.Parallel()
	on := flyext.Policy{ZntrioDialect: true}
	onStrict := flyext.Policy{ZntrioDialect: true, RequireDigest: true}
	escaped := newGet("/flyio/extensions/a%2Fb").set("Content-Length", "0").
		signZntrio("@request-target", "@created", "content-length")
	runVerdicts(t, []verdict{
		{name: "on", request: newPost().zntrio(), policy: on},
		{name: "off", request: newPost().zntrio(), want: syntax},
		{name: "a question mark in the decoded path: another resource has the same base", policy: on, want: fieldValue,
			request: newGet("/flyio/extensions/x1%3Fa").set("Content-Length", "0").signZntrio("@request-target", "@created", "content-length")},
		{name: "RFC 9421 while on", request: newPost().rfc9421(), policy: on},
		{name: "target uncovered", request: newPost().signZntrio("@created", "digest"), policy: on, want: uncoveredTarget},
		{name: "neither length nor digest", request: newPost().signZntrio("@request-target", "@created"), policy: on, want: uncoveredLength},
		{name: "length alone", request: newPost().signZntrio("@request-target", "content-length"), policy: on},
		{name: "length alone, digest required", request: newPost().signZntrio("@request-target", "content-length"),
			policy: onStrict, want: uncoveredBody},
		{name: "body exchanged", request: newPost().zntrio().tampered(exchangeBody), policy: on, want: wrongDigest},
		{name: "stale", request: newPost().zntrio(), policy: on, after: 5*minute + second, want: tooOld},
		{name: "future", request: newPost().zntrio(), policy: on, after: -minute - second, want: fromTheFuture},
		{name: "wrong secret", request: newPost().signedWith("other").zntrio(), policy: on, want: wrongMAC},
		{name: "repeated component", request: newPost().signZntrio("@request-target", "date", "date", "digest"), policy: on, want: repeated},
		{name: "unknown component", request: newPost().signZntrio("@request-target", "@method", "digest"), policy: on, want: unknown},
		{name: "method in lower case", request: newPost().zntrio().tampered(func(w *wireRequest) { w.method = "post" }),
			policy: on, want: methodCase},
		{name: "escaped slash", request: escaped.clone(), policy: on},
		{name: "escaped slash made a slash: the dialect does not tell them apart",
			request: escaped.clone().tampered(func(w *wireRequest) { w.target = "/flyio/extensions/a/b" }), policy: on},
		{name: "two headers", request: newPost().zntrio().tampered(func(w *wireRequest) {
			w.set("Signature", w.header.Get("Signature"), w.header.Get("Signature"))
		}), policy: on, want: noSignature},
		{name: "other label", request: newPost().zntrio().tampered(func(w *wireRequest) {
			w.set("Signature", strings.Replace(w.header.Get("Signature"), "sig1", "sig2", 1))
		}), policy: on, want: labels},
	}, messageVerifier)
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
		{name: "a key of none", request: newPost().signedWith("fourth").signRFC9421("s", covered, params("k")), want: wrongMAC},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, v)
		})
	}
}

// The one HMAC example of RFC 9421 covers neither method nor target nor body.
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

// The alg_hmac of github.com/common-fate/httpsig v0.2.1 never hashes the
// message: its signature is the base with HMAC(key, "") behind it. Whoever has
// seen one can cut that constant off and put it behind a base of their own.
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
