package flyext_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

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
		{name: "expires with a fraction, in the past", request: newPost().signCavage(example, cavageParams+"expires=1699999000.123,"), want: expired},
		{name: "expires with a fraction, covered", request: func() *wireRequest {
			w := newPost()
			w.values = map[string]string{"(expires)": "1700000060.5"}
			return w.signCavage(example+" (expires)", cavageParams+"expires=1700000060.5,")
		}()},
		{name: "created with a fraction", request: newPost().signCavage(example, cavageParams+"created=1700000000.5,"), want: badParameter},
		{name: "expires of two dots", request: newPost().signCavage(example, cavageParams+"expires=1700000060.1.2,"), want: badParameter},
		{name: "expires of a dot", request: newPost().signCavage(example, cavageParams+"expires=.,"), want: badParameter},
		{name: "expires is negative", request: newPost().signCavage(example, cavageParams+`expires="-1",`), want: badParameter},
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
		{name: "length recomputed", request: sign(example).tampered(func(w *wireRequest) {
			w.body = "{}"
			w.setLength()
		}), want: wrongMAC},
		{name: "length twice", request: newPost().set("Content-Length", fmt.Sprint(len(signingBody)), "1").signCavage(example, cavageParams), want: wrongLength},
		{name: "body exchanged for one of the same length: the example does not protect it", request: sign(example).tampered(exchangeBody)},
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
		{name: "stale created uncovered next to a fresh date", request: created(signingTime-301, example), want: tooOld},
		{name: "stale created covered", request: created(signingTime-301, "(request-target) (created) content-length"), want: tooOld},
		{name: "fresh created uncovered next to a stale date", request: newPost().setDate(signingTime-301).
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

// inAuthorization moves a draft-cavage signature to the Authorization header.
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
