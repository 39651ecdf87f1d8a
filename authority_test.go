package flyext_test

import (
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

const anotherHost = `the signed host is "other-provider.test", and Config.BaseURL has "logjam.test"`

// Another provider with the same secret forwards requests that Fly.io signed for that
// provider's host.
func TestSignedForAnotherProvider(t *testing.T) {
	t.Parallel()
	at := func(host string, w *wireRequest) *wireRequest { w.host = host; return w }
	const params = `;created=1700000000;keyid="flyio-signing-secret"`
	authority := flyext.Policy{RequireComponents: []string{"@authority"}}
	zntrio := flyext.Policy{ZntrioDialect: true}
	for _, c := range []struct {
		name    string
		policy  flyext.Policy
		request func(host string) *wireRequest
	}{
		{"RFC 9421, @target-uri", flyext.Policy{}, func(host string) *wireRequest {
			return at(host, newPost()).signRFC9421("s", `"@method" "@target-uri" "content-digest"`, params)
		}},
		{"RFC 9421, @authority", flyext.Policy{}, func(host string) *wireRequest {
			return at(host, newPost()).signRFC9421("s", `"@method" "@request-target" "@authority" "content-digest"`, params)
		}},
		{"RFC 9421, @authority required", authority, func(host string) *wireRequest {
			return at(host, newPost()).signRFC9421("s", `"@method" "@request-target" "@authority" "content-digest"`, params)
		}},
		{"RFC 9421, host", flyext.Policy{}, func(host string) *wireRequest {
			return at(host, newPost()).signRFC9421("s", `"@method" "@request-target" "host" "content-digest"`, params)
		}},
		{"RFC 9421, coverage skipped", flyext.Policy{InsecureSkipCoverage: true}, func(host string) *wireRequest {
			return at(host, newPost()).signRFC9421("s", `"@authority"`, params)
		}},
		{"draft-cavage, host", flyext.Policy{}, func(host string) *wireRequest {
			return at(host, newPost()).signCavage("(request-target) host date digest", cavageParams)
		}},
		{"draft-cavage, host required", authority, func(host string) *wireRequest {
			return at(host, newPost()).signCavage("(request-target) host date digest", cavageParams)
		}},
		{"zntrio, host", zntrio, func(host string) *wireRequest {
			return at(host, newPost()).signZntrio("@request-target", "host", "date", "content-length")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			check := func(host, want string) {
				t.Helper()
				wantRefusal(t, newAuthenticator(t, messageVerifier(c.policy), 0).Check(c.request(host).request(t)), want)
			}
			check("other-provider.test", anotherHost)
			check("logjam.test.evil.test", "the signed host is")
			check("logjam.test:8443", "the signed host is")
			check("logjam.test", "")
			if !strings.Contains(c.name, "host") { // the host field is signed as sent; @authority and @target-uri are normalized
				spelt := at("LOGJAM.test:443", c.request("logjam.test"))
				wantRefusal(t, newAuthenticator(t, messageVerifier(c.policy), 0).Check(spelt.request(t)), "")
			}
		})
	}
}

// Another party's label may use a type of RFC 9651, or have malformed members. Fly.io's
// signature is verified nevertheless. A header that is not a structured field is
// refused.
func TestAnotherLabelRefusesNothing(t *testing.T) {
	t.Parallel()
	other := encode64(strings.Repeat("x", 32))
	for _, c := range []struct{ name, input, value, want string }{
		{"a date", `other=("@method");created=@1700000000`, "other=:" + other + ":", ""},
		{"a date in a component", `other=("@method";x=@1)`, "other=:" + other + ":", ""},
		{"a display string", `other=("@method");tag=%"f%c3%bc"`, "other=:" + other + ":", ""},
		{"a parameter of another type", `other=("@method");keyid=7`, "other=:" + other + ":", ""},
		{"created as a text", `other=("@method");created="now"`, "other=:" + other + ":", ""},
		{"an algorithm without a name", `other=("@method");alg=""`, "other=:" + other + ":", ""},
		{"an item in place of a list", `other="@method"`, "other=:" + other + ":", ""},
		{"a component that is a token", `other=(date)`, "other=:" + other + ":", ""},
		{"a value that is not bytes", `other=("@method")`, `other="x"`, ""},
		{"a malformed date", `other=("@method");created=@x`, "other=:" + other + ":", syntax},
		{"a display string that is not UTF-8", `other=("@method");tag=%"%ff"`, "other=:" + other + ":", syntax},
		{"an escape in upper case", `other=("@method");tag=%"%C3%BC"`, "other=:" + other + ":", syntax},
		{"not a structured field", `other=(`, "other=:" + other + ":", syntax},
		{"a label without a value", `other=("@method")`, "", labels},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newPost().rfc9421()
			w.header["Signature-Input"] = append([]string{c.input}, w.header["Signature-Input"]...)
			if c.value != "" {
				w.header["Signature"] = append([]string{c.value}, w.header["Signature"]...)
			}
			wantRefusal(t, newAuthenticator(t, flyext.MessageSignature(signingKey), 0).Check(w.request(t)), c.want)
		})
	}
}
