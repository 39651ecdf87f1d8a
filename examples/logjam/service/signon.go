package service

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/flyext/flyext"
)

// sso returns the configuration with which Fly.io's customers sign in.
func (d *dashboard) sso(c config) *flyext.SSOConfig {
	return &flyext.SSOConfig{
		ClientID: c.clientID, ClientSecret: c.clientSecret, OAuthURL: c.oauthURL,
		StateKey:       d.store.stateKey,
		Generation:     flyext.Generation(c.ssoGeneration),
		OrganizationOf: d.organizationOf,
		SignIn:         d.signIn,
		SignedIn:       d.signedIn,
	}
}

func (d *dashboard) organizationOf(ctx context.Context, extensionID string) (organizationID string, err error) {
	err = d.store.inTx(ctx, func(tx *sql.Tx) error {
		s, err := findStream(ctx, tx, extensionID)
		if err == nil {
			organizationID = s.organizationID
		}
		return err
	})
	return organizationID, err
}

var errNoCustomer = flyext.NotFound("This organization has no log streams. Create one with: flyctl ext logjam create")

// signIn starts a session for a user that Fly.io has identified. It ends the
// browser's previous session, which belonged to another user or organization.
func (d *dashboard) signIn(w http.ResponseWriter, r *http.Request, user *flyext.Identity) error {
	var id string
	err := d.store.inTx(r.Context(), func(tx *sql.Tx) (err error) {
		id, err = d.replaceSession(r.Context(), tx, d.cookies().read(r), user)
		return err
	})
	if err != nil {
		return err
	}
	http.SetCookie(w, d.cookies().write(id))
	http.Redirect(w, r, destinationPath(flyext.Destination{
		ExtensionID: user.ExtensionID, OrganizationID: user.OrganizationID,
	}), http.StatusSeeOther)
	return nil
}

// replaceSession ends the previous session, and starts one for a user of a customer.
// It returns the id of the new session.
func (d *dashboard) replaceSession(ctx context.Context, tx *sql.Tx, previous string, user *flyext.Identity) (id string, err error) {
	// Generation 1 identifies the organization of an admin, but not the admin.
	userID := cmp.Or(user.UserID, "admin-of-"+user.OrganizationID)
	name := cmp.Or(user.Name, user.Email, userID)
	s, err := visitedStream(ctx, tx, user)
	if err != nil {
		return "", err
	}
	err = saveOwner(ctx, tx, owner{
		organizationID: user.OrganizationID, userID: userID, userEmail: user.Email, userRole: user.Role,
	})
	if err != nil {
		return "", err
	}
	if err := endSession(ctx, tx, previous); err != nil {
		return "", err
	}
	id, err = startSession(ctx, tx, session{
		UserID: userID, UserName: name, OrganizationID: user.OrganizationID,
	}, d.now())
	if err != nil {
		return "", err
	}
	return id, recordActivity(ctx, tx, user.OrganizationID, activity{
		What: "Signed in", StreamID: s.id, StreamName: s.name, Who: name,
	})
}

// visitedStream returns the stream that a user signs in for, or an empty one if the
// user signs in for the whole organization. It refuses a user whose organization is
// not a customer.
func visitedStream(ctx context.Context, tx *sql.Tx, user *flyext.Identity) (*stream, error) {
	// Members of every Fly.io organization can get here. Store nothing about an
	// organization that is not a customer.
	known, err := hasOrganization(ctx, tx, user.OrganizationID)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, errNoCustomer
	case user.ExtensionID == "":
		return &stream{}, nil
	}
	s, err := findStream(ctx, tx, user.ExtensionID)
	if err != nil {
		return nil, err
	}
	if s.organizationID != user.OrganizationID { // the stream moved during the sign-in
		return nil, errNotFound
	}
	return s, nil
}

// signedIn returns the path of the destination if the browser has a session for
// its organization. Otherwise, or if the database fails, it returns "", and the
// user signs in at Fly.io.
func (d *dashboard) signedIn(r *http.Request, to flyext.Destination) (location string) {
	s, err := d.session(r)
	if err != nil {
		d.log.Error("cannot read session", slog.String("error", err.Error()))
		return ""
	}
	if s == nil || s.OrganizationID != to.OrganizationID {
		return ""
	}
	return destinationPath(to)
}

// session returns the browser's session, or nil if the browser is not signed in.
func (d *dashboard) session(r *http.Request) (s *session, err error) {
	id := d.cookies().read(r)
	if id == "" {
		return nil, nil
	}
	err = d.store.inTx(r.Context(), func(tx *sql.Tx) error {
		s, err = findSession(r.Context(), tx, id, d.now())
		return err
	})
	return s, err
}

func hasOrganization(ctx context.Context, tx *sql.Tx, id string) (has bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM organizations WHERE id = $1)`, id).Scan(&has)
	return has, err
}

// destinationPath returns the path of the page for a destination.
func destinationPath(to flyext.Destination) string {
	if to.ExtensionID != "" {
		return "/streams/" + url.PathEscape(to.ExtensionID)
	}
	return "/organizations/" + url.PathEscape(to.OrganizationID)
}

// signOnPath returns the path that starts the sign-in for a destination.
func (d *dashboard) signOnPath(to flyext.Destination) string {
	if to.ExtensionID != "" {
		return d.basePath() + "extensions/" + url.PathEscape(to.ExtensionID) + "/sso"
	}
	return d.basePath() + "organizations/" + url.PathEscape(to.OrganizationID) + "/sso"
}

// basePath returns the path of the base URL, with a slash at its end.
func (d *dashboard) basePath() string { return d.base.JoinPath("/").EscapedPath() }
