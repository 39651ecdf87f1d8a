package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const checkHelp = `Check tests whether a provider meets the requirements of Fly.io's protocol. It
provisions extensions whose ids begin with "flytest-", and removes them. It skips
the requirements of features that the provider does not offer.

To test the sign-on, start the provider with the OAuth URL http://127.0.0.1:4000,
at which check runs an OAuth server. Set FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET
to the values that the provider has.

To test the webhooks, start the provider with the webhook endpoint
http://127.0.0.1:4001/. Set FLYIO_WEBHOOK_SECRET to the value that the provider
has, and pass --webhook-addr 127.0.0.1:4001.

With --verbose, check shows all requests and answers of each failure.

` + exitCodes

// checkOptions holds the flags of check.
type checkOptions struct {
	only             []string
	list             bool
	junit            string
	oauthAddr        string
	webhookAddr      string
	ssoGeneration    int
	patience, budget time.Duration
	options          []string
	params           string
	recordDir        string
	words            map[string]string // provider-specific statuses
}

// statuses returns the provider-specific statuses for flytest.
func (c *checkOptions) statuses() map[string]flyext.Status {
	all := make(map[string]flyext.Status, len(c.words))
	for word, status := range c.words {
		all[word] = flyext.Status(status)
	}
	return all
}

const (
	defaultPatience = 30 * time.Second
	defaultBudget   = 5 * time.Second
)

func (p *program) checkCommand() *cobra.Command {
	var c checkOptions
	cmd := &cobra.Command{
		Use: "check [URL] [flags]", Short: "Test whether a provider meets all requirements", Long: checkHelp, Args: baseURLArgument,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.check(cmd.Context(), &c) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&c.only, "only", nil, "test only these requirements: their `ids`, separated by commas or spaces")
	flags.BoolVar(&c.list, "list", false, "list the requirements and their sources, and test nothing")
	flags.StringVar(&c.junit, "junit", "", "also write the report to this `file` as JUnit XML, for CI systems")
	flags.StringArrayVar(&c.options, "option", nil, optionHelp)
	flags.StringVar(&c.params, "params", "", paramsHelp)
	flags.StringVar(&c.recordDir, "record", "", "write the requests and answers of each failure to a HAR file in this `directory`; the files contain secrets")
	flags.StringVar(&c.oauthAddr, "oauth-addr", defaultOAuthAddr, oauthAddrHelp+", which runs if a client id and secret are set")
	flags.StringVar(&c.webhookAddr, "webhook-addr", "", "receive and verify the provider's webhooks at this loopback `address`, at any path (default off)")
	flags.IntVar(&c.ssoGeneration, "sso-generation", 0, ssoGenerationHelp)
	flags.StringToStringVar(&c.words, "status", nil, "map a provider-specific status, as `word=status`, such as ACTIVE_HEALTHY=ready; repeatable")
	flags.Lookup("status").DefValue = "" // the help would show []
	flags.DurationVar(&c.patience, "patience", defaultPatience, "the `duration` to wait until an extension is ready; flyctl waits 4m")
	flags.DurationVar(&c.budget, "budget", defaultBudget, "the longest `duration` that an answer may take")
	return cmd
}

