package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const ssoHelp = `Sso simulates a customer who opens the dashboard of an extension. It follows the
provider's single sign-on as a browser does, and shows each step.

Flysim runs an OAuth server in place of Fly.io's. Start the provider with the
OAuth URL http://127.0.0.1:4000 instead of https://api.fly.io (generation 1:
https://fly.io). The examples read this URL from FLYIO_OAUTH_URL. Set
FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET to the values that the provider has.

The sign-on succeeds if an admin gets in and a stranger does not. Members may get
in or not, as the provider chooses. The sign-on always fails if the provider lets
a user in without asking Fly.io for the user's identity.

With --open, you sign in with your own browser.`

// ssoOptions holds the flags of sso.
type ssoOptions struct {
	addr, as, org string
	organization  string // opens the dashboard of this organization instead of an extension's
	generation    int
	open          bool
}

const (
	defaultOAuthAddr  = "127.0.0.1:4000"
	oauthAddrHelp     = "the loopback `address` of the OAuth server"
	ssoGenerationHelp = "the generation `N` of the sign-on, 1 or 2 (default that of the requests)"
)

func (p *program) ssoCommand() *cobra.Command {
	var s ssoOptions
	cmd := &cobra.Command{
		Use: "sso ID [flags]", Short: "Sign on to an extension's dashboard", Long: ssoHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("organization") {
				return noArguments(cmd, args)
			}
			return oneID(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.sso(cmd, strings.Join(args, ""), s) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.addr, "oauth-addr", defaultOAuthAddr, oauthAddrHelp)
	flags.StringVar(&s.as, "as", "admin", "the `user` who signs on: admin or member of the organization, or stranger to it")
	flags.StringVar(&s.org, "org", defaultOrganization, "the `id` of the organization that owns the extension (see --organization for dashboards)")
	flags.StringVar(&s.organization, "organization", "", "open the dashboard of the organization with this `id` instead of an extension's: GET {base}/organizations/{id}/sso")
	flags.IntVar(&s.generation, "sso-generation", 0, ssoGenerationHelp)
	flags.BoolVar(&s.open, "open", false, "sign on with your own browser, and run the OAuth server until Ctrl-C")
	return cmd
}

// users returns the users who can sign on. Their names are the values of --as.
func users(org string) []flytest.User {
	of := func(id, role string) []flytest.UserOrganization {
		return []flytest.UserOrganization{{OrganizationID: id, OrganizationName: id, Role: role}}
	}
	return []flytest.User{
		{ID: defaultUser, Name: "admin", Organizations: of(org, "admin")},
		{ID: "0vogzmzoj1k5xp29", Name: "member", Organizations: of(org, "member")},
		{ID: "5lgmabb3y30qwe71", Name: "stranger", Organizations: of("x3o8nk1mzqp05rvd", "admin")},
	}
}

func (p *program) sso(cmd *cobra.Command, id string, s ssoOptions) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	p.wire.answers = true
	server, err := p.ssoServer(cmd, s)
	if err != nil {
		return err
	}
	oauthURL, stop, err := serveHandler("oauth-addr", s.addr, server)
	if err != nil {
		return err
	}
	defer stop()
	target := p.baseURL + "/organizations/" + url.PathEscape(s.organization) + "/sso"
	if s.organization == "" {
		if target, err = fly.DashboardURL(id); err != nil {
			return err
		}
	}
	if s.open {
		return p.openSSO(cmd.Context(), target, oauthURL)
	}
	browser, err := flytest.NewBrowser(fly.Client, target, oauthURL)
	if err != nil {
		return err
	}
	visit, err := browser.Open(cmd.Context(), target)
	if visit == nil {
		return err
	}
	outcome, verdict := judgeVisit(visit, server.Requests(), s.as, oauthURL)
	if err != nil {
		outcome, verdict = "an error in the browser", err
	}
	return p.showVisit(visit, s.as, outcome, verdict)
}

// ssoServer returns the OAuth server that the flags describe. It signs on the user
// of --as. With --open and without --as, its page asks for the user.
func (p *program) ssoServer(cmd *cobra.Command, s ssoOptions) (*flytest.OAuthServer, error) {
	if err := p.needClient(); err != nil {
		return nil, err
	}
	generation, err := p.parseSSOGeneration(s.generation)
	if err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("organization") {
		s.org = s.organization
	}
	all := users(s.org)
	user := slices.IndexFunc(all, func(u flytest.User) bool { return u.Name == s.as })
	if user < 0 || s.org == "" {
		return nil, usagef("invalid user or organization; --as is admin, member or stranger, and --org must not be empty")
	}
	if s.open && p.json {
		return nil, usagef("--open and --json exclude each other; use one of them")
	}
	server := p.oauthServer(generation)
	server.SetUsers(all...)
	if !s.open || cmd.Flags().Changed("as") {
		server.SetChoice(&flytest.Choice{UserID: all[user].ID})
	}
	return server, nil
}

