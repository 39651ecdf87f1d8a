package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const provisionHelp = `Provision simulates a customer who runs "flyctl ext <provider> create". It asks
for an extension, waits until the extension is ready as flyctl does, and shows
the customer's terminal on standard error. The secrets go to standard output, as
lines that a POSIX shell can source:

  flysim provision --prefix LOGJAM_ > app.env
  set -a; . ./app.env; set +a

A sourced file sets each variable that it names, and the provider chooses the
names. Flysim therefore writes a secret as a variable only if its name begins
with --prefix, and as a comment otherwise. Without --prefix, all are comments.

Flysim makes up the values that you do not set: a new id each time, an
organization and a user. For an id that the provider knows, the provider must
answer with the same secrets.`

// The default customer.
const (
	defaultOrganization = "g1lx9my4pzemqwk7"
	defaultOrgName      = "Supercollider"
	defaultUser         = "k9d01lp82rky6vo2"
	aliasDomain         = "@customer.fly.io"
)

// provisionOptions holds the flags of provision.
type provisionOptions struct {
	flyext.ProvisionRequest
	ip      string
	options []string
	params  string
	prefix  string // of the secrets' names
}

func (p *program) provisionCommand() *cobra.Command {
	var o provisionOptions
	cmd := &cobra.Command{
		Use: "provision [URL] [flags]", Short: "Provision an extension, as flyctl ext create does", Long: provisionHelp, Args: baseURLArgument,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.provision(cmd, &o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.ID, "id", "", "the `id` of the extension (default a new one)")
	flags.StringVar(&o.Name, "name", "", "the `name` of the extension (default collider-<id>)")
	flags.StringVar(&o.OrganizationID, "org", defaultOrganization, "the `id` of the organization")
	flags.StringVar(&o.OrganizationName, "org-name", defaultOrgName, "the `name` of the organization")
	flags.StringVar(&o.OrganizationEmail, "org-email", "", "the email `alias` of the organization's admins (default <org>"+aliasDomain+")")
	flags.StringVar(&o.UserID, "user-id", defaultUser, "the `id` of the user who provisions")
	flags.StringVar(&o.UserEmail, "user-email", "", "the email `alias` of the user (default <user-id>"+aliasDomain+")")
	flags.StringVar(&o.UserRole, "user-role", "admin", "the `role` of the user: admin or member")
	flags.StringVar(&o.PrimaryRegion, "region", "mad", "the primary `region`")
	flags.StringArrayVar(&o.ReadRegions, "read-region", nil, "a `region` for replicas; repeatable")
	flags.StringVar(&o.ip, "ip", "", "the IPv6 `address` of the extension on the customer's network")
	flags.StringArrayVar(&o.options, "option", nil, optionHelp)
	flags.StringVar(&o.params, "params", "", paramsHelp)
	flags.StringVar(&o.prefix, "prefix", "", "write secrets whose names begin with this `prefix` as variables, such as LOGJAM_ (or set FLYSIM_SECRET_PREFIX)")
	return cmd
}

const (
	optionHelp = "a provider-specific option, as `key=value`; a value that is JSON is sent as JSON, any other as a string; repeatable"
	paramsHelp = "the `file` with a JSON object whose members are added to the request; - reads standard input"
)

func (p *program) provision(cmd *cobra.Command, o *provisionOptions) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	if o.prefix == "" {
		o.prefix, _, _ = p.lookup("FLYSIM_SECRET_PREFIX")
	}
	if err := cmp.Or(checkPrefix(o.prefix), o.complete()); err != nil {
		return err
	}
	if o.Extra, err = p.extra(o.options, o.params); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Extra)) {
		if flag, ok := provisionMembers[name]; ok {
			return usagef("--option and --params cannot set %q; use --%s", name, flag)
		}
	}
	fly.Registration.Async = true // so that Create polls a slow provider
	made, err := fly.Create(cmd.Context(), o.ProvisionRequest)
	if err == nil {
		err = checkEnv(made.Extension.Secrets)
	}
	if isUnreachable(err) || cmd.Context().Err() != nil { // errors that no customer sees
		return err
	}
	if p.json {
		return p.provisionJSON(made, err)
	}
	p.err.raw(p.redact(made.Terminal))
	if err != nil {
		return err
	}
	p.err.blank()
	p.err.line(plain, "", "Id of the extension: "+made.Extension.ID)
	return p.writeSecrets(made, o.prefix)
}

// writeSecrets writes the secrets to standard output. A terminal gets them with
// control characters escaped, and only if standard error does not show them on a
// terminal already. Any other output gets them byte for byte.
func (p *program) writeSecrets(made flytest.Creation, prefix string) error {
	secrets := made.Extension.Secrets
	if p.out.terminal {
		if !p.err.terminal || !containsAll(made.Terminal, secrets) {
			p.out.raw(dotenv(secrets, prefix))
		}
		return nil
	}
	if _, err := io.WriteString(p.out.w, dotenv(secrets, prefix)); err != nil {
		return usagef("standard output: %w", err)
	}
	if prefix == "" && len(secrets) > 0 {
		p.err.wrap(yellow, "", "The secrets are comments, because the provider chooses their names and a shell obeys some names. Add --prefix "+suggestedPrefix(secrets)+" to write variables.")
	}
	return nil
}

