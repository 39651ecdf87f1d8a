package console

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/flyext/flyext"
)

// maxExtensions bounds the memory. A console runs for days.
const maxExtensions = 100

// A state is the state of an extension in the simulator.
type state string

// The states.
const (
	stateReady        state = "ready"
	stateProvisioning state = "provisioning"
	stateFailed       state = "error"   // the provider reported an error, or was not ready in time
	stateRefused      state = "refused" // it was never provisioned
	stateGone         state = "gone"    // deprovisioned
	stateSaid         state = "said"    // a status of the provider's own, from a webhook
)

// An extension is the console's record of an extension. The console's mutex
// guards its fields.
type extension struct {
	n           int                     // the number in the console's URLs, because the provider's ids are untrusted text
	request     flyext.ProvisionRequest // as it was sent last
	current     flyext.ProvisionRequest // with the later updates
	id          string                  // the provider's id; the id that was sent until the provider has answered
	name        string
	app         string
	state       state
	said        flyext.Status // the provider's own status
	forApp      string        // the customer's app in flyctl
	secrets     flyext.Secrets
	environment json.RawMessage // the provider's secrets, if flyctl cannot use them
	message     string          // the provider's error message
	provider    string          // flyctl's name for the provider
	plan        string
	metadata    any       // flyctl's own
	masked      bool      // the secrets were masked when they were saved
	terminal    string    // flyctl's output for the customer
	warning     string    // a warning about that output for the author of the provider, or ""
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

// room reports whether there is room for another extension. To make room, it
// forgets extensions that no longer exist, the oldest first. The console is
// locked.
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

// forget removes an extension and its records. The console is locked.
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

// title returns the name of the extension on the pages.
func (x *extension) title() string {
	for _, text := range []string{x.name, x.request.Name, x.id} {
		if text != "" {
			return clip(text, 120)
		}
	}
	return "(no name)"
}

// learn stores the values of an answer about the extension. The console is
// locked.
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
		return // the state stays as it is
	case answer.Status == "" || answer.Status == flyext.Ready:
		x.state = stateReady
	case answer.Status == flyext.Failed:
		x.state = stateFailed
	default:
		x.state = stateProvisioning
	}
	x.said, x.message = answer.Status, answer.Message
}
