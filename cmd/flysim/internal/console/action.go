package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// actionTimeout bounds one request to the provider. It is much longer than Fly.io
// waits, so that the page can show how long a slow provider takes. A client with
// a shorter timeout ends the request sooner.
const actionTimeout = 30 * time.Second

// background returns the context of an action. It outlives the browser's request,
// which ends when the person leaves the page.
func background(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), actionTimeout)
}

func (c *Console) serveProvision(w http.ResponseWriter, r *http.Request) {
	form := provisionFormOf(r.PostForm)
	request := form.request(c.customers())
	if len(form.Errors) > 0 {
		c.provisionPage(w, http.StatusUnprocessableEntity, form)
		return
	}
	c.mu.Lock()
	room := c.findLocked(func(x *extension) bool { return x.request.ID == request.ID }) != nil || c.room()
	c.mu.Unlock()
	if !room {
		form.fail("", fmt.Sprintf("There are %d extensions already. Deprovision some of them, or remove them from the list.", maxExtensions))
		c.provisionPage(w, http.StatusUnprocessableEntity, form)
		return
	}
	c.provision(w, r, request)
}

func (c *Console) serveProvisionAgain(w http.ResponseWriter, r *http.Request, x *extension) {
	c.mu.Lock()
	request := x.request
	c.mu.Unlock()
	c.provision(w, r, request)
}

// provision sends the request and goes to the extension's page.
func (c *Console) provision(w http.ResponseWriter, r *http.Request, request flyext.ProvisionRequest) {
	ctx, cancel := background(r)
	defer cancel()
	x, _, err := c.provisionNow(ctx, request)
	if err != nil { // another request took the last place
		c.failPage(w, http.StatusUnprocessableEntity, "There are too many extensions", "Remove some from the list.")
		return
	}
	toExtension(w, r, x.n)
}

var errTooMany = fmt.Errorf("there are %d extensions already", maxExtensions)

// provisionNow sends the request and stores the result. A second request for an
// id is about the same extension. The error is errTooMany if there is no room for
// another extension.
func (c *Console) provisionNow(ctx context.Context, request flyext.ProvisionRequest) (*extension, call, error) {
	done := c.do(actionProvision, func(p *flytest.Platform) (*flyext.Extension, error) { return p.Provision(ctx, request) })
	terminal, warning := c.terminal(request, done, nil)

	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.findLocked(func(x *extension) bool { return x.request.ID == request.ID })
	if x == nil && !c.room() {
		return nil, done, errTooMany
	}
	if x == nil {
		c.counter++
		x = &extension{n: c.counter, id: request.ID, state: stateRefused}
		c.extensions = append(c.extensions, x)
	}
	o := done.outcome(c.base)
	x.request, x.current, x.terminal, x.warning, x.environment = request, request, terminal, warning, nil
	if done.err == nil {
		c.stopWaiting(x)
		x.learn(done.answer, actionProvision)
		if x.secrets != nil && len(x.history) > 0 && !x.masked {
			o.explanation = sameSecrets(x.secrets, done.answer.Secrets) + " " + o.explanation
		}
		x.secrets, x.masked = done.answer.Secrets, false
	}
	c.add(x, actionProvision, done.wire, o)
	if x.state == stateProvisioning && done.err == nil {
		c.startWaiting(x, &done)
	}
	return x, done, nil
}

// sameSecrets says whether provisioning again returned the same secrets.
func sameSecrets(before, after flyext.Secrets) string {
	same := len(before) == len(after)
	for name, value := range before {
		if other, ok := after[name]; !ok || other != value {
			same = false
		}
	}
	if same {
		return "The secrets are the same as before, as required."
	}
	return "The secrets differ from the previous ones. An app that has the old secrets does not get the new ones."
}

func (c *Console) serveFetch(w http.ResponseWriter, r *http.Request, x *extension) {
	c.serveCall(w, r, x, actionFetch, func(ctx context.Context, p *flytest.Platform, id string) (*flyext.Extension, error) {
		return p.Fetch(ctx, id)
	})
}

