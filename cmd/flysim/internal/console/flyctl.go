package console

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flyext/flyext/cmd/flysim/internal/graphql"
)

//go:embed schema.graphql
var schemaText string

var schema = graphql.MustParse("schema.graphql", schemaText)

const (
	maxGraphQL    = 256 << 10 // bytes of a request
	maxApps       = 100       // apps with remembered secret names
	maxAppSecrets = 1000      // names of one app
)

// serveGraphQL answers flyctl. FLY_API_BASE_URL points flyctl here.
func (c *Console) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	setSafeHeaders(w.Header())
	start := time.Now()
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "GraphQL requests are JSON.", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGraphQL))
	if err != nil {
		http.Error(w, "The request is too large.", http.StatusRequestEntityTooLarge)
		return
	}
	var request graphql.Request
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&request); err != nil {
		http.Error(w, "The request is not a GraphQL request in JSON.", http.StatusBadRequest)
		return
	}
	api := &flyAPI{console: c, request: r}
	answer := schema.Execute(request, api.root)
	text, err := json.Marshal(answer)
	if err != nil {
		c.log.Error("cannot encode an answer of GraphQL", "error", err)
		http.Error(w, "The answer cannot be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(text) // the client may have gone

	o := outcome{true, operationName(request) + ": answered", ""}
	if len(answer.Errors) > 0 {
		o = outcome{false, clip(operationName(request)+": "+answer.Errors[0].Message, 300), ""}
	}
	c.noteFlyctl(r, w.Header(), body, text, http.StatusOK, time.Since(start), api.about, o)
}

// operationName returns the name of an operation for the feed.
func operationName(r graphql.Request) string {
	if r.OperationName != "" {
		return clip(r.OperationName, 80)
	}
	if name := regexp.MustCompile(`\{\s*(?:\w+\s*:\s*)?(\w+)`).FindStringSubmatch(r.Query); name != nil {
		return name[1]
	}
	return "GraphQL"
}

// noteFlyctl adds a request of flyctl to the feed.
func (c *Console) noteFlyctl(r *http.Request, header http.Header, body, answer []byte, status int, took time.Duration, about *extension, o outcome) {
	seen := incomingWire(r, c.url, body)
	for i, line := range seen.request {
		if line.Name == "Authorization" {
			seen.request[i].Value = "[redacted]" // the person's own token
		}
	}
	seen.status, seen.statusText = status, fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status))
	seen.answer, seen.answerBody, seen.duration = linesOf(header), answer, took
	c.mu.Lock()
	defer c.mu.Unlock()
	step := c.newRecord(actionFlyctl)
	if about != nil {
		c.attach(step, about)
	}
	c.keep(step, seen, o)
	c.save(step, nil)
	c.changed("flyctl: " + o.headline)
}

var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// serveMachines answers the request of flyctl to the Machines API after it has
// set secrets. An app has no machines here.
func (c *Console) serveMachines(w http.ResponseWriter, r *http.Request) {
	setSafeHeaders(w.Header())
	start := time.Now()
	status, text := http.StatusOK, []byte("[]")
	if !appName.MatchString(r.PathValue("app")) {
		status, text = http.StatusNotFound, []byte(`{"error":"app not found"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
	c.noteFlyctl(r, w.Header(), nil, text, status, time.Since(start), nil, outcome{status == http.StatusOK, "Machines of " + clip(r.PathValue("app"), 80), ""})
}

// A flyOrganization is an organization of a user, or any other that flyctl names:
// the simulator has each organization that flyctl asks for.
type flyOrganization struct{ id, name, slug string }

var notInSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slugOf(name string) string {
	return strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// organizations returns the organizations of the users. The console is locked.
func (c *Console) organizations() []flyOrganization {
	var all []flyOrganization
	for _, u := range c.users {
		for _, m := range u.Organizations {
			if slices.ContainsFunc(all, func(o flyOrganization) bool { return o.id == m.OrganizationID }) {
				continue
			}
			name := orElse(m.OrganizationName, m.OrganizationID)
			all = append(all, flyOrganization{m.OrganizationID, name, orElse(slugOf(name), m.OrganizationID)})
		}
	}
	return all
}

// organization returns the organization with an id or a slug. ok is false if the
// text is neither. The console is locked.
func (c *Console) organization(id, slug string) (o flyOrganization, ok bool) {
	for _, o := range c.organizations() {
		if id != "" && o.id == id || slug != "" && (o.slug == slug || o.id == slug) {
			return o, true
		}
	}
	name := orElse(id, slug)
	return flyOrganization{name, name, name}, appName.MatchString(name)
}

// rememberSecrets records the names of an app's secrets.
func (c *Console) rememberSecrets(app string, names []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	have, known := c.appSecrets[app]
	if !known && len(c.appSecrets) >= maxApps {
		return fmt.Errorf("flysim remembers the secrets of %d apps", maxApps)
	}
	for _, name := range names {
		if !slices.Contains(have, name) && len(have) < maxAppSecrets {
			have = append(have, clip(name, 200))
		}
	}
	c.appSecrets[app] = have
	return nil
}

// secretsOf returns the names of an app's secrets. The console is locked.
func (c *Console) secretsOf(app string) []string {
	registered := c.platform.Registration
	if registered.App == "" || registered.App == app {
		return slices.Concat(registered.AppSecrets, c.appSecrets[app])
	}
	return c.appSecrets[app]
}
