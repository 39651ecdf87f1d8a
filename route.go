package flyext

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// A route is the result of matching a path.
type route struct {
	name    string // the pattern, for the log; "" if no route matches
	methods []string
	id      string // the decoded id of the extension or the organization
	browser bool   // the requests of a customer's browser are not signed
}

const (
	routeExtensions = "/extensions"
	routeExtension  = "/extensions/{id}"
	routeList       = "/organizations/{organization_id}/extensions"
)

var (
	collectionMethods = []string{http.MethodPost}
	extensionMethods  = []string{http.MethodDelete, http.MethodGet, http.MethodPatch}
	listMethods       = []string{http.MethodGet}
	eventsMethods     = append(slices.Clone(extensionMethods), http.MethodPost)
)

// route finds the route of a request. An id is one path element, with any escapes.
// "events" is a route for POST and an id for the other methods.
func (p *Provider) route(method, target string) route {
	path, _, _ := strings.Cut(target, "?")
	path, ok := strings.CutPrefix(path, p.basePath)
	switch {
	case !ok:
		return route{}
	case path == routeExtensions:
		return route{name: routeExtensions, methods: collectionMethods}
	case path == callbackPath:
		return route{name: callbackPath, browser: true}
	}
	if organization, ok := strings.CutPrefix(path, "/organizations/"); ok {
		return organizationRoute(organization)
	}
	escaped, ok := strings.CutPrefix(path, routeExtensions+"/")
	escaped, sso := strings.CutSuffix(escaped, "/sso")
	id, valid := pathID(escaped)
	switch {
	case !ok || !valid:
		return route{}
	case sso:
		return route{name: routeSSO, id: id, browser: true}
	case id == eventsID && method == http.MethodPost:
		return route{name: routeEvents, methods: eventsMethods}
	case id == eventsID:
		return route{name: routeExtension, methods: eventsMethods, id: id}
	}
	return route{name: routeExtension, methods: extensionMethods, id: id}
}

func organizationRoute(path string) route {
	escaped, list := strings.CutSuffix(path, routeExtensions)
	if !list {
		escaped, _ = strings.CutSuffix(path, "/sso")
	}
	id, valid := pathID(escaped)
	switch {
	case !valid || escaped == path:
		return route{}
	case list:
		return route{name: routeList, methods: listMethods, id: id}
	}
	return route{name: routeDashboard, id: id, browser: true}
}

// pathID decodes an id from one path element. It refuses NUL characters, which
// databases cannot store.
func pathID(escaped string) (id string, ok bool) {
	if escaped == "" || strings.Contains(escaped, "/") {
		return "", false
	}
	id, err := url.PathUnescape(escaped)
	return id, err == nil && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0
}

// requestTarget returns the target of the request line in origin form. Routers and
// http.StripPrefix change r.URL, but not the request line. A target in absolute form
// (RFC 9112, section 3.2.2) loses its authority, which net/http has put into r.Host.
func requestTarget(r *http.Request) string {
	target := r.RequestURI
	if target == "" { // a request that was built by hand
		return r.URL.RequestURI()
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return target
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}