func (c *Console) serveUpdate(w http.ResponseWriter, r *http.Request, x *extension) {
	form := updateFormOf(r.PostForm)
	request := form.update()
	if len(form.Errors) > 0 {
		c.extensionPage(w, http.StatusUnprocessableEntity, x, form, blankEventForm())
		return
	}
	c.serveCall(w, r, x, actionUpdate, func(ctx context.Context, p *flytest.Platform, id string) (*flyext.Extension, error) {
		answer, err := p.Update(ctx, id, request)
		if err == nil {
			c.mu.Lock()
			x.current = updated(x.current, request)
			c.mu.Unlock()
		}
		return answer, err
	})
}

func (c *Console) serveDeprovision(w http.ResponseWriter, r *http.Request, x *extension) {
	c.serveCall(w, r, x, actionDeprovision, func(ctx context.Context, p *flytest.Platform, id string) (*flyext.Extension, error) {
		return nil, p.Deprovision(ctx, id)
	})
}

// serveCall sends a request about an existing extension, and redirects to its
// page.
func (c *Console) serveCall(
	w http.ResponseWriter, r *http.Request, x *extension, what action,
	send func(ctx context.Context, p *flytest.Platform, id string) (*flyext.Extension, error),
) {
	c.mu.Lock()
	id := x.id
	c.mu.Unlock()
	ctx, cancel := background(r)
	defer cancel()
	done := c.do(what, func(p *flytest.Platform) (*flyext.Extension, error) { return send(ctx, p, id) })

	c.mu.Lock()
	c.take(x, done)
	c.mu.Unlock()
	toExtension(w, r, x.n)
}

// take stores the result of a call. The console is locked.
func (c *Console) take(x *extension, done call) {
	if c.findLocked(func(other *extension) bool { return other == x }) == nil {
		return // removed in the meantime
	}
	c.takeAs(x, done, done.outcome(c.base))
}

// takeAs is take with another outcome. The console is locked.
func (c *Console) takeAs(x *extension, done call, o outcome) *record {
	switch {
	case done.err != nil, done.answer == nil && done.what != actionDeprovision:
	case done.what == actionEvent: // the event is about a machine
	case done.what == actionDeprovision:
		c.stopWaiting(x)
		x.state, x.said = stateGone, ""
	default:
		x.learn(done.answer, done.what)
		if done.answer.Secrets != nil {
			x.secrets, x.masked = done.answer.Secrets, false
		}
	}
	made := c.add(x, done.what, done.wire, o)
	if done.err == nil && done.what != actionEvent && x.state == stateProvisioning && x.waiting == nil {
		c.startWaiting(x, nil)
	}
	return made
}

func (c *Console) serveForget(w http.ResponseWriter, r *http.Request, x *extension) {
	c.mu.Lock()
	c.forget(x)
	c.changed("Removed " + x.title() + " from the list")
	c.mu.Unlock()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func toExtension(w http.ResponseWriter, r *http.Request, n int) {
	http.Redirect(w, r, fmt.Sprintf("/extensions/%d", n), http.StatusSeeOther)
}

// dashboardURL returns the URL at which a customer's browser starts to sign in.
// It is always below the provider's base URL, whatever the id is. It is "" if
// there is no such URL.
func (c *Console) dashboardURL(id string) string {
	target, err := c.platform.DashboardURL(id)
	if err != nil {
		return ""
	}
	u, err := url.Parse(target)
	base, errBase := url.Parse(c.base)
	if err != nil || errBase != nil || u.Scheme != base.Scheme || u.Host != base.Host {
		return ""
	}
	return target
}

// organizationDashboardURL returns the URL of an organization's dashboard, or ""
// without an organization.
func (c *Console) organizationDashboardURL(id string) string {
	if id == "" {
		return ""
	}
	return c.base + strings.Replace(flytest.ExtensionPath(id), "/extensions/", "/organizations/", 1) + "/sso"
}
