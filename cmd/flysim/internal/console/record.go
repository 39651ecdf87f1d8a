package console

import (
	"slices"
	"time"
)

// The limits of the memory. A console runs for days, and a provider may answer
// with a megabyte each time.
const (
	maxHistory   = 100      // records of one extension
	maxFeed      = 1000     // records of all extensions
	maxKept      = 300      // exchanges of all extensions
	maxKeptBytes = 32 << 20 // bytes of those exchanges
)

// A record is one request and its outcome. The console sent or received the
// request.
type record struct {
	n         int
	at        time.Time
	what      action
	extension int    // the number of its extension, or 0
	title     string // the name of that extension on the pages
	times     int    // polls with the same result are one record
	wire      *wire  // nil if nothing was sent, or if it is forgotten
	forgotten bool
	outcome   outcome
	neutral   bool // the outcome is neither good nor bad
}

// An action is the kind of a request, by its name on the pages.
type action string

// The actions.
const (
	actionProvision   action = "Provision"
	actionUpdate      action = "Update"
	actionFetch       action = "Fetch"
	actionPoll        action = "Poll"
	actionDeprovision action = "Deprovision"
	actionRequest     action = "Request" // written by a person
	actionEvent       action = "Event"
	actionWebhook     action = "Webhook" // from the provider
	actionOAuth       action = "OAuth"   // from the provider or a browser
	actionFlyctl      action = "flyctl"  // from flyctl
)

// kinds are the groups of actions for the filter of the feed.
var kinds = []string{"provider call", "event", "webhook", "OAuth", "flyctl"}

// kind returns the group of an action.
func (a action) kind() string {
	switch a {
	case actionEvent:
		return "event"
	case actionWebhook:
		return "webhook"
	case actionOAuth:
		return "OAuth"
	case actionFlyctl:
		return "flyctl"
	}
	return "provider call"
}

// add appends a record to an extension's history and to the feed. The console is
// locked.
func (c *Console) add(x *extension, what action, w *wire, o outcome) *record {
	r := x.last()
	if what == actionPoll && r != nil && r.what == actionPoll && r.outcome.headline == o.headline {
		// Keep the record, with the newer exchange.
		r.times++
		c.drop(r)
	} else {
		r = c.newRecord(what)
		x.history = append(x.history, r)
	}
	c.attach(r, x)
	c.keep(r, w, o)
	c.trim(x)
	c.save(r, x)
	c.changed(x.title() + ": " + o.headline)
	return r
}

// attach sets a record's extension. The console is locked.
func (c *Console) attach(r *record, x *extension) { r.extension, r.title = x.n, x.title() }

// newRecord appends an empty record to the feed. The console is locked.
func (c *Console) newRecord(what action) *record {
	c.counter++
	r := &record{n: c.counter, what: what, times: 1}
	c.feed = append(c.feed, r)
	if len(c.feed) > maxFeed {
		if !c.inHistory(c.feed[0]) {
			c.drop(c.feed[0])
		}
		c.feed = slices.Delete(c.feed, 0, 1)
	}
	return r
}

// keep sets a record's outcome and its exchange, which may be nil. It then drops
// the exchanges beyond the limits. The console is locked.
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

// trim forgets the oldest records of an extension's history. The console is
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

// recordOf returns a record of the feed by its number, or nil. The console is
// locked.
func (c *Console) recordOf(n int) *record {
	for _, r := range slices.Backward(c.feed) {
		if r.n == n {
			return r
		}
	}
	return nil
}
