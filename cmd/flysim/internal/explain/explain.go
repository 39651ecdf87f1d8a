package explain

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A Question is a captured request and the facts to judge it by.
type Question struct {
	Request *Request
	Secret  string
	// BaseURL is the provider's base URL, such as https://logjam.io/flyio. If it is
	// "", the signed URL is not checked.
	BaseURL string
	// Now is the time to judge freshness by.
	Now time.Time
	// Pasted is the text that the provider signs. It is compared with the signed
	// bytes. A nil Pasted compares nothing.
	Pasted []byte
	// GiveBody says how to add a body that the capture lacks, such as "pass it with
	// --body".
	GiveBody string
}

// A Verdict says whether a provider accepts a request. The nonce is not considered:
// a provider also refuses a request that it has seen before.
type Verdict string

// The verdicts.
const (
	// Accepted means that a provider accepts the request.
	Accepted Verdict = "accepted"
	// Changed means that a provider accepts the request that was sent. The capture has
	// changed its body.
	Changed Verdict = "changed"
	// Refused means that a provider refuses the request.
	Refused Verdict = "refused"
	// Unknown means that the capture lacks the body, or a part of it.
	Unknown Verdict = "unknown"
)

// An Answer explains a signature.
type Answer struct {
	// Format is "x-signature", "rfc9421", "cavage" or "none".
	Format  string
	Verdict Verdict
	// Reading says in a few words which bytes, notation or secret the received
	// signature fits. It is "" if no known reading fits.
	Reading string
	// Findings are the results, one or two sentences each, always in the same order.
	Findings []string
	// Base is the exact bytes that the format signs. It is nil if they cannot be
	// rebuilt from the request.
	Base []byte
	// Signed is the bytes that the received signature was computed over, if they are
	// known and differ from Base.
	Signed []byte
	// Expected is the right signature of Base: in hex for X-Signature, in base64 for
	// a message signature. It is "" if Base is unknown.
	Expected string
	// Difference compares Base with Question.Pasted. It is nil if nothing was pasted
	// or Base is unknown.
	Difference *Difference
}

// Right reports whether a provider accepts the request as it was sent.
func (a *Answer) Right() bool { return a.Verdict == Accepted || a.Verdict == Changed }

func (a *Answer) add(format string, args ...any) {
	a.Findings = append(a.Findings, fmt.Sprintf(format, args...))
}

// Explain names the format in which a request is signed and the faults of its
// signature. It is a pure function.
func Explain(q Question) *Answer {
	switch h := q.Request.Header; {
	case h.Get("X-Signature") != "":
		return xSignature(q)
	case h.Get("Signature-Input") != "":
		return messageSignature(q, formatRFC9421)
	case h.Get("Signature") != "" || strings.HasPrefix(h.Get("Authorization"), "Signature "):
		return messageSignature(q, formatCavage)
	}
	a := &Answer{Format: "none", Verdict: Refused}
	a.add("The request has no X-Signature, Signature-Input or Signature header. A proxy may have removed the header.")
	return a
}

// compare compares the signed bytes with the pasted ones. Call it once Base is
// final.
func (a *Answer) compare(pasted []byte) {
	switch {
	case pasted == nil:
	case a.Base == nil:
		a.add("Your text cannot be compared, because the signed bytes cannot be rebuilt from the capture.")
	default:
		a.Difference = Compare(a.Base, pasted)
		a.add("%s", a.Difference)
	}
}

// incomplete says that the capture lacks the body or its end. Nothing that depends on
// the body can be judged.
func (a *Answer) incomplete(q Question) {
	a.Verdict = Unknown
	if have := len(q.Request.Body); have > 0 {
		a.add("Cannot be judged: the capture has %d of the %d bytes of the body. For the whole body: %s.", have, q.Request.length(), q.giveBody())
		return
	}
	a.add("Cannot be judged: the capture has no body; %s. curl -v shows no body.", q.giveBody())
}

func (q *Question) giveBody() string {
	if q.GiveBody == "" {
		return "give it by itself"
	}
	return q.GiveBody
}

// signsQuery reports whether X-Signature signs the query of a method's requests
// instead of the body.
func signsQuery(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete
}
