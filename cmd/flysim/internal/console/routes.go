package console

import (
	"errors"
	"fmt"
	"net/http"
)

// routes returns the handler of all routes.
func (c *Console) routes() http.Handler {
	// The routes other than the pages are for programs, so protect does not guard
	// them: their requests are not forms of the console.
	all := http.NewServeMux()
	all.Handle("/", c.protect(c.pages()))
	if c.oauth != nil {
		all.HandleFunc("/oauth/", c.serveOAuth)
	}
	all.HandleFunc("POST /graphql", c.serveGraphQL)
	all.HandleFunc("POST "+ReportPath, c.serveReport)
	all.HandleFunc("GET /v1/apps/{app}/machines", c.serveMachines)
	if c.receiver != nil {
		all.HandleFunc("POST "+WebhookPath, c.serveWebhook)
	}
	return &guard{hosts: c.hosts, next: all, deny: c.denyForeign}
}

// pages returns the handler of the pages and their forms.
func (c *Console) pages() http.Handler {
	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", c.serveProvisionPage)
	pages.HandleFunc("POST /extensions", c.serveProvision)
	pages.HandleFunc("GET /extensions/{n}", c.withExtension(c.serveExtensionPage))
	pages.HandleFunc("POST /extensions/{n}/provision", c.withExtension(c.serveProvisionAgain))
	pages.HandleFunc("POST /extensions/{n}/update", c.withExtension(c.serveUpdate))
	pages.HandleFunc("POST /extensions/{n}/event", c.withExtension(c.serveEvent))
	pages.HandleFunc("POST /extensions/{n}/fetch", c.withExtension(c.serveFetch))
	pages.HandleFunc("POST /extensions/{n}/deprovision", c.withExtension(c.serveDeprovision))
	pages.HandleFunc("POST /extensions/{n}/forget", c.withExtension(c.serveForget))
	pages.HandleFunc("GET /wire/{n}/{part}", c.serveWire)
	pages.HandleFunc("GET "+requestsPath, c.serveRequestsPage)
	pages.HandleFunc("GET "+requestsPath+".har", c.serveHAR)
	pages.HandleFunc("GET /requests/{n}", c.withRecord(c.serveRequestPage))
	pages.HandleFunc("GET /requests/{n}/har", c.withRecord(c.serveOneHAR))
	pages.HandleFunc("GET /requests/{n}/curl", c.withRecord(c.serveCurl))
	pages.HandleFunc("GET /requests/{n}/edit", c.withRecord(c.serveEditPage))
	pages.HandleFunc("POST /requests/{n}/edit", c.withRecord(c.serveEdited))
	pages.HandleFunc("POST /requests/{n}/resend", c.withRecord(c.serveResend))
	pages.HandleFunc("POST /requests/{n}/replay", c.withRecord(c.serveReplay))
	pages.HandleFunc("GET /requests/{n}/explain", c.withRecord(c.serveExplainPage))
	pages.HandleFunc("GET "+debuggerPath, c.serveDebuggerPage)
	pages.HandleFunc("POST "+debuggerPath, c.serveDebugger)
	pages.HandleFunc("GET /users", c.serveUsersPage)
	pages.HandleFunc("POST /users", c.serveUsers)
	pages.HandleFunc("GET "+WebhookPath, c.serveWebhooksPage)
	pages.HandleFunc("POST "+WebhookPath, c.serveNoWebhook) // routes replaces it if the console receives webhooks
	pages.HandleFunc("GET "+livePath, c.serveLive)
	pages.HandleFunc("GET /icon.svg", serveIcon)
	pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.failPage(w, http.StatusNotFound, "There is no such page", "The address is wrong, or it accepts only a form.")
	})
	return pages
}

// denyForeign answers a request that another site makes a browser send.
func (c *Console) denyForeign(w http.ResponseWriter, r *http.Request) {
	c.log.Warn("refused a request of another site", "path", clip(r.URL.Path, 100))
	http.Error(w, "Another site sent this request. The console serves its own pages only.", http.StatusForbidden)
}

// maxForm is the most bytes of a form other than that of the debugger.
const maxForm = 256 << 10

// protect refuses forms of other sites, and forms that are too large.
func (c *Console) protect(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setSafeHeaders(w.Header())
		if err := origin.Check(r); err != nil {
			c.log.Warn("refused a form of another site", "path", r.URL.Path)
			c.failPage(w, http.StatusForbidden, "Another site sent this form", "The console accepts forms only from its own pages. Open the console, and use its form.")
			return
		}
		limit := int64(maxForm)
		if r.URL.Path == debuggerPath {
			limit = maxDebuggerForm
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				status, text := http.StatusBadRequest, "It is not encoded as a form."
				if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
					status, text = http.StatusRequestEntityTooLarge, fmt.Sprintf("A form may have %d KiB. Go back to get your input, and shorten it.", limit>>10)
				}
				c.failPage(w, status, "The form cannot be read", text)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// setSafeHeaders sets the security headers of the console's answers. Pages have a
// wider Content-Security-Policy.
func setSafeHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: it would remove the origin from the requests of forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
}
