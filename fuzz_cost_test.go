package flyext_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

const (
	// maxHeader is the default of net/http for all header fields, in bytes.
	maxHeader = 1 << 20
	// maxAllocated is the most memory for an unsigned request, in bytes. It is far
	// below the 32 MiB that the project promises.
	maxAllocated = 8 << 20
	// maxMallocs is the most allocations for an unsigned request. It also bounds the
	// time: parsing allocates, and each loop over the request's bytes has a bound.
	maxMallocs = 50_000
)

// twoVerifiers returns combinations of verifiers that all read the message.
func twoVerifiers() []flyext.Verifier {
	all := flyext.Policy{InsecureSkipCoverage: true, ZntrioDialect: true, DraftQueryParams: true}
	const secret = "a secret that signs no message of this test"
	message := func(p flyext.Policy) flyext.Verifier { return p.MessageSignature(flyext.Key{ID: "k", Secret: secret}) }
	return []flyext.Verifier{
		flyext.AnyOf(message(all), message(flyext.Policy{})),
		flyext.AnyOf(flyext.XSignature(secret), message(all)),
		flyext.AllOf(message(all), flyext.BearerToken(secret)),
	}
}

// costOf returns the allocated bytes and the number of allocations of a refusal.
func costOf(t *testing.T, v flyext.Verifier, m *flyext.Message) (bytes, mallocs uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := v.Verify(t.Context(), m)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatal("an unsigned message was verified")
	}
	return after.TotalAlloc - before.TotalAlloc, after.Mallocs - before.Mallocs
}

// escaped returns a dictionary whose parameters are strings with an escape.
func escaped(members, params, size int, value string) string {
	each := max(size/(members*params)-9, 2)
	var all []string
	for i := range members {
		var b strings.Builder
		fmt.Fprintf(&b, "k%d=%s", i, value)
		for j := range params {
			fmt.Fprintf(&b, `;p%d="\\%s"`, j, strings.Repeat("x", each-2))
		}
		all = append(all, b.String())
	}
	return strings.Join(all, ",")
}

// labelled gives a request n signatures over the same components.
func labelled(w *wireRequest, n int, components string) *wireRequest {
	return w.set("Signature-Input", manyLabels(n, "=("+components+")")).
		set("Signature", manyLabels(n, "=:"+encode64(strings.Repeat("x", 32))+":"))
}

// costly returns requests that cost seconds or gigabytes without the limits.
func costly() map[string]*wireRequest {
	return map[string]*wireRequest{
		"64 signatures, a digest with escapes, sf":    labelled(newPost().set("Content-Digest", escaped(16, 60, 118<<10, "1")), 64, `"content-digest";sf`),
		"64 signatures, a digest with escapes":        labelled(newPost().set("Content-Digest", escaped(16, 60, 118<<10, "1")), 64, `"content-digest"`),
		"64 signatures, a digest of 4 KB":             labelled(newPost().set("Content-Digest", escaped(4, 10, 4000, ":AAAA:")), 64, `"content-digest";key="k1"`),
		"Signature-Input with escapes":                newPost().set("Signature-Input", escaped(16, 60, 900<<10, "()")).set("Signature", manyLabels(16, "=:AAAA:")),
		"Signature-Input with escapes, 16 KB":         newPost().set("Signature-Input", escaped(16, 30, 16000, "()")).set("Signature", manyLabels(16, "=:AAAA:")),
		"64 signatures over a Date of 120 KB":         labelled(newPost().set("Date", strings.Repeat("x", 120<<10)), 64, `"date"`),
		"64 signatures over a field of 900 KB":        labelled(newPost().set("X-A", strings.Repeat("x", 900<<10)), 64, `"x-a"`),
		"64 signatures over a field of 900 KB, bs":    labelled(newPost().set("X-A", strings.Repeat("x", 900<<10)), 64, `"x-a";bs`),
		"64 query parameters":                         labelled(newGet("/flyio/extensions?"+strings.Repeat("k=v&", 1000)), 1, strings.Repeat(`"@query-param";name="a" `, 60)),
		"a Digest of 900 KB":                          labelled(newPost().set("Digest", strings.Repeat("sha-256=AAAA,", 70_000)), 64, `"digest"`),
		"draft-cavage, 64 components of 900 KB":       newPost().set("X-A", strings.Repeat("x", 900<<10)).set("Signature", `keyId="k",headers="`+strings.TrimSpace(strings.Repeat("x-a ", 64))+`",signature="AAAA"`),
		"draft-cavage, a signature of 900 KB":         newPost().set("Signature", `keyId="k",signature="`+strings.Repeat("A", 900<<10)+`"`),
		"draft-cavage, a list of 900 KB":              newPost().set("Signature", `keyId="k",headers="`+strings.Repeat("a ", 450<<10)+`",signature="AAAA"`),
		"Authorization of 900 KB":                     newPost().set("Authorization", "Bearer "+strings.Repeat("x", 900<<10)),
		"X-Signature of 900 KB":                       newPost().set("X-Signature", strings.Repeat("a", 900<<10)),
		"zntrio, a list of 900 KB":                    newPost().set("Signature-Input", "s=("+strings.Repeat("a, ", 300<<10)+"a)").set("Signature", "s=:AAAA:"),
		"a line of Signature-Input, 60,000 times":     newPost().set("Signature-Input", strings.Split(strings.Repeat(`a=("date");p="\\"|`, 60_000), "|")...).set("Signature", "a=:AAAA:"),
		"a line of Content-Digest, 60,000 times":      labelled(newPost().set("Content-Digest", strings.Split(strings.Repeat(`a=:AAAA:|`, 60_000), "|")...), 64, `"content-digest"`),
		"64 signatures over 250,000 empty lines, bs":  labelled(newPost().set("X-A", make([]string, 250_000)...), 64, `"x-a";bs`),
		"64 signatures over 250,000 empty lines":      labelled(newPost().set("X-A", make([]string, 250_000)...), 64, `"x-a"`),
		"64 signatures over a host of 900 KB":         labelled(newPost(), 64, `"@authority"`).tampered(func(w *wireRequest) { w.host = strings.Repeat("A", 900<<10) }),
		"64 signatures over a method of 900 KB":       labelled(newPost(), 64, `"@method"`).tampered(func(w *wireRequest) { w.method = strings.Repeat("A", 900<<10) }),
		"64 display strings and dates in a component": labelled(newPost(), 1, `"x";a=%"`+strings.Repeat("%c3%bc", 2000)+`";b=@1`),
	}
}

