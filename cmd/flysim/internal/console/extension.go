package console

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/flyext/flyext"
)

// maxExtensions bounds what is remembered. A console runs for days.
const maxExtensions = 100

// A state is what an extension is to the simulated Fly.io.
type state string

// The states.
const (
	stateReady        state = "ready"
	stateProvisioning state = "provisioning"
	stateFailed       state = "error"   // the provider said so, or was not ready in time
	stateRefused      state = "refused" // it was never provisioned
	stateGone         state = "gone"    // deprovisioned
	stateSaid         state = "said"    // what the provider's own word is, by a webhook
)

// An extension is what the console knows of one. Its fields are locked by the
// console's mutex.
type extension struct {
	n           int                     // in the console's own URLs: the provider's ids are a stranger's text
	request     flyext.ProvisionRequest // as it was sent last
	current     flyext.ProvisionRequest // with what was updated since
	id          string                  // that the provider goes by; until it has said so, what was sent
	name        string
	app         string
	state       state
	said        flyext.Status // the provider's own word
	forApp      string        // the customer's app, by flyctl
	secrets     flyext.Secrets
	environment json.RawMessage // what the provider sent as secrets, if it is unusable
	message     string          // the provider's error message
	provider    string          // the name that flyctl knows the provider by
	plan        string
	metadata    any       // of flyctl's own
	masked      bool      // the secrets were masked when they were saved
	terminal    string    // what flyctl's customer has read
	warning     string    // what its author should know of that, or ""
	history     []*record // the oldest first
	waiting     *waiting  // nil: it is not polled
}

// withExtension looks an extension up by its number.
func (c *Console) withExtension(serve func(http.ResponseWriter, *http.Request, *extension)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		x := c.find(func(x *extension) bool { return x.n == n })
		if err != nil || x == nil {
			c.failPage(w, http.StatusNotFound, "There is no such extension", "It was removed from the list, or flysim was restarted without --data.")
			return
		}
		serve(w, r, x)
	}
}

func (c *Console) find(is func(*extension) bool) *extension {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.findLocked(is)
}

func (c *Console) findLocked(is func(*extension) bool) *extension {
	if i := slices.IndexFunc(c.extensions, is); i >= 0 {
		return c.extensions[i]
	}
	return nil
}

// room makes room for one more extension, if it can: those that do not exist any
// more are forgotten, the oldest first. The console is locked.
func (c *Console) room() bool {
	if len(c.extensions) < maxExtensions {
		return true
	}
	i := slices.IndexFunc(c.extensions, func(x *extension) bool { return x.state == stateGone || x.state == stateRefused })
	if i < 0 {
		return false
	}
	c.forget(c.extensions[i])
	return true
}

// forget removes an extension and what is remembered of it. The console is
// locked.
func (c *Console) forget(x *extension) {
	c.stopWaiting(x)
	c.extensions = slices.DeleteFunc(c.extensions, func(other *extension) bool { return other == x })
	for _, r := range x.history {
		c.drop(r)
	}
	c.feed = slices.DeleteFunc(c.feed, func(r *record) bool { return r.extension == x.n })
	c.saveForgotten(x.n)
}

func (x *extension) last() *record {
	if len(x.history) == 0 {
		return nil
	}
	return x.history[len(x.history)-1]
}

// title is what a person knows the extension by.
func (x *extension) title() string {
	for _, text := range []string{x.name, x.request.Name, x.id} {
		if text != "" {
			return clip(text, 120)
		}
	}
	return "(no name)"
}

// learn takes over what an answer says of an extension. The console is locked.
func (x *extension) learn(answer *flyext.Extension, to action) {
	if answer.ID != "" {
		x.id = answer.ID
	}
	if answer.Name != "" {
		x.name = answer.Name
	}
	if answer.FlyAppName != "" {
		x.app = answer.FlyAppName
	}
	exists := x.exists()
	switch {
	case answer.Status == "" && exists && to != actionProvision:
		return // it says nothing new
	case answer.Status == "" || answer.Status == flyext.Ready:
		x.state = stateReady
	case answer.Status == flyext.Failed:
		x.state = stateFailed
	default:
		x.state = stateProvisioning
	}
	x.said, x.message = answer.Status, answer.Message
}
