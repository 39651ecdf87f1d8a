// Signin is a service with its own sessions that signs in Fly.io's customers.
// main.go contains the code that this needs.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// A service is the existing service: streams that belong to organizations, and
// sessions. It is safe for concurrent use.
type service struct {
	mu       sync.Mutex
	owners   map[string]string  // organization id by stream id
	sessions map[string]session // by session id
}

// A session is a signed-in user with the organization that Fly.io confirmed.
type session struct {
	userID, organizationID string
	ends                   time.Time
}

func newService() *service {
	return &service{owners: map[string]string{}, sessions: map[string]session{}}
}

const cookieName = "__Host-session"

// start gives the browser a session with a new id. An attacker may have chosen the
// previous one.
func (s *service) start(w http.ResponseWriter, userID, organizationID string) {
	id, life := rand.Text(), 8*time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = session{userID, organizationID, time.Now().Add(life)}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: id, Path: "/", MaxAge: int(life.Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// maySee reports whether the browser has a session for the organization.
func (s *service) maySee(r *http.Request, organizationID string) bool {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.sessions[c.Value]
	return ok && found.organizationID == organizationID && time.Now().Before(found.ends)
}

// organizationOf returns the organization of a stream.
func (s *service) organizationOf(_ context.Context, streamID string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.owners[streamID]; ok {
		return id, nil
	}
	return "", flyext.NotFound("There is no such stream.")
}

// showStream serves the page of a stream.
func (s *service) showStream(w http.ResponseWriter, r *http.Request) {
	organizationID, err := s.organizationOf(r.Context(), r.PathValue("id"))
	if err != nil || !s.maySee(r, organizationID) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintf(w, "This is stream %q.\n", r.PathValue("id"))
}

// Provision implements [flyext.Provisioner].
func (s *service) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner, ok := s.owners[r.ID]; ok && owner != r.OrganizationID {
		return nil, flyext.Conflict("This stream belongs to another organization.")
	}
	s.owners[r.ID] = r.OrganizationID
	return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
}

// Update implements [flyext.Provisioner].
func (s *service) Update(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
	return nil, flyext.Unsupported("A stream cannot be changed yet.")
}
