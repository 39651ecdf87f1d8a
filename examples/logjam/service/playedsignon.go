package service

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/flyext/flyext/flytest"
)

// A playedSignOn is the played Fly.io's OAuth server, listening.
type playedSignOn struct {
	listener net.Listener
	url      string
}

// listenSignOn listens on loopback, under a host name that is not Logjam's: to a
// browser localhost and 127.0.0.1 are two sites, as Logjam and Fly.io are, and
// cookies are treated accordingly.
func listenSignOn(logjamAddr string) (*playedSignOn, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	host := "localhost"
	if strings.HasPrefix(logjamAddr, host+":") {
		host = "127.0.0.1"
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return &playedSignOn{listener, "http://" + net.JoinHostPort(host, port)}, err
}

// register makes Logjam an application of the played Fly.io.
func (p *playedSignOn) register(c *config) {
	c.clientID, c.clientSecret, c.oauthURL = "logjam", rand.Text(), p.url
}

// serve serves until the server that it returns is closed.
func (p *playedSignOn) serve(c config, baseURL string, log *slog.Logger) *http.Server {
	fly := &flytest.OAuthServer{ClientID: c.clientID, ClientSecret: c.clientSecret, RedirectURLs: []string{baseURL + "/callback"}}
	fly.SetUsers(playedUsers()...)
	server := newHTTPServer(fly, log)
	go server.Serve(p.listener) // until it is closed
	return server
}

// playedUsers are an admin and a member of the organization that has the show's
// streams, and somebody who is in another.
func playedUsers() []flytest.User {
	of := func(id, name, role string) []flytest.UserOrganization {
		return []flytest.UserOrganization{{OrganizationID: id, OrganizationName: name, Role: role}}
	}
	o := order()
	return []flytest.User{
		{ID: o.UserID, Name: "Nathan", Organizations: of(o.OrganizationID, o.OrganizationName, "admin")},
		{ID: "0vogzmzoj1k5xp29", Name: "Emmy", Organizations: of(o.OrganizationID, o.OrganizationName, "member")},
		{ID: "5lgmabb3y30qwe71", Name: "Stranger", Organizations: of("x3o8nk1mzqp05rvd", "Anticollider", "admin")},
	}
}
