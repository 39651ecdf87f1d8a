package console

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/flyext/flyext"
)

type provisionView struct {
	Form      *form
	Customers []customer
	First     bool
	Regions   []string
}

func (c *Console) serveProvisionPage(w http.ResponseWriter, _ *http.Request) {
	c.provisionPage(w, http.StatusOK, blankProvisionForm(c.customers()))
}

func (c *Console) provisionPage(w http.ResponseWriter, status int, f *form) {
	version := c.currentVersion()
	c.mu.Lock()
	first := len(c.extensions) == 0
	c.mu.Unlock()
	c.write(w, status, provisionTemplate, page{
		Title: "Provision", Self: "/", Nav: "extensions", Class: "home", Version: version,
		Content: provisionView{f, c.customers(), first, regions},
	})
}

type extensionView struct {
	N                     int
	Title                 string
	State                 badge
	Notice                *noticeView
	Last                  *recordView
	Gone                  bool // the provider does not have it
	Dashboard             string
	OrganizationDashboard string
	Warning               string
	SSO                   bool
	Forgettable           bool
	Form                  *form // the update form
	Event                 *eventForm
	Regions               []string
	Terminal              string
	Masked                bool
	Secrets               []headerLine
	NoSecrets             string
	Facts                 []fact
	Records               []recordView
}

type noticeView struct{ Class, Headline, Text string }

type fact struct{ Key, Label, Value string }

func (c *Console) serveExtensionPage(w http.ResponseWriter, _ *http.Request, x *extension) {
	c.extensionPage(w, http.StatusOK, x, c.currentForm(x), blankEventForm())
}

func (c *Console) extensionPage(w http.ResponseWriter, status int, x *extension, update *form, event *eventForm) {
	c.mu.Lock()
	version := c.version
	view := c.view(x)
	c.mu.Unlock()
	view.Form, view.Event, view.Regions = update, event, regions
	c.write(w, status, extensionTemplate, page{
		Title: view.Title, Self: fmt.Sprintf("/extensions/%d", x.n), Nav: "extensions", Class: "one", Current: x.n, Version: version, Content: view,
	})
}

// view returns an extension for its page. The console is locked.
func (c *Console) view(x *extension) extensionView {
	v := extensionView{
		N: x.n, Title: x.title(), State: x.badge(), SSO: c.oauth != nil,
		Gone:  x.state == stateGone || x.state == stateRefused,
		Facts: x.facts(), Notice: c.pollingNotice(x),
	}
	v.Forgettable = v.Gone
	if !v.Gone {
		v.Dashboard, v.OrganizationDashboard = c.dashboardURL(x.id), c.organizationDashboardURL(x.request.OrganizationID)
		v.Warning = x.warning
	}
	v.Terminal, v.Masked = mask(x.terminal, x.secrets)
	v.Terminal = strings.TrimRight(printable(v.Terminal), "\n")
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		v.Secrets = append(v.Secrets, headerLine{printable(name), x.secrets[name]})
	}
	v.NoSecrets = "The provider sent no secrets."
	if x.state == stateRefused {
		v.NoSecrets = "No secrets: it was not provisioned."
	}
	for _, r := range slices.Backward(x.history) {
		v.Records = append(v.Records, newRecordView(r))
	}
	if len(v.Records) > 0 {
		v.Last = &v.Records[0]
		v.Records[0].Open = !x.last().outcome.ok
	}
	return v
}

// facts returns the known values of the extension for its page. The console is
// locked.
func (x *extension) facts() []fact {
	r := x.request
	customer := orElse(r.UserID, "no user")
	if r.UserRole != "" {
		customer += ", " + r.UserRole
	}
	id := ""
	if x.id != r.ID {
		id = x.id
	}
	var known []fact
	for _, f := range []fact{
		{"sent", "Fly.io’s id", r.ID},
		{"id", "Provider’s id", id},
		{"organization", "Organization", strings.TrimSpace(r.OrganizationName + " " + r.OrganizationID)},
		{"user", "Provisioned by", customer},
		{"app", "Fly.io app", x.app},
		{"status", "Status", string(x.said)},
	} {
		if f.Value != "" {
			f.Value = clip(f.Value, 200)
			known = append(known, f)
		}
	}
	return known
}

// pollingNotice returns the notice about an extension that is polled, or nil. The
// console is locked.
func (c *Console) pollingNotice(x *extension) *noticeView {
	if x.state != stateProvisioning || x.waiting == nil {
		return nil
	}
	text := "For up to 4 minutes, as flyctl does, until the status is “ready” or “error”."
	if !c.platform.Registration.Async {
		text = "flyctl does not poll, because the provider is not registered as asynchronous."
	}
	return &noticeView{"wait", "Polling every 2 s", text}
}

// mask replaces the values of the secrets with dots. The page shows the values on
// demand.
func mask(terminal string, secrets flyext.Secrets) (text string, masked bool) {
	for name, value := range secrets {
		line := "\n" + name + ": " + value + "\n"
		if strings.Contains(terminal, line) {
			terminal = strings.Replace(terminal, line, "\n"+name+": ••••••••\n", 1)
			masked = true
		}
	}
	return terminal, masked
}
