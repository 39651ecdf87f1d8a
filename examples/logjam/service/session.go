package service

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// sessionLifetime is how long a session lasts before the user must sign in again.
// A user removed from an organization at Fly.io keeps access for that long, so it
// is a working day.
const sessionLifetime = 8 * time.Hour

// A session records that a user signed in, and for which organization.
//
// The browser has a random id (at least 128 bits: OWASP ASVS 7.2.3), and the
// database has the hash of the id. The alternative, a signed cookie that contains
// the session, would save one query per page. But signing out could not revoke a
// copy of that cookie.
//
// The database stores only a hash, so a reader of the database cannot make a
// cookie. The hash needs no salt, because a random id cannot be guessed.
type session struct {
	UserID, UserName                 string
	OrganizationID, OrganizationName string
}

// startSession starts a session and returns its id. The id is always new, which
// prevents session fixation: an id that an attacker has put into the browser does
// not become the id of the session.
func startSession(ctx context.Context, tx *sql.Tx, s session, now time.Time) (id string, err error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE expires_at <= $1`, now.Unix()); err != nil {
		return "", err
	}
	id = rand.Text()
	_, err = tx.ExecContext(ctx, `
		INSERT INTO sessions (hash, user_id, user_name, organization_id, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		hashOf(id), s.UserID, s.UserName, s.OrganizationID, now.Add(sessionLifetime).Unix())
	return id, err
}

// findSession returns the session with an id. It returns nil if the session does not
// exist or has expired.
func findSession(ctx context.Context, tx *sql.Tx, id string, now time.Time) (*session, error) {
	var s session
	err := tx.QueryRowContext(ctx, `
		SELECT s.user_id, s.user_name, s.organization_id, o.name
		FROM sessions s JOIN organizations o ON o.id = s.organization_id
		WHERE s.hash = $1 AND s.expires_at > $2`, hashOf(id), now.Unix(),
	).Scan(&s.UserID, &s.UserName, &s.OrganizationID, &s.OrganizationName)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &s, err
}

func endSession(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE hash = $1`, hashOf(id))
	return err
}

func hashOf(id string) []byte {
	hash := sha256.Sum256([]byte(id))
	return hash[:]
}

// sessionCookies writes and reads cookies with a signed session id. The signature
// lets Logjam drop made-up ids without a query.
type sessionCookies struct {
	key    string
	secure bool // the base URL is https
}

// write returns the cookie for a session id. For the id "" it returns a cookie that
// removes the one in the browser.
//
// The prefix __Host- makes a browser refuse the cookie from plain http and from
// sibling domains, which could otherwise sign a user in as another user. Without
// TLS, on loopback, the prefix is not possible. SameSite is Lax because browsers
// do not send Strict cookies when the user comes from Fly.io.
func (c sessionCookies) write(id string) *http.Cookie {
	cookie := &http.Cookie{
		Name: c.name(), Value: id + "." + c.sign(id), Path: "/", MaxAge: int(sessionLifetime / time.Second),
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if id == "" {
		cookie.Value, cookie.MaxAge = "", -1
	}
	return cookie
}

func (c sessionCookies) name() string {
	if c.secure {
		return "__Host-logjam-session"
	}
	return "logjam-session"
}

// read returns the id in the request's cookie. It returns "" if there is no cookie
// or if its signature is wrong.
func (c sessionCookies) read(r *http.Request) (id string) {
	cookie, err := r.Cookie(c.name())
	if err != nil {
		return ""
	}
	id, signature, _ := strings.Cut(cookie.Value, ".")
	if !hmac.Equal([]byte(signature), []byte(c.sign(id))) {
		return ""
	}
	return id
}

func (c sessionCookies) sign(id string) string {
	h := hmac.New(sha256.New, []byte(c.key))
	io.WriteString(h, id)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
