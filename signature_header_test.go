package flyext_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// Signature and Signature-Input are parsed as RFC 9421, sections 2 and 4, defines. A
// malformed header is refused as a whole, because reading a part of it would be
// guessing.
func TestSignatureHeaders(t *testing.T) {
	t.Parallel()
	good := rfcParams(signingTime)
	genuine := func() *wireRequest { return newPost().rfc9421() }
	foreign := func(label string) func(*wireRequest) { // another party's signature, with a key of theirs
		return func(w *wireRequest) {
			w.secret = "theirs"
			w.signRFC9421(label, `"@authority"`, `;created=1;keyid="theirs"`)
		}
	}
	edit := func(field string, change func(string) string) *wireRequest {
		w := genuine()
		return w.set(field, change(w.header.Get(field)))
	}
	suffix := func(s string) func(string) string { return func(old string) string { return old + s } }
	replace := func(from, to string) func(string) string {
		return func(old string) string { return strings.Replace(old, from, to, 1) }
	}
	bs := func(name string) *wireRequest {
		w := newPost()
		w.values = map[string]string{`content-type";bs`: ":YXBwbGljYXRpb24vanNvbg==:", `content-digest";bs`: ":" +
			encode64(w.header.Get("Content-Digest")) + ":", `content-digest";sf`: w.header.Get("Content-Digest"),
			`content-digest";key="sha-256`: strings.TrimPrefix(w.header.Get("Content-Digest"), "sha-256="),
			`content-digest";key="md5`:     ":AAAA:", `date";bs`: ":" + encode64(w.header.Get("Date")) + ":"}
		return w.signRFC9421("sig1", `"@method" "@target-uri" `+name, good)
	}
	runVerdicts(t, []verdict{
		{name: "two labels over two lines, ours first: verified", request: genuine().tampered(foreign("sig2"))},
		{name: "two labels over two lines, ours last: verified", request: newPost().tampered(foreign("sig0")).signedWith("").rfc9421()},
		{name: "two labels, neither of them ours: refused", request: newPost().tampered(foreign("a")).tampered(foreign("b")), want: unknownKey},
		{name: "two labels, ours broken: refused for its reason", request: genuine().tampered(foreign("sig2")).tampered(exchangeBody), want: wrongDigest},
		{name: "two labels, ours last and broken: refused for its reason", request: newPost().tampered(foreign("a")).signedWith("").rfc9421().
			tampered(exchangeBody), want: wrongDigest},
		{name: "two labels in one line: verified", request: genuine().tampered(foreign("sig2")).tampered(func(w *wireRequest) {
			w.set("Signature", strings.Join(w.header["Signature"], ", "))
			w.set("Signature-Input", strings.Join(w.header["Signature-Input"], " , "))
		})},
		{name: "labels in another order: verified", request: genuine().tampered(foreign("sig2")).tampered(func(w *wireRequest) {
			slices.Reverse(w.header["Signature"])
		})},
		{name: "a label in Signature only", request: edit("Signature", suffix(", sig2=:AAAA:")), want: labels},
		{name: "a label in Signature-Input only", request: edit("Signature-Input", suffix(", sig2=()")), want: labels},
		{name: "other labels", request: edit("Signature", replace("sig1", "sig2")), want: labels},
		{name: "no Signature", request: genuine().tampered(func(w *wireRequest) { w.header.Del("Signature") }), want: noSignature},
		{name: "no Signature-Input: read as draft-cavage, which it is not", request: genuine().tampered(func(w *wireRequest) { w.header.Del("Signature-Input") }), want: syntax},
		{name: "empty Signature-Input", request: genuine().set("Signature-Input", ""), want: labels},
		{name: "both empty", request: genuine().set("Signature-Input", "").set("Signature", ""), want: labels},
		{name: "the label twice in Signature-Input", request: edit("Signature-Input", func(s string) string { return s + ", " + s }), want: syntax},
		{name: "the label twice in Signature", request: edit("Signature", func(s string) string { return s + ", " + s }), want: syntax},
		{name: "Signature header twice", request: genuine().tampered(func(w *wireRequest) { w.header.Add("Signature", w.header.Get("Signature")) }), want: syntax},
		{name: "a trailing comma", request: edit("Signature", suffix(",")), want: syntax},
		{name: "value a string", request: genuine().set("Signature", `sig1="AAAA"`), want: badValue},
		{name: "value a list", request: genuine().set("Signature", "sig1=(:AAAA:)"), want: badValue},
		{name: "value with a parameter", request: edit("Signature", suffix(";a")), want: badValue},
		{name: "value without padding", request: edit("Signature", replace("=:", ":")), want: syntax},
		{name: "value empty", request: genuine().set("Signature", "sig1=::"), want: wrongMAC},
		{name: "value cut short", request: genuine().set("Signature", "sig1=:AAAA:"), want: wrongMAC},
		{name: "input no list", request: genuine().set("Signature-Input", `sig1="@method"`), want: syntax},
		{name: "component a token", request: edit("Signature-Input", replace(`"@method"`, "method")), want: unknown},
		{name: "created a string", request: rfc(covered, `;created="1700000000"`), want: badParameter},
		{name: "created a decimal", request: rfc(covered, `;created=1700000000.0`), want: badParameter},
		{name: "keyid a token", request: rfc(covered, `;created=1700000000;keyid=k`), want: badParameter},
		{name: "tag a number", request: rfc(covered, `;created=1700000000;tag=1`), want: badParameter},
		{name: "65 labels", request: genuine().set("Signature-Input", manyLabels(65, "=()")).set("Signature", manyLabels(65, "=:AAAA:")), want: syntax},

		{name: "unknown derived component", request: rfc(covered+` "@unknown"`, good), want: unknown},
		{name: "component of a response", request: rfc(covered+` "@status"`, good), want: unknown},
		{name: "the parameters themselves", request: rfc(covered+` "@signature-params"`, good), want: unknown},
		{name: "component without a name", request: rfc(covered+` ""`, good), want: unknown},
		{name: "field in upper case", request: rfc(covered+` "Date"`, good), want: unknown},
		{name: "absent field", request: rfc(covered+` "x-absent"`, good), want: absent},
		{name: "repeated component", request: rfc(covered+` "date" "date"`, good), want: repeated},
		{name: "repeated derived component", request: rfc(covered+` "@method"`, good), want: repeated},
		{name: "field over two lines: joined by a comma", request: newPost().set("X-A", "a", "b").signRFC9421("sig1", covered+` "x-a"`, good)},
		{name: "field over two lines: their order counts", request: newPost().set("X-A", "a", "b").signRFC9421("sig1", covered+` "x-a"`, good).
			tampered(func(w *wireRequest) { w.set("X-A", "b", "a") }), want: wrongMAC},
		{name: "field with spaces around: trimmed", request: newPost().set("X-A", "a").signRFC9421("sig1", covered+` "x-a"`, good).
			tampered(func(w *wireRequest) { w.set("X-A", "  a\t") })},
		{name: "empty field: signed as empty", request: newPost().set("X-A", "").signRFC9421("sig1", covered+` "x-a"`, good)},
		{name: "date over two lines", request: newPost().set("Date", "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:21 GMT").
			signRFC9421("sig1", covered+` "date"`, good), want: badDate},

		{name: "bs", request: bs(covered[len(`"@method" "@target-uri" `):] + ` "content-type";bs`)},
		{name: "bs of a digest: covers the body", request: bs(`"content-digest";bs`)},
		{name: "bs of a digest, body exchanged", request: bs(`"content-digest";bs`).tampered(exchangeBody), want: wrongDigest},
		{name: "sf of a digest: covers the body", request: bs(`"content-digest";sf`)},
		{name: "key of a digest: covers the body", request: bs(`"content-digest";key="sha-256"`)},
		{name: "key of a digest, body exchanged", request: bs(`"content-digest";key="sha-256"`).tampered(exchangeBody), want: wrongDigest},
		{name: "key of a weak digest next to a strong one: covers nothing", request: bs(`"content-digest";key="md5"`).
			tampered(func(w *wireRequest) { w.set("Content-Digest", w.header.Get("Content-Digest")+", md5=:AAAA:") }), want: weakDigest},
		{name: "key of an absent digest", request: bs(`"content-digest";key="sha-512"`), want: absent},
		{name: "bs of a date: not a time of signing", request: newPost().tampered(func(w *wireRequest) {
			w.values = map[string]string{`date";bs`: ":" + encode64(w.header.Get("Date")) + ":"}
		}).signRFC9421("sig1", covered+` "date";bs`, `;keyid="`+signingKeyID+`"`), want: uncoveredTime},
		{name: "one field with and without a parameter: two components", request: bs(`"content-digest" "content-digest";bs`)},
		{
			name: "sf of a display string, at which httpsfv v1.1.0 panics", want: malformedDigest,
			request: rfc(`"@method" "@target-uri" "content-digest";sf`, good).set("Content-Digest", `sha-256=%"x"`),
		},
		{name: "sf of a field of unknown type", request: rfc(covered+` "date";sf`, good), want: unknown},
		{name: "key of a field of unknown type", request: rfc(covered+` "date";key="a"`, good), want: unknown},
		{name: "req, of a response", request: rfc(covered+` "date";req`, good), want: unknown},
		{name: "tr, of a trailer", request: rfc(covered+` "date";tr`, good), want: unknown},
		{name: "bs=?0", request: rfc(covered+` "date";bs=?0`, good), want: unknown},
		{name: "unknown parameter", request: rfc(covered+` "date";x`, good), want: unknown},
		{name: "two parameters", request: rfc(covered+` "content-digest";bs;sf`, good), want: unknown},
		{name: "parameter on a derived component", request: rfc(covered+` "@authority";bs`, good), want: unknown},
		{name: "req on a derived component", request: rfc(`"@method";req "@target-uri" "content-digest"`, good), want: unknown},

		{name: "query parameter", request: queryParam(`"@query-param";name="a" "@query"`)},
		{name: "query parameter twice in the list", request: queryParam(`"@query-param";name="a" "@query-param";name="a"`), want: repeated},
		{name: "query parameter absent", request: queryParam(`"@query-param";name="z"`), want: queryParameter},
		{name: "query parameter without a name", request: queryParam(`"@query-param"`), want: unknown},
		{name: "query parameter with a token", request: queryParam(`"@query-param";name=a`), want: unknown},
		{name: "query parameter with more", request: queryParam(`"@query-param";name="a";req`), want: unknown},
		{name: "query parameter twice in the query", request: queryParam(`"@query-param";name="a" "@query"`).
			tampered(func(w *wireRequest) { w.target += "&a=c" }), want: queryParameter},

		{name: "no query: @query is ?", request: rfcGet(extensionPath, `"@method" "@path" "@query"`)},
		{name: "? without a query: @query is the same", request: rfcGet(extensionPath+"?", `"@method" "@path" "@query"`)},
		{name: "? without a query, only @path covered: admitted", request: rfcGet(extensionPath+"?", `"@method" "@path"`)},
		{name: "? added under @target-uri", request: rfcGet(extensionPath, `"@method" "@target-uri"`).
			tampered(func(w *wireRequest) { w.target += "?" }), want: wrongMAC},
		{name: "? added under @request-target", request: rfcGet(extensionPath, `"@method" "@request-target"`).
			tampered(func(w *wireRequest) { w.target += "?" }), want: wrongMAC},
	}, messageVerifier)
}

func manyLabels(n int, value string) string {
	var all []string
	for i := range n {
		all = append(all, "l"+strings.Repeat("x", i)+value)
	}
	return strings.Join(all, ", ")
}

// Two identifiers name the same component if only the order of their parameters
// differs. No supported component has two parameters, so Base refuses both before
// they are compared.
func TestComponentsWithParametersInAnotherOrder(t *testing.T) {
	t.Parallel()
	w := newPost().signRFC9421("sig1", covered+` "x";a;b "x";b;a`, rfcParams(signingTime))
	wantRefusal(t, newAuthenticator(t, messageVerifier(flyext.Policy{}), 0).Check(w.request(t)), unknown)
}
