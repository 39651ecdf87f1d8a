package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/graphql"
	"github.com/flyext/flyext/flytest"
)

// createAddOn provisions an extension at the author's provider.
func (a *flyAPI) createAddOn(args map[string]any) (any, error) {
	in := input(args)
	request, forApp, err := a.order(in)
	if err != nil {
		return nil, err
	}
	c := a.console
	ctx, cancel := background(a.request)
	defer cancel()
	x, done, err := c.provisionNow(ctx, request)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.about = x
	x.forApp, x.provider, x.plan = forApp, asText(in["type"]), asText(in["planId"])
	if done.err != nil && !x.takeRaw(done) {
		return nil, flyError(done.err)
	}
	c.save(x.last(), x)
	return &graphql.Object{Type: "CreateAddOnPayload", Fields: fields{"addOn": graphql.Value(a.addOn(x)), "clientMutationId": clientMutation(args)}}, nil
}

// takeRaw stores an answer that flyctl cannot use, such as a secret that is a
// number. Fly.io passes such an answer on. The console is locked.
func (x *extension) takeRaw(done call) bool {
	if !done.answered() || done.wire.status/100 != 2 {
		return false
	}
	var answer struct {
		ID     string          `json:"id"`
		Config json.RawMessage `json:"config"`
	}
	if json.Unmarshal(done.wire.answerBody, &answer) != nil || answer.ID == "" {
		return false
	}
	x.id, x.state, x.environment = answer.ID, stateReady, answer.Config
	return true
}

// flyError returns the error with which Fly.io reports a provider's failure to
// flyctl.
func flyError(err error) error {
	if refusal, refused := errors.AsType[*flyext.Error](err); refused {
		return errors.New(refusal.Message)
	}
	return errors.New(trimPrefix(err))
}

// order returns the provision request for the input of createAddOn. It adds the
// user, the organization and the id.
func (a *flyAPI) order(in map[string]any) (r flyext.ProvisionRequest, forApp string, err error) {
	c := a.console
	extra, err := optionsIn(in)
	if err != nil {
		return r, "", err
	}
	forApp = asText(in["appId"])
	organizationID := orElse(asText(in["organizationId"]), a.firstOrganization())
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.organization(organizationID, "")
	if !ok || forApp != "" && !appName.MatchString(forApp) {
		return r, "", errors.New("the organization or the app does not exist")
	}
	user, role, err := c.customerOf(o)
	if err != nil {
		return r, "", err
	}
	id := newID()
	r = flyext.ProvisionRequest{
		ID: id, Name: orElse(asText(in["name"]), "collider-"+id), OrganizationID: o.id, OrganizationName: o.name,
		OrganizationEmail: o.id + "@customer.fly.io", UserID: user.ID, UserEmail: emailOf(user), UserRole: role,
		PrimaryRegion: asText(in["primaryRegion"]), ReadRegions: textsIn(in, "readRegions"),
	}
	if plan := asText(in["organizationPlanId"]); plan != "" {
		extra["organization_plan"], _ = json.Marshal(plan) // a text
	}
	if len(extra) > 0 {
		r.Extra = extra
	}
	if a.find("", r.Name) != nil {
		return r, "", flyctlReads("Name " + r.Name + " is already taken")
	}
	return r, forApp, nil
}

// customerOf returns an admin of the organization. If the organization has no
// users, the first user becomes its admin, so that the dashboard can be opened.
// The console is locked.
func (c *Console) customerOf(o flyOrganization) (user flytest.User, role string, err error) {
	for _, want := range []string{"admin", ""} {
		for _, u := range c.users {
			for _, m := range u.Organizations {
				if m.OrganizationID == o.id && (want == "" || m.Role == want) {
					return u, m.Role, nil
				}
			}
		}
	}
	if len(c.users) == 0 {
		return user, "", errors.New("there is no user: add one on the page of flysim")
	}
	first := c.users[0]
	if len(first.Organizations) >= maxMemberships {
		return user, "", fmt.Errorf("a user may be in %d organizations", maxMemberships)
	}
	first.Organizations = append(slices.Clone(first.Organizations), flytest.UserOrganization{OrganizationID: o.id, OrganizationName: o.name, Role: "admin"})
	c.users = slices.Clone(c.users)
	c.users[0] = first
	if c.oauth != nil {
		c.oauth.SetUsers(c.users...)
	}
	return first, "admin", nil
}

