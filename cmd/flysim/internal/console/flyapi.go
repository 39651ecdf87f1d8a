package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/graphql"
	"github.com/flyext/flyext/flytest"
)

// A flyAPI answers one GraphQL request.
type flyAPI struct {
	console *Console
	request *http.Request
	about   *extension // the extension that was created, changed or removed
}

type fields = map[string]graphql.Resolver

// root returns the object that an operation runs on.
func (a *flyAPI) root(operation string) *graphql.Object {
	if operation == "mutation" {
		return &graphql.Object{Type: "Mutation", Fields: fields{
			"createAddOn": a.createAddOn, "updateAddOn": a.updateAddOn, "deleteAddOn": a.deleteAddOn, "setSecrets": a.setSecrets,
			"createExtensionTosAgreement": func(args map[string]any) (any, error) {
				return &graphql.Object{Type: "CreateExtensionTosAgreementPayload", Fields: fields{"clientMutationId": clientMutation(args)}}, nil
			},
		}}
	}
	return &graphql.Object{Type: "Query", Fields: fields{
		"addOn": func(args map[string]any) (any, error) {
			return a.findAddOn(argument(args, "id"), argument(args, "name"))
		},
		"addOnProvider": func(args map[string]any) (any, error) { return a.provider(argument(args, "name")), nil },
		"addOns": func(args map[string]any) (any, error) {
			return a.addOns(args, func(*extension) bool { return true }), nil
		},
		"app":           func(args map[string]any) (any, error) { return a.app(argument(args, "name")) },
		"nearestRegion": func(map[string]any) (any, error) { return region(regions[0]), nil },
		"organization": func(args map[string]any) (any, error) {
			return a.organization(argument(args, "id"), orElse(argument(args, "slug"), argument(args, "name")))
		},
		"organizations":        func(map[string]any) (any, error) { return a.organizations(), nil },
		"personalOrganization": func(map[string]any) (any, error) { return a.organization("", a.firstOrganization()) },
		"platform": func(map[string]any) (any, error) {
			return &graphql.Object{Type: "PlatformInformation", Fields: fields{"requestRegion": graphql.Value(regions[0]), "regions": graphql.Value(allRegions())}}, nil
		},
		"viewer": func(map[string]any) (any, error) { return a.viewer(), nil },
	}}
}

// argument returns an argument that is a text, or "".
func argument(args map[string]any, name string) string {
	text, _ := args[name].(string)
	return text
}

func input(args map[string]any) map[string]any {
	in, _ := args["input"].(map[string]any)
	return in
}

func clientMutation(args map[string]any) graphql.Resolver {
	return graphql.Value(input(args)["clientMutationId"])
}

func values(all fields, named map[string]any) fields {
	for name, value := range named {
		all[name] = graphql.Value(value)
	}
	return all
}

func region(code string) *graphql.Object {
	return &graphql.Object{Type: "Region", Fields: values(fields{}, map[string]any{
		"code": code, "name": code, "deprecated": false, "gatewayAvailable": true, "requiresPaidPlan": false, "latitude": 0.0, "longitude": 0.0,
	})}
}

func allRegions() []any {
	var all []any
	for _, code := range regions {
		all = append(all, region(code))
	}
	return all
}

func (a *flyAPI) viewer() *graphql.Object {
	a.console.mu.Lock()
	defer a.console.mu.Unlock()
	u := flytest.User{ID: "flysim", Name: "flysim"}
	if len(a.console.users) > 0 {
		u = a.console.users[0]
	}
	return &graphql.Object{Type: "User", Fields: values(fields{}, map[string]any{
		"id": u.ID, "email": emailOf(u), "name": u.Name, "username": u.ID, "agreedToProviderTos": true,
		"enablePaidHobby": false, "hasNodeproxyApps": false, "trusted": true, "twoFactorProtection": true,
	})}
}

// provider returns the author's provider under any name, because flyctl has the
// names of its providers built in.
func (a *flyAPI) provider(name string) *graphql.Object {
	r := a.console.platform.Registration
	return &graphql.Object{Type: "AddOnProvider", Fields: values(fields{}, map[string]any{
		"id": name, "name": name, "displayName": orElse(r.DisplayName, "Example"), "resourceName": orElse(r.ResourceName, "extension"),
		"provisioningInstructions": r.Instructions(), "asyncProvisioning": r.Async, "selectRegion": r.SelectRegion, "selectName": true,
		"autoProvision": false, "beta": false, "detectPlatform": false, "internal": false, "selectReplicaRegions": false, "nameSuffix": "",
		"excludedRegions": []any{}, "regions": allRegions(), "tosAgreement": "These are the terms of a simulator.", "tosUrl": a.console.url,
	})}
}

