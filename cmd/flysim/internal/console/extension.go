package console

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/flyext/flyext"
)

// What is remembered, at most. A console runs for days, and a provider may
// answer with a megabyte each time.
const (
	maxExtensions = 100
	maxHistory    = 100      // records of one extension
	maxKept       = 300      // exchanges of all extensions
	maxKeptBytes  = 32 << 20 // of those
)

// A state is what an extension is to the played Fly.io.
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
	n        int                     // in the console's own URLs: the provider's ids are a stranger's text
	request  flyext.ProvisionRequest // as it was sent last
	id       string                  // that the provider goes by; until it has said so, what was sent
	name     string
	app      string
	state    state
	said     flyext.Status // the provider's own word
	secrets  flyext.Secrets
	terminal string    // what flyctl's customer has read
	history  []*record // the oldest first
	waiting  *waiting  // nil: it is not polled
}

// A record is one thing that was done with an extension, or was told of one, with
// its outcome.
type record struct {
	n         int
	at        time.Time
	what      action
	times     int   // how often: polls that came to the same are one record
	wire      *wire // nil where no answer came, or it is forgotten
	forgotten bool
	outcome   outcome
}

// An action is something to do with an extension, by the name that a person
// reads.
type action string

// The actions.
const (
	actionProvision   action = "Provision"
	actionUpdate      action = "Update"
	actionFetch       action = "Fetch"
	actionPoll        action = "Poll"
	actionDeprovision action = "Deprovision"
	actionEvent       action = "Event"
	actionWebhook     action = "Webhook" // the provider's
)

// withExtension looks an extension up by its number.
func (c *Console) withExtension(serve func(http.ResponseWriter, *http.Request, *extension)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		x := c.find(func(x *extension) bool { return x.n == n })
		if err != nil || x == nil {
			c.failPage(w, http.StatusNotFound, "There is no such extension", "It was removed from the list, or flysim has been started anew: it remembers nothing from one run to the next.")
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
}

// add puts a record at the end of an extension's history. The console is
// locked.
func (c *Console) add(x *extension, what action, w *wire, o outcome) {
	r := x.last()
	if what == actionPoll && r != nil && r.what == actionPoll && r.outcome.headline == o.headline {
		// The same record, with the newer exchange.
		r.times++
		c.drop(r)
	} else {
		r = c.newRecord(what)
		x.history = append(x.history, r)
	}
	c.keep(r, w, o)
	c.trim(x)
	c.changed(x.title() + ": " + o.headline)
}

func (c *Console) newRecord(what action) *record {
	c.counter++
	return &record{n: c.counter, what: what, times: 1}
}

// keep gives a record its outcome and its exchange, which may be nil, and drops
// those that are too much then. The console is locked.
func (c *Console) keep(r *record, w *wire, o outcome) {
	r.at, r.wire, r.forgotten, r.outcome = c.now(), w, false, o
	if w != nil {
		w.n = r.n
		c.kept = append(c.kept, r)
		c.keptBytes += w.size()
	}
	for len(c.kept) > maxKept || c.keptBytes > maxKeptBytes && len(c.kept) > 1 {
		c.drop(c.kept[0])
	}
}

// trim forgets what is too long ago in an extension's history. The console is
// locked.
func (c *Console) trim(x *extension) {
	for len(x.history) > maxHistory {
		c.drop(x.history[0])
		x.history = slices.Delete(x.history, 0, 1)
	}
}

// drop forgets the bytes of a record. The console is locked.
func (c *Console) drop(r *record) {
	if r.wire == nil {
		return
	}
	c.keptBytes -= r.wire.size()
	r.wire, r.forgotten = nil, true
	c.kept = slices.DeleteFunc(c.kept, func(other *record) bool { return other == r })
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
	exists := x.state != stateRefused && x.state != stateGone
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
	x.said = answer.Status
}
