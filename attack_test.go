package flyext_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// A flip changes one byte of a request.
type flip struct {
	part string // "method", "target", "host", "body", or the name of a field
	at   int
	to   byte
}

// parts returns a function for each part of a request that an attacker can change.
// The function replaces the part and returns the old text.
func (w *wireRequest) parts() map[string]func(string) string {
	set := func(to *string) func(string) string {
		return func(s string) string {
			old := *to
			*to = s
			return old
		}
	}
	all := map[string]func(string) string{
		"method": set(&w.method), "target": set(&w.target), "host": set(&w.host), "body": set(&w.body),
	}
	for name, lines := range w.header {
		all[name] = set(&lines[0])
	}
	return all
}

// flips calls yield with a changed copy of the request for every byte of every part:
// with the lowest bit flipped, with the case flipped, and with the byte replaced.
func (w *wireRequest) flips(yield func(flip, *wireRequest)) {
	for part := range w.parts() {
		text := w.clone().parts()[part]("")
		for i := range len(text) {
			for _, to := range []byte{text[i] ^ 1, text[i] ^ 0x20, text[i] + 1, 'A', '0', ' ', '"', ',', ';', '/', '%'} {
				if to == text[i] || to < 0x20 || to >= 0x7f { // net/http delivers no control characters
					continue
				}
				c := w.clone()
				c.parts()[part](text[:i] + string(to) + text[i+1:])
				yield(flip{part, i, to}, c)
			}
		}
	}
}

// harmless has, for each part, the flips after which a request may still be admitted.
type harmless map[string]func(original string, f flip) bool

func anywhere(string, flip) bool { return true }

func caseOnly(original string, f flip) bool { return original[f.at]^0x20 == f.to }

// hostCase allows a change of case: host names are case-insensitive (RFC 9421,
// section 2.2.3).
var hostCase = caseOnly

// cavageFlips allows changes of the parameters that draft-cavage does not sign. An
// unknown parameter is ignored (section 2.2), so a changed name drops the parameter.
// Without keyId all keys are tried; without algorithm the key decides. Field names
// are case-insensitive.
func cavageFlips(original string, f flip) bool {
	return within(original, "keyId", f) || within(original, "algorithm", f) ||
		caseOnly(original, f) && within(original, fieldList(original), f)
}

// fieldList returns the text between the quotes of headers="…".
func fieldList(signature string) string {
	_, list, _ := strings.Cut(signature, `headers="`)
	list, _, _ = strings.Cut(list, `"`)
	return list
}

// within reports whether a flip is inside the first occurrence of a text.
func within(original, text string, f flip) bool {
	start := strings.Index(original, text)
	return start >= 0 && start <= f.at && f.at < start+len(text)
}

func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	get := newGet(queryTarget).set("Content-Length", "0")
	for _, c := range []struct {
		name     string
		request  *wireRequest
		harmless harmless
	}{
		{"RFC 9421, target-uri", newPost().signRFC9421("sig1", covered+` "date" "content-type" "content-length" "digest"`,
			rfcParams(signingTime)+`;nonce="n1";expires=1700000060;tag="t"`), harmless{"host": hostCase}},
		{"RFC 9421, query", get.clone().set("Authorization", "Bearer t").
			signRFC9421("sig1", `"@method" "@path" "@query" "@authority" "date" "content-length" "authorization"`,
				rfcParams(signingTime)), harmless{"host": hostCase}},
		{"RFC 9421, request-target", get.clone().signRFC9421("sig1",
			`"@method" "@request-target" "host" "date" "content-length"`, rfcParams(signingTime)), nil},
		{"draft-05", newPost().keep("Digest").signRFC9421("sig1",
			`"@method" "@request-target" "host" "digest"`, rfcParams(signingTime)), nil},
		{"draft-cavage, digest", newPost().keep("Date", "Digest", "Content-Length").
			signCavage("(request-target) host date content-length digest", cavageParams), harmless{"Signature": cavageFlips}},
		{"draft-cavage in Authorization", inAuthorization(get.clone().
			signCavage("(request-target) host date content-length", cavageParams), "Signature"),
			harmless{"Authorization": func(original string, f flip) bool {
				inScheme := f.at < len("Signature")
				return inScheme && caseOnly(original, f) || cavageFlips(original, f) // RFC 9110, section 11.1
			}}},
		{"the proposal's example: its body is not signed", newPost().keep("Date", "Content-Length").cavage(),
			harmless{"Signature": cavageFlips, "body": anywhere, "host": anywhere}},
		{"zntrio", newPost().keep("Date", "Content-Length", "Digest").
			signZntrio("@request-target", "@created", "host", "date", "content-length", "digest"), nil},
		{"X-Signature of a body: the base URL, not the host, is compared", newPost().keep().xSignature(), harmless{"host": anywhere}},
		{"X-Signature of a query", newGet(signedQuery(extensionPath)).keep().xSignature(), harmless{"host": anywhere}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, newAuthenticator(t, everyVerifier(), 0).Check(c.request.request(t)), "")
			n, admitted := 0, map[string]int{}
			c.request.flips(func(f flip, w *wireRequest) {
				n++
				original := c.request.clone().parts()[f.part]("")
				allowed := c.harmless[f.part]
				err := newAuthenticator(t, everyVerifier(), 0).Check(w.request(t))
				switch {
				case err == nil && (allowed == nil || !allowed(original, f)):
					t.Errorf("the request is admitted with byte %d of the %s %q changed to %q", f.at, f.part, original, f.to)
				case err == nil:
					admitted[f.part]++
				}
			})
			for part := range c.harmless {
				if admitted[part] == 0 {
					t.Errorf("no flip of %s was admitted; remove it from the harmless parts", part)
				}
			}
			if n < 500 {
				t.Errorf("the test made only %d flips, want at least 500", n)
			}
		})
	}
}