// containsAll reports whether a text contains the names and values of all secrets.
func containsAll(text string, secrets flyext.Secrets) bool {
	for name, value := range secrets {
		if !strings.Contains(text, name) || !strings.Contains(text, value) {
			return false
		}
	}
	return true
}

// provisionMembers maps the members of a request to their flags.
var provisionMembers = map[string]string{
	"id": "id", "name": "name", "organization_id": "org", "organization_name": "org-name", "organization_email": "org-email",
	"user_id": "user-id", "user_email": "user-email", "user_role": "user-role", "primary_region": "region",
	"read_regions": "read-region", "ip_address": "ip",
}

// complete sets the missing values.
func (o *provisionOptions) complete() error {
	if o.OrganizationID == "" {
		return usagef("--org is empty; set the id of an organization")
	}
	if o.ID == "" {
		o.ID = strings.ToLower(rand.Text()[:12])
	}
	o.Name = cmp.Or(o.Name, "collider-"+o.ID)
	o.OrganizationEmail = cmp.Or(o.OrganizationEmail, o.OrganizationID+aliasDomain)
	if o.UserID != "" {
		o.UserEmail = cmp.Or(o.UserEmail, o.UserID+aliasDomain)
	}
	if o.ip == "" {
		return nil
	}
	var err error
	if o.IPAddress, err = netip.ParseAddr(o.ip); err != nil || !o.IPAddress.Is6() {
		return usagef("--ip: invalid IPv6 address %q; use one such as fdaa:0:47fb:0:1::1f", o.ip)
	}
	return nil
}

// extra returns the members that --option and --params add.
func (p *program) extra(options []string, params string) (map[string]json.RawMessage, error) {
	extra, err := p.readParams(params)
	if err != nil {
		return nil, err
	}
	for _, option := range options {
		name, value, ok := strings.Cut(option, "=")
		if !ok || name == "" {
			return nil, usagef("--option must be key=value")
		}
		if _, twice := extra[name]; twice {
			return nil, usagef("%q is set twice by --option or --params; set it once", name)
		}
		if extra == nil {
			extra = make(map[string]json.RawMessage)
		}
		if extra[name], err = optionValue(value); err != nil {
			return nil, usagef("--option %s: %w", name, err)
		}
	}
	for _, name := range []string{"timestamp", "nonce", "url"} {
		if _, ok := extra[name]; ok && p.format == flytest.FormatXSignature {
			return nil, usagef("--option and --params cannot set %q, because it is a parameter of the signature", name)
		}
	}
	return extra, nil
}

func optionValue(text string) (json.RawMessage, error) {
	var value any
	if jsonv2.Unmarshal([]byte(text), &value) == nil {
		return json.RawMessage(text), nil
	}
	return jsonv2.Marshal(text)
}

func (p *program) readParams(name string) (map[string]json.RawMessage, error) {
	if name == "" {
		return nil, nil
	}
	in := p.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usagef("--params: %w", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, usagef("--params: %w", err)
	}
	var members map[string]json.RawMessage
	if err := jsonv2.Unmarshal(text, &members); err != nil || members == nil {
		return nil, usagef("--params: %s must contain a JSON object", cmp.Or(map[bool]string{true: "standard input"}[name == "-"], name))
	}
	return members, nil
}

// A jsonCreation is the output of provision --json. It contains the secrets.
type jsonCreation struct {
	JSONExtension
	Terminal string     `json:"terminal,omitempty"`
	Error    *jsonError `json:"error,omitempty"`
}

func (p *program) provisionJSON(made flytest.Creation, err error) error {
	doc := jsonCreation{Terminal: p.redact(made.Terminal)}
	if made.Extension != nil {
		doc.JSONExtension = newJSONExtension(made.Extension)
	}
	if err == nil {
		p.writeJSON(doc)
		return nil
	}
	doc.Error = p.newJSONError(err)
	p.writeJSON(doc)
	return &reportedError{err}
}

// A JSONExtension is an extension with its secrets. The JSON of a
// [flyext.Extension] has no values of secrets.
type JSONExtension struct {
	ID         string            `json:"id,omitempty"`
	Name       string            `json:"name,omitempty"`
	Status     flyext.Status     `json:"status,omitempty"`
	Message    string            `json:"error_message,omitempty"`
	FlyAppName string            `json:"fly_app_name,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"`
}

func newJSONExtension(x *flyext.Extension) JSONExtension {
	return JSONExtension{x.ID, x.Name, x.Status, x.Message, x.FlyAppName, x.Secrets}
}

// checkEnv returns an error for secrets that are unsafe in a shell's environment: an
// invalid name, the name of a variable that shells or programs obey, or a NUL.
func checkEnv(secrets flyext.Secrets) error {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if !isEnvName(name) {
			return errors.New("the provider's secret " + strconv.QuoteToASCII(name) + " has an invalid name for an environment variable")
		}
		if isObeyed(name) {
			return errors.New("the provider's secret " + name + " has the name of a variable that shells or other programs obey")
		}
		if strings.ContainsRune(secrets[name], 0) {
			return errors.New("the provider's secret " + name + " contains a NUL, which is invalid in an environment variable")
		}
	}
	return nil
}
