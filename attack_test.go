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