// lookUp returns the extension of a mutation, with the provider's id.
func (a *flyAPI) lookUp(in map[string]any) (*extension, string, error) {
	a.console.mu.Lock()
	defer a.console.mu.Unlock()
	x := a.find(asText(in["addOnId"]), asText(in["name"]))
	if x == nil {
		return nil, "", flyctlReads("Could not find AddOn")
	}
	a.about = x
	return x, x.id, nil
}

// send sends a request about an extension to the provider.
func (a *flyAPI) send(x *extension, what action, send func(context.Context, *flytest.Platform) (*flyext.Extension, error)) error {
	c := a.console
	ctx, cancel := background(a.request)
	defer cancel()
	done := c.do(what, func(p *flytest.Platform) (*flyext.Extension, error) { return send(ctx, p) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(x, done)
	if done.err != nil {
		return flyError(done.err)
	}
	return nil
}

func (a *flyAPI) updateAddOn(args map[string]any) (any, error) {
	in := input(args)
	extra, err := optionsIn(in)
	if err != nil {
		return nil, err
	}
	x, id, err := a.lookUp(in)
	if err != nil {
		return nil, err
	}
	update := flyext.UpdateRequest{}
	if len(extra) > 0 {
		update.Extra = extra
	}
	if in["readRegions"] != nil {
		update.ReadRegions = flyext.OptionalOf(append([]string{}, textsIn(in, "readRegions")...))
	}
	err = a.send(x, actionUpdate, func(ctx context.Context, p *flytest.Platform) (*flyext.Extension, error) {
		return p.Update(ctx, id, update)
	})
	if err != nil {
		return nil, err
	}
	c := a.console
	c.mu.Lock()
	defer c.mu.Unlock()
	x.current = updated(x.current, update)
	if len(extra) > 0 {
		x.current.Extra = extra
	}
	x.metadata, x.plan = in["metadata"], orElse(asText(in["planId"]), x.plan)
	c.save(x.last(), x)
	return &graphql.Object{Type: "UpdateAddOnPayload", Fields: fields{"addOn": graphql.Value(a.addOn(x)), "clientMutationId": clientMutation(args)}}, nil
}

func (a *flyAPI) deleteAddOn(args map[string]any) (any, error) {
	x, id, err := a.lookUp(input(args))
	if err != nil {
		return nil, err
	}
	a.console.mu.Lock()
	number, name := x.request.ID, x.title()
	a.console.mu.Unlock()
	err = a.send(x, actionDeprovision, func(ctx context.Context, p *flytest.Platform) (*flyext.Extension, error) {
		return nil, p.Deprovision(ctx, id)
	})
	if err != nil {
		return nil, err
	}
	return &graphql.Object{Type: "DeleteAddOnPayload", Fields: values(fields{"clientMutationId": clientMutation(args)}, map[string]any{
		"deletedAddOnId": number, "deletedAddOnName": name,
	})}, nil
}

func (a *flyAPI) setSecrets(args map[string]any) (any, error) {
	in := input(args)
	name := asText(in["appId"])
	app, err := a.app(name)
	if err != nil {
		return nil, err
	}
	var names []string
	list, _ := in["secrets"].([]any)
	for _, value := range list {
		if secret, ok := value.(map[string]any); ok {
			names = append(names, asText(secret["key"]))
		}
	}
	if err := a.console.rememberSecrets(name, names); err != nil {
		return nil, err
	}
	now := a.console.now().UTC().Format("2006-01-02T15:04:05Z")
	return &graphql.Object{Type: "SetSecretsPayload", Fields: values(fields{"clientMutationId": clientMutation(args)}, map[string]any{
		"app": app,
		"release": &graphql.Object{Type: "Release", Fields: values(fields{}, map[string]any{
			"id": "1", "version": 1, "reason": "Secrets updated", "description": "Secrets updated", "evaluationId": "", "createdAt": now, "user": a.viewer(),
		})},
	})}, nil
}
