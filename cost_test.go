package flyext_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// An attacker sends a megabyte of headers, the most that net/http accepts, in forms
// that invite repeated reading. Refusing them is cheap.
func TestCostOfGarbage(t *testing.T) {
	const size = 900 << 10
	big := strings.Repeat("a", size)
	repeat := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return strings.Join(all, " ")
	}
	signed := func(w *wireRequest, signatures int, components string) *wireRequest {
		return w.set("Signature-Input", manyLabels(signatures, "=("+components+")")).
			set("Signature", manyLabels(signatures, "=:"+encode64(strings.Repeat("x", 32))+":"))
	}
	query := newGet("/flyio/extensions?" + strings.Repeat("k=v&", size/4-256) + strings.ReplaceAll(repeat(64, "k%d=v"), " ", "&"))
	fields := newPost()
	for i := range 60 {
		fields.set(fmt.Sprintf("x-%d", i), strings.Repeat("a", size/60))
	}
	for _, c := range []struct {
		name    string
		request *wireRequest
		policy  flyext.Policy
		want    string
	}{
		{"64 signatures that name 64 parameters of a long query", signed(query.clone(), 64, repeat(64, `"@query-param";name="k%d"`)), flyext.Policy{}, syntax},
		{"a signature that names 64 parameters of a long query", signed(query.clone(), 1, repeat(64, `"@query-param";name="k%d"`)), flyext.Policy{}, queryParameter},
		{"the parameters of draft-05", signed(query.clone(), 1, repeat(64, `"@query-params";name="k%d"`)), flyext.Policy{DraftQueryParams: true}, queryParameter},
		{"32 signatures of a long query", signed(query.clone(), 32, `"@query" "@request-target"`), flyext.Policy{}, tooMuchRead},
		{"32 signatures of a long field", signed(newPost().set("X-A", big), 32, `"x-a" "x-a";bs`), flyext.Policy{}, tooMuchRead},
		{"a signature of long fields", signed(fields.clone(), 1, repeat(60, `"x-%d"`)), flyext.Policy{}, tooMuchRead},
		{"65 components in two signatures", newPost().set("Signature-Input", "a=("+repeat(64, `"x-%d"`)+`), b=("x")`).
			set("Signature", "a=:AAAA:, b=:AAAA:"), flyext.Policy{}, syntax},
		{"32 signatures of a long digest", signed(newPost().set("Content-Digest", "x=:"+strings.Repeat("A", size)+":"), 32,
			`"content-digest";sf "content-digest"`), flyext.Policy{}, malformedDigest},
		{"a long list", signed(newPost(), 1, strings.Repeat(`"x" `, size/4)), flyext.Policy{}, syntax},
		{"long parameters", newPost().set("Signature-Input", "a=()"+strings.Repeat(";x", size/2)).set("Signature", "a=:AAAA:"), flyext.Policy{}, syntax},
		{"many signatures", newPost().set("Signature-Input", big).set("Signature", strings.Repeat("a=:A:,", size/6)), flyext.Policy{}, syntax},
		{"draft-cavage: many parameters", newPost().set("Signature", repeatN("a%d=1,", size/8)), flyext.Policy{}, syntax},
		{"draft-cavage: a long list", newPost().set("Signature", cavageParams+`headers="`+strings.Repeat("a ", size/2)+`",signature="AAAA"`), flyext.Policy{}, syntax},
		{"draft-cavage: many lines of Authorization", newPost().tampered(func(w *wireRequest) {
			for range size / 16 {
				w.header.Add("Authorization", "Basic x")
			}
		}), flyext.Policy{}, noSignature},
		{"zntrio: a long list", signed(newPost(), 1, strings.Repeat("x ", size/2)), flyext.Policy{ZntrioDialect: true}, syntax},
	} {
		begin := time.Now()
		auth := newAuthenticator(t, messageVerifier(c.policy), 0)
		wantRefusal(t, auth.Check(c.request.request(t)), c.want)
		if took := time.Since(begin); took > 10*time.Second { // it takes milliseconds, and took minutes without the limits
			t.Errorf("%s: refusing it took %v, want less than 10s", c.name, took)
		}
	}
}

// repeatN formats the numbers 0 to n-1 and joins the results.
func repeatN(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

const (
	tooMuchRead     = "the signatures cover too many bytes"
	malformedDigest = "the covered digest is malformed"
)