func (p *program) check(ctx context.Context, c *checkOptions) error {
	c.only = strings.FieldsFunc(strings.Join(c.only, " "), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	requirements, err := choose(c.only)
	if err != nil {
		return err
	}
	if c.list {
		return p.listRequirements(requirements)
	}
	conformance, err := p.conformance(c)
	if err != nil {
		return err
	}
	stopOAuth, err := p.serveOAuth(conformance, c.oauthAddr)
	if err != nil {
		return err
	}
	defer stopOAuth()
	stopWebhooks, err := p.serveWebhooks(conformance, c.webhookAddr)
	if err != nil {
		return err
	}
	defer stopWebhooks()
	return p.runCheck(ctx, c, conformance, newReport(p, len(requirements)))
}

// runCheck runs the tests. It writes the report, the JUnit file and the HAR files.
func (p *program) runCheck(ctx context.Context, c *checkOptions, conformance *flytest.Conformance, report *report) error {
	junit, err := createJUnit(c.junit) // after the checks of the flags, because it empties the file
	if err != nil {
		return err
	}
	var unwritten error
	conformance.Started = report.started
	conformance.Finished = func(result flytest.Result) {
		report.finished(result)
		p.reportExchanges(result)
		unwritten = cmp.Or(unwritten, p.record(c.recordDir, result))
	}
	results, err := conformance.Run(ctx)
	p.err.clear()
	err = p.endCheck(ctx, report, results, junit, err)
	if unwritten != nil && ctx.Err() == nil {
		return usagef("--record: %w", unwritten) // after the report, which is complete
	}
	return err
}

// conformance returns the tests that the flags describe, without the servers that
// the provider calls.
func (p *program) conformance(c *checkOptions) (*flytest.Conformance, error) {
	if err := p.needProvider(); err != nil {
		return nil, err
	}
	if c.patience <= 0 || c.budget <= 0 {
		return nil, usagef("--patience and --budget must be more than 0")
	}
	generation, err := p.parseSSOGeneration(c.ssoGeneration)
	if err != nil {
		return nil, err
	}
	if c.webhookAddr != "" && p.webhookSecret == "" {
		return nil, usagef("missing webhook secret for --webhook-addr; set FLYIO_WEBHOOK_SECRET to the value that the provider has")
	}
	params, err := p.extra(c.options, c.params)
	if err != nil {
		return nil, err
	}
	return &flytest.Conformance{
		Params: params, Statuses: c.statuses(),
		BaseURL: p.baseURL, Format: p.format, Credentials: p.credentials(), SSOGeneration: generation,
		Client: p.client(), Budget: c.budget, Patience: c.patience, Only: c.only,
	}, nil
}

// serveOAuth adds the OAuth server to the tests, and serves it until the caller
// calls stop. It does nothing without the provider's OAuth client.
func (p *program) serveOAuth(conformance *flytest.Conformance, addr string) (stop func(), err error) {
	if p.clientID == "" {
		return func() {}, nil
	}
	conformance.OAuth = p.oauthServer(conformance.SSOGeneration)
	conformance.OAuthURL, stop, err = serveHandler("oauth-addr", addr, conformance.OAuth)
	return stop, err
}

// serveWebhooks adds the webhook receiver to the tests, and serves it until the
// caller calls stop. It does nothing if addr is "".
func (p *program) serveWebhooks(conformance *flytest.Conformance, addr string) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	conformance.Webhooks = &flytest.WebhookReceiver{Secret: p.webhookSecret}
	_, stop, err = serveHandler("webhook-addr", addr, conformance.Webhooks)
	return stop, err
}

// reportExchanges reports the answered requests of a result to the console.
func (p *program) reportExchanges(result flytest.Result) {
	for _, e := range result.Exchanges {
		if e.Response != nil {
			p.reportToConsole(e)
		}
	}
}

// choose returns the requirements with the given ids, or all.
func choose(only []string) ([]flytest.Requirement, error) {
	all := flytest.Requirements()
	for _, id := range only {
		if !slices.ContainsFunc(all, func(r flytest.Requirement) bool { return r.ID == id }) {
			return nil, usagef("--only: unknown requirement %q; flysim check --list lists all requirements", id)
		}
	}
	if len(only) > 0 {
		all = slices.DeleteFunc(all, func(r flytest.Requirement) bool { return !slices.Contains(only, r.ID) })
	}
	return all, nil
}

// endCheck writes the end of the report, and the JUnit file. err is the error with
// which the run ended early, or nil.
func (p *program) endCheck(ctx context.Context, report *report, results *flytest.Report, junit *os.File, err error) error {
	if err != nil && !isType[*flytest.UnreachableError](err) && ctx.Err() == nil {
		err = &usageError{err} // of the configuration, as Run documents
	}
	if results == nil {
		results = &flytest.Report{}
	}
	var unwritten error
	if junit != nil {
		unwritten = cmp.Or(p.writeJUnit(junit, results, err), junit.Close())
	}
	if err != nil && len(results.Results) == 0 {
		return err
	}
	if p.json {
		p.writeJSON(p.newJSONReport(results, err))
	} else {
		report.summary(results)
	}
	switch {
	case err != nil:
		return &reportedError{err}
	case unwritten != nil:
		return usagef("--junit: %w", unwritten)
	case results.Count(flytest.Failed) > 0:
		return errRequirements
	}
	return nil
}

func (p *program) listRequirements(requirements []flytest.Requirement) error {
	if p.json {
		type jsonRequirement struct {
			ID     string `json:"id"`
			Group  string `json:"group"`
			Text   string `json:"text"`
			Source string `json:"source"`
			Fix    string `json:"fix"`
		}
		all := []jsonRequirement{}
		for _, r := range requirements {
			all = append(all, jsonRequirement(r))
		}
		p.writeJSON(all)
		return nil
	}
	group := ""
	for _, r := range requirements {
		p.out.group(&group, r.Group)
		p.out.wrap(plain, "  ", r.Text)
		p.out.line(dim, "    ", r.ID+", "+r.Source)
	}
	p.out.blank()
	p.out.line(plain, "", fmt.Sprintf("requirements: %d", len(requirements)))
	return nil
}

func createJUnit(name string) (*os.File, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, usagef("--junit: %w", err)
	}
	return file, nil
}

// failedIDs returns the ids of the failed requirements.
func failedIDs(results *flytest.Report) []string {
	var ids []string
	for _, r := range results.Results {
		if r.Verdict == flytest.Failed {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
