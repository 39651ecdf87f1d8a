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

// sso is how Fly.io's customers come into the dashboard.
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

var errNoCustomer = flyext.NotFound("This organization has no log streams. Make one with: flyctl ext logjam create")

// signIn starts the session of a user whom Fly.io vouches for. The session that
// the browser had before is over: it was another user's or organization's.
func (d *dashboard) signIn(w http.ResponseWriter, r *http.Request, user *flyext.Identity) error {
	ctx := r.Context()
	// Generation 1 says of which organization somebody is an admin, and not who.
	userID := cmp.Or(user.UserID, "admin-of-"+user.OrganizationID)
	name := cmp.Or(user.Name, user.Email, userID)
	var id string
	err := d.store.inTx(ctx, func(tx *sql.Tx) error {
		// Fly.io vouches for the members of any organization. Who is not a
		// customer leaves no trace.
		known, err := hasOrganization(ctx, tx, user.OrganizationID)
		if err != nil {
			return err
		}
		if !known {
			return errNoCustomer
		}
		a := activity{What: "Signed in", Who: name}
		if user.ExtensionID != "" {
			s, err := findStream(ctx, tx, user.ExtensionID)
			if err != nil {
				return err
			}
			if s.organizationID != user.OrganizationID { // it was, when Fly.io was asked
				return errNotFound
			}
			a.StreamID, a.StreamName = s.id, s.name
		}
		err = saveOwner(ctx, tx, owner{
			organizationID: user.OrganizationID, userID: userID, userEmail: user.Email, userRole: user.Role,
		})
		if err != nil {
			return err
		}
		if err := endSession(ctx, tx, d.cookies().read(r)); err != nil {
			return err
		}
		id, err = startSession(ctx, tx, session{
			UserID: userID, UserName: name, OrganizationID: user.OrganizationID,
		}, d.now())
		if err != nil {
			return err
		}
		return recordActivity(ctx, tx, user.OrganizationID, a)
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

// signedIn sends those on who are signed in for this organization. Without a
// database nobody is.
func (d *dashboard) signedIn(r *http.Request, to flyext.Destination) (location string) {
	s, err := d.session(r)
	if err != nil {
		d.log.Error("session not read", slog.String("error", err.Error()))
		return ""
	}
	if s == nil || s.OrganizationID != to.OrganizationID {
		return ""
	}
	return destinationPath(to)
}

// session returns the session of the browser, or nil.
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

// destinationPath is the path of a screen.
func destinationPath(to flyext.Destination) string {
	if to.ExtensionID != "" {
		return "/streams/" + url.PathEscape(to.ExtensionID)
	}
	return "/organizations/" + url.PathEscape(to.OrganizationID)
}

// signOnPath is where the handshake for a destination begins.
func (d *dashboard) signOnPath(to flyext.Destination) string {
	if to.ExtensionID != "" {
		return d.basePath() + "extensions/" + url.PathEscape(to.ExtensionID) + "/sso"
	}
	return d.basePath() + "organizations/" + url.PathEscape(to.OrganizationID) + "/sso"
}

// basePath is the path of the base URL, with a slash at its end.
func (d *dashboard) basePath() string { return d.base.JoinPath("/").EscapedPath() }