// No unsigned request within the default header limit costs more than the bounds,
// with any combination of verifiers. The test does not run in parallel, because the
// memory of other tests would count.
func TestCostOfUnsignedRequests(t *testing.T) {
	for name, w := range costly() {
		for i, v := range twoVerifiers() {
			bytes, mallocs := costOf(t, v, w.setLength().message(t))
			if bytes > maxAllocated || mallocs > maxMallocs {
				t.Errorf("%s, verifiers %d: %d bytes in %d allocations, want at most %d in %d", name, i, bytes, mallocs, maxAllocated, maxMallocs)
			}
		}
	}
}

// FuzzUnsignedCost searches for an unsigned request that costs more than the bounds. It
// repeats the value of each header field, in one line or in many, so that small inputs
// reach the limits.
func FuzzUnsignedCost(f *testing.F) {
	add := func(w *wireRequest, times uint16, lines bool) {
		f.Add(w.method, w.host, w.target, times, lines, strings.Join(w.header["Signature-Input"], ","), strings.Join(w.header["Signature"], ","),
			w.header.Get("Authorization"), w.header.Get("Digest"), w.header.Get("Content-Digest"), w.header.Get("Date"), w.header.Get("X-A"))
	}
	add(newPost().rfc9421(), 1, false)
	add(newPost().cavage(), 1, false)
	add(newPost().zntrio(), 1, false)
	add(labelled(newPost().set("Content-Digest", escaped(2, 3, 100, "1")), 3, `"content-digest";sf`), 500, false)
	add(labelled(newPost().set("X-A", "xx"), 5, `"x-a";bs "x-a"`), 3000, false)
	add(labelled(newPost().set("X-A", " "), 5, `"x-a";bs "@authority" "@method"`), 30000, true)
	verifiers := twoVerifiers()
	f.Fuzz(func(t *testing.T, method, host, target string, times uint16, lines bool, input, signature, authorization, digest, contentDigest, date, xA string) {
		header := http.Header{}
		left := maxHeader
		for _, field := range []struct{ name, value string }{
			{"Signature-Input", input}, {"Signature", signature}, {"Authorization", authorization}, {"Digest", digest},
			{"Content-Digest", contentDigest}, {"Date", date}, {"X-A", xA},
		} {
			if field.value == "" {
				continue
			}
			line := len(field.name) + len(field.value) + len(": \r\n")
			n := max(1, min(int(times), left/line))
			if left -= n * line; left < 0 {
				return
			}
			if lines {
				header[field.name] = slices.Repeat([]string{field.value}, n)
			} else {
				header.Set(field.name, strings.Repeat(field.value, n))
			}
		}
		if left < len(method)+len(host)+len(target) {
			return
		}
		w := &wireRequest{method: method, target: target, host: host, header: header}
		for _, v := range verifiers {
			if bytes, mallocs := costOf(t, v, w.message(t)); bytes > maxAllocated || mallocs > maxMallocs {
				t.Fatalf("%d bytes in %d allocations, want at most %d in %d", bytes, mallocs, maxAllocated, maxMallocs)
			}
		}
	})
}