func (a *flyAPI) firstOrganization() string {
	a.console.mu.Lock()
	defer a.console.mu.Unlock()
	if all := a.console.organizations(); len(all) > 0 {
		return all[0].id
	}
	return "personal"
}

func (a *flyAPI) organizations() *graphql.Object {
	a.console.mu.Lock()
	all := a.console.organizations()
	a.console.mu.Unlock()
	nodes := []any{}
	for _, o := range all {
		nodes = append(nodes, a.organizationObject(o))
	}
	return &graphql.Object{Type: "OrganizationConnection", Fields: values(fields{}, map[string]any{"nodes": nodes, "totalCount": len(nodes)})}
}

func (a *flyAPI) organization(id, slug string) (any, error) {
	a.console.mu.Lock()
	o, ok := a.console.organization(id, slug)
	a.console.mu.Unlock()
	if !ok {
		return nil, flyctlReads("Could not find Organization")
	}
	return a.organizationObject(o), nil
}

func (a *flyAPI) organizationObject(o flyOrganization) *graphql.Object {
	dashboard := a.console.organizationDashboardURL(o.id)
	return &graphql.Object{Type: "Organization", Fields: values(fields{
		"addOns": func(args map[string]any) (any, error) {
			return a.addOns(args, func(x *extension) bool { return x.request.OrganizationID == o.id }), nil
		},
	}, map[string]any{
		"id": o.id, "name": o.name, "slug": o.slug, "rawSlug": o.slug, "type": "SHARED", "viewerRole": "admin", "internalNumericId": "1",
		"agreedToProviderTos": true, "billable": true, "billingStatus": "CURRENT", "paidPlan": true, "provisionsBetaExtensions": true,
		"addOnSsoLink": dashboard, "extensionSsoLink": dashboard,
		"limitedAccessTokens": &graphql.Object{Type: "LimitedAccessTokenConnection", Fields: fields{"nodes": graphql.Value([]any{})}},
	})}
}

func (a *flyAPI) app(name string) (any, error) {
	if !appName.MatchString(name) {
		return nil, flyctlReads("Could not find App")
	}
	c := a.console
	c.mu.Lock()
	secrets := []any{}
	for _, secret := range c.secretsOf(name) {
		secrets = append(secrets, &graphql.Object{Type: "Secret", Fields: values(fields{}, map[string]any{
			"id": secret, "name": secret, "digest": "0000000000000000", "createdAt": c.now().UTC().Format("2006-01-02T15:04:05Z"),
		})})
	}
	c.mu.Unlock()
	owner := a.firstOrganization()
	return &graphql.Object{Type: "App", Fields: values(fields{
		"addOns": func(args map[string]any) (any, error) {
			return a.addOns(args, func(x *extension) bool { return x.forApp == name }), nil
		},
		"organization": func(map[string]any) (any, error) { return a.organization(owner, owner) },
	}, map[string]any{
		"id": name, "name": name, "deployed": c.platform.Registration.AppDeployed, "status": "pending", "platformVersion": "machines",
		"hostname": name + ".fly.dev", "appUrl": "https://" + name + ".fly.dev", "network": "default", "internalNumericId": 1, "secrets": secrets,
	})}, nil
}

// addOns returns the existing extensions that chosen selects, of the provider that the
// argument "type" names. An extension that was provisioned on the page has no such name,
// and matches each.
func (a *flyAPI) addOns(args map[string]any, chosen func(*extension) bool) *graphql.Object {
	of := argument(args, "type")
	a.console.mu.Lock()
	defer a.console.mu.Unlock()
	nodes, edges := []any{}, []any{}
	for _, x := range a.console.extensions {
		if x.exists() && chosen(x) && (of == "" || x.provider == "" || x.provider == of) {
			node := a.addOn(x)
			nodes = append(nodes, node)
			edges = append(edges, &graphql.Object{Type: "AddOnEdge", Fields: values(fields{}, map[string]any{"cursor": fmt.Sprint(x.n), "node": node})})
		}
	}
	return &graphql.Object{Type: "AddOnConnection", Fields: values(fields{}, map[string]any{"nodes": nodes, "edges": edges, "totalCount": len(nodes)})}
}

