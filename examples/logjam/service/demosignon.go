package service

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/flyext/flyext/flytest"
)

// A demoSignOn is a simulated Fly.io sign-on, whose listener is open.
type demoSignOn struct {
	listener net.Listener
	url      string
}

// listenDemoSignOn listens on loopback. Its host name differs from Logjam's:
// browsers treat localhost and 127.0.0.1 as two sites, so cookies behave as they
// do between Logjam and Fly.io.
func listenDemoSignOn(logjamAddr string) (*demoSignOn, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	host := "localhost"
	if strings.HasPrefix(logjamAddr, host+":") {
		host = "127.0.0.1"
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return &demoSignOn{listener, "http://" + net.JoinHostPort(host, port)}, err
}

// register configures Logjam as an OAuth application of the simulated sign-on.
func (p *demoSignOn) register(c *config) {
	c.clientID, c.clientSecret, c.oauthURL = "logjam", rand.Text(), p.url
}

// serve starts serving, until the caller closes the returned server.
func (p *demoSignOn) serve(c config, baseURL string, log *slog.Logger) *http.Server {
	fly := &flytest.OAuthServer{ClientID: c.clientID, ClientSecret: c.clientSecret, RedirectURLs: []string{baseURL + "/callback"}}
	fly.SetUsers(demoUsers()...)
	server := newHTTPServer(fly, log)
	go server.Serve(p.listener) // until it is closed
	return server
}

// demoUsers returns an admin and a member of the organization that owns the demo's
// streams, and a user of another organization.
func demoUsers() []flytest.User {
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