// oauthServer returns an OAuth server that knows the provider's client.
func (p *program) oauthServer(generation flyext.Generation) *flytest.OAuthServer {
	return &flytest.OAuthServer{
		ClientID: p.clientID, ClientSecret: p.clientSecret, Generation: generation,
		RedirectURLs: []string{p.baseURL + "/callback"},
	}
}

// serveHandler serves at the address of a flag until the caller calls stop.
func serveHandler(flag, addr string, handler http.Handler) (url string, stop func(), err error) {
	listener, url, err := listen(flag, addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // until server.Close
	return url, func() { server.Close() }, nil
}

func (p *program) openSSO(ctx context.Context, target, oauthURL string) error {
	p.out.say("The simulated OAuth server is at %s. Start the provider with this OAuth URL. Press Ctrl-C to end the server. Dashboard:", oauthURL)
	p.out.blank()
	p.out.line(cyan, "  ", target)
	p.out.blank()
	if err := p.browse(target); err != nil {
		p.out.say("Flysim could not open a browser. Open this URL in yours.")
	}
	<-ctx.Done()
	return ctx.Err()
}

// judgeVisit returns where a visit ended. It returns an error if the user, whose
// name is as, must not end there.
func judgeVisit(visit *flytest.Visit, asked []flytest.OAuthRequest, as, oauthURL string) (outcome string, err error) {
	last := visit.Last()
	ended := last.Response.Status + " of " + withoutQuery(last.Request.URL)
	status := last.Response.StatusCode
	if to := visit.Elsewhere; to != nil {
		ended = "a redirect to " + withoutQuery(to) + ", which flysim does not follow"
		if strings.HasSuffix(to.Path, flytest.AuthorizeEndpoint) {
			return ended, fmt.Errorf("the provider redirects browsers to the sign-on at %s://%s; start it with the OAuth URL %s of the simulator", to.Scheme, to.Host, oauthURL)
		}
	}
	has := func(endpoint string) bool {
		return slices.ContainsFunc(asked, func(r flytest.OAuthRequest) bool { return r.Path == endpoint })
	}
	in := status < 400
	switch {
	case status >= 500:
		return ended, errors.New("the provider failed: " + last.Response.Status)
	case in && !has(flytest.AuthorizeEndpoint):
		return ended, errors.New("the provider let a browser in without asking Fly.io for the user's identity")
	case in && !has(flytest.TokenEndpoint):
		return ended, errors.New("the provider let a browser in without redeeming the code, which an attacker can make up")
	case as == "stranger" && in:
		return ended, errors.New("the provider let in a user who does not belong to the organization")
	case as == "admin" && !in:
		return ended, fmt.Errorf("the provider did not let in an admin of the organization: %s; check that --org is the organization of the extension", last.Response.Status)
	}
	return ended, nil
}

func withoutQuery(u *url.URL) string {
	plain := *u
	plain.RawQuery, plain.Fragment = "", ""
	return plain.Redacted()
}

// A jsonVisit is the output of sso --json.
type jsonVisit struct {
	As      string     `json:"as"`
	LetIn   bool       `json:"let_in"`
	Steps   []jsonStep `json:"steps"`
	Outcome string     `json:"outcome"`
	Error   *jsonError `json:"error,omitempty"`
}

// A jsonStep is a request. Its URL has no query, because a query can contain a code.
type jsonStep struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Status int    `json:"status"`
}

func (p *program) showVisit(visit *flytest.Visit, as, outcome string, verdict error) error {
	letIn := visit.Last().Response.StatusCode < 400
	if p.json {
		doc := jsonVisit{As: as, LetIn: letIn && verdict == nil, Outcome: p.redact(outcome)}
		for _, e := range visit.Exchanges {
			doc.Steps = append(doc.Steps, jsonStep{e.Request.Method, withoutQuery(e.Request.URL), e.Response.StatusCode})
		}
		if verdict == nil {
			p.writeJSON(doc)
			return nil
		}
		doc.Error = p.newJSONError(verdict)
		p.writeJSON(doc)
		return &reportedError{verdict}
	}
	for i, e := range visit.Exchanges {
		p.out.hang(plain, fmt.Sprintf("%2d  ", i+1), e.Request.Method+" "+withoutQuery(e.Request.URL))
		s := green
		if e.Response.StatusCode >= 400 {
			s = red
		}
		p.out.line(s, "    ", e.Response.Status)
	}
	p.out.blank()
	p.out.say("The sign-on ended with %s.", outcome)
	if verdict == nil {
		p.out.say("The %s was %s.", as, map[bool]string{true: "let in", false: "refused"}[letIn])
	}
	return verdict
}