// exists reports whether the provider has the extension.
func (x *extension) exists() bool { return x.state != stateGone && x.state != stateRefused }

// find returns an existing extension by its id or its name, or nil. The console
// is locked.
func (a *flyAPI) find(id, name string) *extension {
	for _, x := range slices.Backward(a.console.extensions) {
		if x.exists() && (id != "" && x.request.ID == id || id == "" && name != "" && x.title() == name) {
			return x
		}
	}
	return nil
}

func (a *flyAPI) findAddOn(id, name string) (any, error) {
	a.console.mu.Lock()
	defer a.console.mu.Unlock()
	x := a.find(id, name)
	if x == nil {
		return nil, flyctlReads("Could not find AddOn")
	}
	return a.addOn(x), nil
}

// addOn returns an extension as Fly.io describes it. The console is locked. The
// resolvers run when it is not.
func (a *flyAPI) addOn(x *extension) *graphql.Object {
	status := string(x.said)
	switch x.state {
	case stateReady:
		status = string(flyext.Ready)
	case stateFailed:
		status = string(flyext.Failed)
	}
	var environment any
	if x.environment != nil {
		environment = x.environment
	} else if x.secrets != nil {
		environment = map[string]string(x.secrets)
	}
	address := ""
	if x.request.IPAddress.IsValid() {
		address = x.request.IPAddress.String()
	}
	regions := []any{}
	for _, code := range x.current.ReadRegions {
		regions = append(regions, code)
	}
	organization, forApp, title, plan := x.request.OrganizationID, x.forApp, x.title(), orElse(x.plan, "default")
	return &graphql.Object{Type: "AddOn", Fields: values(fields{
		"organization": func(map[string]any) (any, error) { return a.organization(organization, "") },
		"app": func(map[string]any) (any, error) {
			if forApp == "" {
				return nil, nil
			}
			return a.app(forApp)
		},
	}, map[string]any{
		"id": x.request.ID, "name": title, "status": status, "errorMessage": orNil(x.message), "primaryRegion": x.current.PrimaryRegion, "readRegions": regions,
		"environment": environment, "options": optionsOf(x), "metadata": x.metadata, "ssoLink": a.console.dashboardURL(x.id),
		"privateIp": orNil(address), "publicUrl": nil, "addOnProvider": a.provider(orElse(x.provider, "example")), "addOnPlanName": plan,
		"addOnPlan": &graphql.Object{Type: "AddOnPlan", Fields: values(fields{}, map[string]any{"id": plan, "name": plan, "displayName": plan, "pricePerMonth": 0})},
	})}
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// optionsOf returns the provider's own options of an extension. The console is
// locked.
func optionsOf(x *extension) any {
	options := make(map[string]json.RawMessage)
	for name, value := range x.current.Extra {
		options[name] = value
	}
	return options
}

// optionsIn reads the options of a mutation: a JSON object or null.
func optionsIn(in map[string]any) (map[string]json.RawMessage, error) {
	options := make(map[string]json.RawMessage)
	if in["options"] == nil {
		return options, nil
	}
	text, err := json.Marshal(in["options"])
	if err == nil {
		err = json.Unmarshal(text, &options)
	}
	if err != nil {
		return nil, errors.New("options is not a JSON object")
	}
	if options == nil { // it was null
		options = make(map[string]json.RawMessage)
	}
	for _, name := range []string{"id", "name", "organization_id", "timestamp", "nonce", "url"} {
		delete(options, name)
	}
	return options, nil
}

func textsIn(in map[string]any, name string) []string {
	var texts []string
	list, isList := in[name].([]any)
	if !isList && in[name] != nil {
		list = []any{in[name]} // a single value stands for a list of one (section 3.11)
	}
	for _, value := range list {
		if text, ok := value.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// asText returns an argument of type ID, which may be a number.
func asText(value any) string {
	if value == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(value))
}

// flyctlReads returns an error in Fly.io's words. flyctl prints its text.
func flyctlReads(text string) error { return errors.New(text) }
