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

// A dashboard is what customers see of their streams in a browser. What a
// session may see is what belongs to its organization, and for everything else
// the answer is the one for what does not exist.
type dashboard struct {
	logjam *Logjam
	store  *store   // Logjam's
	base   *url.URL // of the provider
	secure bool     // it is https
	now    func() time.Time
	log    *slog.Logger
}

// serve adds the dashboard to what Logjam answers.
func (d *dashboard) serve(mux *http.ServeMux, signOn *flyext.SignOn) {
	// A route of Logjam's own, for the dashboard of a whole organization. It is
	// below the base path as the provider's are: the cookies of handshakes are
	// sent only there, and only where they are seen can they be kept few.
	mux.HandleFunc(d.basePath()+"organizations/{id}/sso", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{OrganizationID: r.PathValue("id")})
	})
	mux.Handle("GET /{$}", d.show(d.home))
	mux.Handle("GET /streams/{id}", d.show(d.stream))
	mux.Handle("GET /organizations/{id}", d.show(d.organization))

	mux.HandleFunc("GET /forget.css", forget)

	ownSite := http.NewCrossOriginProtection()
	ownSite.SetDenyHandler(d.show(func(*http.Request, *session) (*screen, error) {
		return messageScreen(http.StatusForbidden, "Nothing was changed", message{
			Text: "Another site tried to do that in your name. To do it yourself, use the button.",
		}), nil
	}))
	mux.Handle("POST /sign-out", ownSite.Handler(http.HandlerFunc(d.signOut)))
	mux.Handle("POST /streams/{id}/sleep", ownSite.Handler(d.show(d.sleep)))
	mux.Handle("POST /streams/{id}/wake", ownSite.Handler(d.show(d.wake)))
	mux.Handle("GET /streams/{id}/delete", d.show(d.confirmDeletion))
	mux.Handle("POST /streams/{id}/delete", ownSite.Handler(d.show(d.remove)))
}

// show answers with a screen for the session that the browser has, or nil.
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

// fail answers for an error that is not the customer's.
func (d *dashboard) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.log.ErrorContext(r.Context(), "page failed", slog.String("pattern", r.Pattern), slog.String("error", err.Error()))
	page := messageScreen(http.StatusInternalServerError, "This page cannot be shown", message{
		Text: "Something went wrong at Logjam. Try again in a moment.",
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
		Text: "To see one of your log streams, let flyctl open it:", Command: "flyctl ext logjam dashboard",
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

// signInScreen says nothing about whether there is what was asked for.
func (d *dashboard) signInScreen(to flyext.Destination) *screen {
	return messageScreen(http.StatusForbidden, "You are not signed in", message{
		Text:     "Sign in with Fly.io to see this page.",
		LinkPath: d.signOnPath(to), LinkText: "Sign in with Fly.io",
	})
}

// missingScreen is for what does not exist and for what is another's alike.
func (d *dashboard) missingScreen(title string, to flyext.Destination) *screen {
	return messageScreen(http.StatusNotFound, title, message{
		Text:     "It was deleted, or it does not belong to the organization that you are signed in for.",
		LinkPath: d.signOnPath(to), LinkText: "Ask Fly.io again",
	})
}

// forget is a style sheet without styles, in the pages of those who are not
// signed in. Chromium keeps pages for its back button, in spite of no-store and
// of the session cookie being gone, and the page that the user has just left is
// kept only after the next one has come: too late for a header of that one.
// Without scripts, this is how to have them dropped.
func forget(w http.ResponseWriter, _ *http.Request) {
	setScreenHeaders(w.Header())
	w.Header().Set("Clear-Site-Data", `"cache"`)
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
}

func (d *dashboard) cookies() sessionCookies { return sessionCookies{d.store.sessionKey, d.secure} }

// signOut ends the session here, and not only in the browser.
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