// The signature covers the parameters of Signature-Input and their order. An attacker
// cannot drop, repeat, move or add one.
func TestRFC9421Parameters(t *testing.T) {
	t.Parallel()
	params := []string{"created=1700000000", `keyid="` + signingKeyID + `"`, `alg="hmac-sha256"`,
		"expires=1700000060", `nonce="n1"`, `tag="t"`, "x"}
	input := func(params ...string) string {
		return strings.Join(append([]string{"sig1=(" + covered + ")"}, params...), ";")
	}
	genuine := newPost().signRFC9421("sig1", covered, ";"+strings.Join(params, ";"))
	if genuine.header.Get("Signature-Input") != input(params...) {
		t.Fatalf("the signer writes %q, want %q", genuine.header.Get("Signature-Input"), input(params...))
	}
	check := func(t *testing.T, text, reason string) {
		t.Helper()
		w := genuine.clone().set("Signature-Input", text)
		wantRefusal(t, newAuthenticator(t, messageVerifier(flyext.Policy{}), 0).Check(w.request(t)), reason)
	}
	check(t, input(params...), "")
	for i, p := range params {
		check(t, input(slices.Delete(slices.Clone(params), i, i+1)...), wrongMAC)
		check(t, input(append(slices.Clone(params), p)...), syntax)
		check(t, input(slices.Insert(slices.Clone(params), i, p)...), syntax)
		for j := range i {
			swapped := slices.Clone(params)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			check(t, input(swapped...), wrongMAC)
		}
	}
	check(t, input(append(slices.Clone(params), "y")...), wrongMAC)
	check(t, strings.Replace(input(params...), ";keyid", "; keyid", 1), wrongMAC)
}

// Draft-cavage signs the values of the covered fields. It signs its own parameters
// only as (created) and (expires). Dropping an uncovered parameter gains an attacker
// little: the key still decides the algorithm, and the covered time still limits the
// age.
func TestCavageParameters(t *testing.T) {
	t.Parallel()
	params := []string{`keyId="` + signingKeyID + `"`, `algorithm="hmac-sha256"`, "created=1700000000", "expires=1700000060"}
	sign := func(covered string) *wireRequest {
		w := newPost()
		w.values = map[string]string{"(created)": "1700000000", "(expires)": "1700000060"}
		return w.signCavage(covered, strings.Join(params, ",")+",")
	}
	for _, c := range []struct {
		name    string
		request *wireRequest
		dropped map[string]string // by parameter: why the request is refused without it, or ""
	}{
		{"uncovered", sign("(request-target) date content-length"), map[string]string{
			"keyId": badParameter, "algorithm": "", "created": "", "expires": "",
			"headers": wrongMAC, "signature": badValue,
		}},
		{"created and expires covered", sign("(request-target) (created) (expires) content-length"), map[string]string{
			"keyId": badParameter, "algorithm": "", "created": absent, "expires": absent,
			"headers": wrongMAC, "signature": badValue,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := c.request.header.Get("Signature")
			list := strings.Split(text, ",")
			check := func(list []string, reason string) {
				t.Helper()
				w := c.request.clone().set("Signature", strings.Join(list, ","))
				wantRefusal(t, newAuthenticator(t, messageVerifier(flyext.Policy{}), 0).Check(w.request(t)), reason)
			}
			check(list, "")
			if len(list) != len(c.dropped) {
				t.Fatalf("the signature has %d parameters, but the test has %d reasons", len(list), len(c.dropped))
			}
			for i, p := range list {
				name, _, _ := strings.Cut(p, "=")
				check(slices.Delete(slices.Clone(list), i, i+1), c.dropped[name])
				check(append(slices.Clone(list), p), badParameter)
				check(slices.Insert(slices.Clone(list), i, p), badParameter)
			}
			slices.Reverse(list)
			check(list, "") // the order is free
		})
	}
}

// Each component of the list is dropped, repeated and moved in turn.
func TestCoveredComponents(t *testing.T) {
	t.Parallel()
	all := strings.Split(covered+` "date" "content-type"`, " ")
	genuine := newPost().signRFC9421("sig1", strings.Join(all, " "), rfcParams(signingTime))
	check := func(list []string, reason string) {
		t.Helper()
		w := genuine.clone().set("Signature-Input", "sig1=("+strings.Join(list, " ")+")"+rfcParams(signingTime))
		wantRefusal(t, newAuthenticator(t, messageVerifier(flyext.Policy{}), 0).Check(w.request(t)), reason)
	}
	check(all, "")
	check(nil, nothingCovered)
	for i, c := range all {
		check(slices.Delete(slices.Clone(all), i, i+1), wrongMAC)
		check(append(slices.Clone(all), c), repeated)
		if i > 0 {
			moved := slices.Clone(all)
			moved[0], moved[i] = moved[i], moved[0]
			check(moved, wrongMAC)
		}
	}
}

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
