package explain

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/msgsig"
)

// judge adds the findings about a request whose signature was explained. It refuses
// what the library's verifier refuses. The verifier is not asked about events without
// parameters, which it accepts only on their own route, and about webhooks, which
// another receiver verifies.
func (a *Answer) judge(q Question, p parameters, given string) {
	fits := a.Right()
	refused := a.checkHeader(q)
	switch kind := kindOf(q.Request); {
	case kind == anEvent && (p.timestamp == "" || p.nonce == "" || p.url == ""):
		refused = a.checkQuery(q, "") || refused
		if !refused {
			a.add("The event has no timestamp, nonce and url of its own. A provider accepts it, unless its policy requires the time of an event.")
		}
	case kind == aWebhook:
		refused = a.checkNotation(given) || refused
		if p.url != "" {
			refused = a.checkURL(q, p) || refused
		}
		refused = a.checkTime(q, p) || refused
	default:
		refused = a.checkURL(q, p) || refused
		refused = a.checkTime(q, p) || refused
		if p.nonce == "" {
			refused = true
			a.add(`The signed content has no parameter "nonce".`)
		}
		if err := verify(q, a.Base, p); err != nil && fits && !refused {
			refused = true
			a.add("A provider refuses the request: %v.", err)
		}
	}
	if refused {
		a.Verdict = Refused
	}
}

// verify asks the library's verifier about the request, with signed as its body.
func verify(q Question, signed []byte, p parameters) error {
	r := q.Request
	m := &flyext.Message{Method: r.Method, Target: r.Target, Host: r.Host, Header: r.Header, Body: r.Body, BaseURL: q.base(p), Now: q.Now}
	if !signsQuery(r.Method) {
		m.Body = signed
	} else if r.lacksBody() {
		m.Body = []byte{0} // it was sent with a body
	}
	_, err := flyext.XSignature(q.Secret).Verify(context.Background(), m)
	return err
}

// base returns the base URL. If it is "", it is that of the signed URL, so that only
// the path is compared.
func (q *Question) base(p parameters) *url.URL {
	if base, err := url.Parse(q.BaseURL); q.BaseURL != "" && err == nil {
		return base
	}
	if signed, err := url.Parse(p.url); err == nil && signed.Host != "" {
		return &url.URL{Scheme: signed.Scheme, Host: signed.Host}
	}
	return &url.URL{Scheme: "https", Host: q.Request.Host}
}

// Each check adds its findings, and reports whether a provider refuses the request.

func (a *Answer) checkHeader(q Question) (refused bool) {
	r := q.Request
	if n := len(r.Header.Values("X-Signature")); n > 1 {
		refused = true
		a.add("The request has %d X-Signature headers, and a provider accepts only one. The first one is explained here.", n)
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodHead, http.MethodDelete:
	default:
		refused = true
		a.add("Fly.io signs no request with the method %s, so a provider refuses it.", r.Method)
	}
	if signsQuery(r.Method) && (len(r.Body) > 0 || r.lacksBody()) {
		refused = true
		a.add("The signature of a %s does not cover the body, so a provider refuses a request with a body.", r.Method)
	}
	return refused
}

// checkNotation checks the notation of a webhook's signature.
func (a *Answer) checkNotation(given string) (refused bool) {
	if a.Right() && given != a.Expected {
		a.add("The signature of a webhook must be in lower-case hex.")
		return true
	}
	return false
}

// checkQuery checks the query of a request whose body is signed. The query may also
// be in the signed URL.
func (a *Answer) checkQuery(q Question, signed string) (refused bool) {
	_, query, _ := strings.Cut(q.Request.Target, "?")
	if signsQuery(q.Request.Method) || query == "" || query == signed {
		return false
	}
	a.add("The query of the request is not signed, so a provider refuses it: the signature of a %s covers the body, and the signed URL does not have this query.", q.Request.Method)
	return true
}

// checkURL compares the signed URL with the request.
func (a *Answer) checkURL(q Question, p parameters) (refused bool) {
	signed, err := url.Parse(p.url)
	if p.url == "" || err != nil {
		a.add(`The signed content has no parameter "url".`)
		return true
	}
	path, _, _ := strings.Cut(q.Request.Target, "?")
	if !msgsig.SamePath(signed.EscapedPath(), path) {
		refused = true
		a.add("A proxy changed the path, or the provider sees it below a mount point: %s is signed, and %s arrived.", signed.EscapedPath(), path)
	}
	authority := msgsig.Authority(signed.Scheme, signed.Host)
	if base := q.base(p); signed.Scheme != base.Scheme || authority != msgsig.Authority(base.Scheme, base.Host) {
		refused = true
		a.add("The signed URL is for %s://%s, and the base URL is for %s://%s.", signed.Scheme, signed.Host, base.Scheme, base.Host)
	}
	if host := q.Request.Host; host != "" && msgsig.Authority(signed.Scheme, host) != authority {
		a.add("The Host header is %s, and %s is signed: a proxy rewrites Host. Compare the signed URL with the base URL, not with Host.", host, signed.Host)
	}
	return a.checkQuery(q, signed.RawQuery) || refused
}

// checkTime compares the signed time with the clock.
func (a *Answer) checkTime(q Question, p parameters) (refused bool) {
	seconds, err := strconv.ParseInt(p.timestamp, 10, 64)
	if err != nil {
		a.add(`The signed content has no parameter "timestamp".`)
		return true
	}
	age := q.Now.Sub(time.Unix(seconds, 0))
	switch {
	case age > 5*time.Minute:
		a.add("The request was signed %v ago, and a provider accepts 5 minutes. It is an old capture or a replay, or one of the clocks is wrong.", age.Round(time.Second))
		return true
	case age < -time.Minute:
		a.add("The request was signed %v ahead of this clock. One of the clocks is wrong.", -age.Round(time.Second))
		return true
	}
	return false
}
