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

// A signOn is what the flags of sso say.
type signOn struct {
	addr, as, org string
	organization  string // whose dashboard is opened, in place of an extension's
	generation    int
	open          bool
}

const (
	defaultOAuthAddr  = "127.0.0.1:4000"
	oauthAddrHelp     = "the loopback `address` of the OAuth server"
	ssoGenerationHelp = "the generation `N` of the sign-on, 1 or 2 (default that of the requests)"
)

func (p *program) ssoCommand() *cobra.Command {
	var s signOn
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
	flags.StringVar(&s.org, "org", defaultOrganization, "the `id` of the organization that the extension was provisioned for")
	flags.StringVar(&s.organization, "organization", "", "open the dashboard of the organization with this `id` instead of an extension's: GET {base}/organizations/{id}/sso")
	flags.IntVar(&s.generation, "sso-generation", 0, ssoGenerationHelp)
	flags.BoolVar(&s.open, "open", false, "sign on with your own browser, and run the OAuth server until Ctrl-C")
	return cmd
}

// users are who can sign in, by what --as calls them.
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

func (p *program) sso(cmd *cobra.Command, id string, s signOn) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	p.wire.answers = true
	if err := p.needClient(); err != nil {
		return err
	}
	generation, err := p.parseSSOGeneration(s.generation)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("organization") {
		s.org = s.organization
	}
	all := users(s.org)
	user := slices.IndexFunc(all, func(u flytest.User) bool { return u.Name == s.as })
	if user < 0 || s.org == "" {
		return usagef("--as is admin, member or stranger, and --org is an organization")
	}
	if s.open && p.json {
		return usagef("--open is for a person and --json for a machine")
	}
	server := p.oauthServer(generation)
	server.SetUsers(all...)
	if !s.open || cmd.Flags().Changed("as") {
		server.SetChoice(&flytest.Choice{UserID: all[user].ID})
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
		outcome, verdict = "the browser gave up", err
	}
	return p.showVisit(visit, s.as, outcome, verdict)
}

// oauthServer returns a server that the provider is an application of.
func (p *program) oauthServer(generation flyext.Generation) *flytest.OAuthServer {
	return &flytest.OAuthServer{
		ClientID: p.clientID, ClientSecret: p.clientSecret, Generation: generation,
		RedirectURLs: []string{p.baseURL + "/callback"},
	}
}

// serveHandler serves on the address that a flag says, until stop is called.
func serveHandler(flag, addr string, handler http.Handler) (url string, stop func(), err error) {
	listener, url, err := listen(flag, addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // until it is closed
	return url, func() { server.Close() }, nil
}

func (p *program) openSSO(ctx context.Context, target, oauthURL string) error {
	p.out.say("The played OAuth server is at %s, which is what the provider has to be started with. Press Ctrl-C to end it. The dashboard is at", oauthURL)
	p.out.blank()
	p.out.line(cyan, "  ", target)
	p.out.blank()
	if err := p.browse(target); err != nil {
		p.out.say("No browser could be opened from here: open that URL in yours.")
	}
	<-ctx.Done()
	return ctx.Err()
}

// judgeVisit says where a visit ended, and whether that is right for who came.
func judgeVisit(visit *flytest.Visit, asked []flytest.OAuthRequest, as, oauthURL string) (outcome string, err error) {
	last := visit.Last()
	ended := last.Response.Status + " of " + withoutQuery(last.Request.URL)
	status := last.Response.StatusCode
	if to := visit.Elsewhere; to != nil {
		ended = "a redirect to " + withoutQuery(to) + ", where flysim does not go"
		if strings.HasSuffix(to.Path, flytest.AuthorizeEndpoint) {
			return ended, fmt.Errorf("the provider sends browsers to the sign-on at %s://%s, and not to the played one: start it with the OAuth URL %s", to.Scheme, to.Host, oauthURL)
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
		return ended, errors.New("the provider let a browser in without asking Fly.io who it is")
	case in && !has(flytest.TokenEndpoint):
		return ended, errors.New("the provider let a browser in without redeeming the code, which anybody can make up")
	case as == "stranger" && in:
		return ended, errors.New("the provider let in a stranger to the organization")
	case as == "admin" && !in:
		return ended, fmt.Errorf("the provider did not let in an admin of the organization (is it the one of --org?): %s", last.Response.Status)
	}
	return ended, nil
}

func withoutQuery(u *url.URL) string {
	plain := *u
	plain.RawQuery, plain.Fragment = "", ""
	return plain.Redacted()
}

// A jsonVisit is what sso --json writes.
type jsonVisit struct {
	As      string     `json:"as"`
	LetIn   bool       `json:"let_in"`
	Steps   []jsonStep `json:"steps"`
	Outcome string     `json:"outcome"`
	Error   *jsonError `json:"error,omitempty"`
}

// A jsonStep is a request; its URL is without the query, which has codes.
type jsonStep struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Status int    `json:"status"`
}

func (p *program) showVisit(visit *flytest.Visit, as, outcome string, verdict error) error {
	letIn := visit.Last().Response.StatusCode < 400
	if p.json {
		told := jsonVisit{As: as, LetIn: letIn && verdict == nil, Outcome: p.redact(outcome)}
		for _, e := range visit.Exchanges {
			told.Steps = append(told.Steps, jsonStep{e.Request.Method, withoutQuery(e.Request.URL), e.Response.StatusCode})
		}
		if verdict == nil {
			p.writeJSON(told)
			return nil
		}
		told.Error = p.newJSONError(verdict)
		p.writeJSON(told)
		return &toldError{verdict}
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
	p.out.say("It ended with %s.", outcome)
	if verdict == nil {
		p.out.say("The %s was %s.", as, map[bool]string{true: "let in", false: "refused"}[letIn])
	}
	return verdict
}
