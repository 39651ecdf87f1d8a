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

// sessionLifetime is how long Logjam goes without asking Fly.io again. Who is
// taken out of an organization can look at its streams for so long: a working
// day, not a month.
const sessionLifetime = 8 * time.Hour

// A session is a user who signed in, and the organization that Fly.io said they
// are in.
//
// The browser has a random id (128 bits or more: OWASP ASVS 7.2.3), and the
// database its hash. A signed cookie that carries the session itself would
// save the look into the database that every screen takes anyway; but signing
// out would then only ask the browser to forget it, and whoever had copied it
// would stay in. The hash is for those who get to read the database: none of it
// can be sent as a cookie. It needs no salt, as nobody can guess what is random.
type session struct {
	UserID, UserName                 string
	OrganizationID, OrganizationName string
}

// startSession returns the id of a new session. That a session never keeps the
// id of one before is what makes an id useless that somebody else put into the
// browser.
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

// findSession returns a session that is not over, or nil.
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

// sessionCookies are how session ids travel: signed, so that what was never one
// of Logjam's does not get as far as the database.
type sessionCookies struct {
	key    string
	secure bool // the base URL is https
}

// write returns the cookie of a session id; of "", the one to take it away with.
// Its name makes a browser refuse it from plain http and from sibling domains,
// which could otherwise sign a user in as somebody else; on loopback without
// TLS there is no such name. Lax is the strictest that comes along on the way
// here from Fly.io.
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

// read returns the id that a browser sent, or "".
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
