package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A guard refuses requests that another web site makes a browser send, before
// they cost anything. It protects every route, including those that only read: a
// page of another site must not hold connections or fill memory.
//
// A browser names the sender in Sec-Fetch-Site (Fetch Metadata, W3C) or, if it
// does not know that field, in Origin. A request without both comes from a
// program, such as the provider or flyctl, and passes.
type guard struct {
	hosts []string // the values of Host that mean this console
	next  http.Handler
	deny  http.HandlerFunc
}

// ServeHTTP implements [http.Handler].
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !slices.Contains(g.hosts, strings.ToLower(r.Host)):
		// A page can resolve its own name to 127.0.0.1. For the browser it is
		// then on the console's origin, except for the name.
		setSafeHeaders(w.Header())
		http.Error(w, "This is not the server of that name.", http.StatusMisdirectedRequest)
	case g.foreign(r):
		setSafeHeaders(w.Header())
		g.deny(w, r)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// foreign reports whether another site makes a browser send the request. A link
// or a redirect to a page is allowed, because the provider sends browsers to the
// sign-in page.
func (g *guard) foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin")
		return origin != "" && !sameOrigin(origin, r.Host)
	}
	return !opensPage(r)
}

// opensPage reports whether the request opens a page in a tab of its own. The
// event stream is not a page: a tab that opens it keeps a connection.
func opensPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path != livePath &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host)
}
