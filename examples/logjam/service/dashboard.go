package service

import (
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/flyext/flyext"
)

// A dashboard shows customers their streams in a browser. A session gives access to
// one organization. The answer for another organization's page is the same as for a
// page that does not exist.
type dashboard struct {
	logjam *Logjam
	store  *store   // Logjam's
	base   *url.URL // base URL of the provider
	secure bool     // the base URL is https
	now    func() time.Time
	log    *slog.Logger
}

// serve adds the dashboard's routes to mux.
func (d *dashboard) serve(mux *http.ServeMux, signOn *flyext.SignOn) {
	// Logjam's own route for an organization's dashboard. It is below the base path
	// because browsers send the cookies of handshakes only there. flyext must see
	// these cookies to limit their number.
	mux.HandleFunc(d.basePath()+"organizations/{id}/sso", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{OrganizationID: r.PathValue("id")})
	})
	mux.Handle("GET /{$}", d.show(d.home))
	mux.Handle("GET /streams/{id}", d.show(d.stream))
	mux.Handle("GET /organizations/{id}", d.show(d.organization))

	mux.HandleFunc("GET /forget.css", forget)

	ownSite := http.NewCrossOriginProtection()
	ownSite.SetDenyHandler(d.show(func(*http.Request, *session) (*screen, error) {
		return messageScreen(http.StatusForbidden, "Request blocked", message{
			Text: "The request came from another site, so nothing was changed. To make the change, use the button on the Logjam page.",
		}), nil
	}))
	mux.Handle("POST /sign-out", ownSite.Handler(http.HandlerFunc(d.signOut)))
	mux.Handle("POST /streams/{id}/sleep", ownSite.Handler(d.show(d.sleep)))
	mux.Handle("POST /streams/{id}/wake", ownSite.Handler(d.show(d.wake)))
	mux.Handle("GET /streams/{id}/delete", d.show(d.confirmDeletion))
	mux.Handle("POST /streams/{id}/delete", ownSite.Handler(d.show(d.remove)))
}

// show returns a handler that answers with the page from build. The session that
// build gets is nil if the browser is not signed in.
func (d *dashboard) show(build func(*http.Request, *session) (*screen, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := d.session(r)
		var page *screen
		if err == nil {
			page, err = build(r, s)
		}
		if err == nil {
			err = page.write(w, r, s)
		}
		if err != nil {
			d.fail(w, r, err)
		}
	})
}

// fail logs an internal error, and answers with a page that does not reveal it.
func (d *dashboard) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.log.ErrorContext(r.Context(), "page failed", slog.String("pattern", r.Pattern), slog.String("error", err.Error()))
	page := messageScreen(http.StatusInternalServerError, "Something went wrong", message{
		Text: "Logjam could not complete your request. Try again in a moment.",
	})
	if err := page.write(w, r, nil); err != nil {
		d.log.ErrorContext(r.Context(), "error page failed", slog.String("error", err.Error()))
	}
}

func (d *dashboard) home(_ *http.Request, s *session) (*screen, error) {
	if s != nil {
		return &screen{redirect: destinationPath(flyext.Destination{OrganizationID: s.OrganizationID})}, nil
	}
	return messageScreen(http.StatusOK, "You are not signed in", message{
		Text: "To open one of your log streams, run:", Command: "flyctl ext logjam dashboard",
	}), nil
}

func (d *dashboard) stream(r *http.Request, s *session) (*screen, error) {
	to := flyext.Destination{ExtensionID: r.PathValue("id")}
	if s == nil {
		return d.signInScreen(to), nil
	}
	ctx := r.Context()
	var found *stream
	var recent []activity
	err := d.store.inTx(ctx, func(tx *sql.Tx) (err error) {
		if found, err = findStreamOf(ctx, tx, s.OrganizationID, to.ExtensionID); err != nil {
			return err
		}
		recent, err = recentActivities(ctx, tx, s.OrganizationID, found.id)
		return err
	})
	if errors.Is(err, errNotFound) || errors.Is(err, errDeleted) {
		return d.missingScreen("There is no such log stream", to), nil
	}
	if err != nil {
		return nil, err
	}
	view := viewOf(found)
	return &screen{template: streamTemplate, status: http.StatusOK, title: view.Title(), content: streamContent{view, recent, doneBy(r, recent)}}, nil
}

func (d *dashboard) organization(r *http.Request, s *session) (*screen, error) {
	to := flyext.Destination{OrganizationID: r.PathValue("id")}
	if s == nil {
		return d.signInScreen(to), nil
	}
	if s.OrganizationID != to.OrganizationID {
		return d.missingScreen("There is no such organization", to), nil
	}
	ctx := r.Context()
	var streams []*stream
	var recent []activity
	err := d.store.inTx(ctx, func(tx *sql.Tx) (err error) {
		if streams, err = streamsOf(ctx, tx, s.OrganizationID); err != nil {
			return err
		}
		recent, err = recentActivities(ctx, tx, s.OrganizationID, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	content := organizationContent{Activities: recent, Done: doneBy(r, recent)}
	for _, found := range streams {
		content.Streams = append(content.Streams, viewOf(found))
	}
	return &screen{template: organizationTemplate, status: http.StatusOK, title: s.OrganizationTitle(), content: content}, nil
}

// signInScreen asks the user to sign in. It does not reveal whether the destination
// exists.
func (d *dashboard) signInScreen(to flyext.Destination) *screen {
	return messageScreen(http.StatusForbidden, "You are not signed in", message{
		Text:     "Sign in with Fly.io to see this page.",
		LinkPath: d.signOnPath(to), LinkText: "Sign in with Fly.io",
	})
}

// missingScreen is the same for a destination that does not exist and for one that
// belongs to another organization.
func (d *dashboard) missingScreen(title string, to flyext.Destination) *screen {
	return messageScreen(http.StatusNotFound, title, message{
		Text:     "It was deleted, or it belongs to another organization. If you are a member of that organization, sign in again.",
		LinkPath: d.signOnPath(to), LinkText: "Sign in with Fly.io",
	})
}

// forget answers with an empty style sheet that clears the browser's cache. Pages
// shown without a session include it, so that the Back button cannot show the pages
// of the session that ended.
//
// Chromium keeps pages for its Back button despite no-store, and after the session
// cookie is gone. It stores the last page only after it has received the next one, so
// a header of the next page would come too early.
func forget(w http.ResponseWriter, _ *http.Request) {
	setScreenHeaders(w.Header())
	w.Header().Set("Clear-Site-Data", `"cache"`)
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
}

func (d *dashboard) cookies() sessionCookies { return sessionCookies{d.store.sessionKey, d.secure} }

// signOut ends the session in the database, and removes the cookie.
func (d *dashboard) signOut(w http.ResponseWriter, r *http.Request) {
	err := d.store.inTx(r.Context(), func(tx *sql.Tx) error {
		return endSession(r.Context(), tx, d.cookies().read(r))
	})
	if err != nil {
		d.fail(w, r, err)
		return
	}
	http.SetCookie(w, d.cookies().write(""))
	setScreenHeaders(w.Header())
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
