package flyext

import "sync"

// An intake is the memory that a request is read into and decoded in. The next
// one uses it again, once nothing leads to it any more: whoever decodes copies
// what is to stay.
type intake struct {
	message Message
	object  object
	room    []byte // for a body that nobody needs for longer
	lasting bool   // the body is somebody's, and stays
}

var intakes = sync.Pool{New: func() any { return new(intake) }}

// maxKeptBody is how large a body's memory may be to be kept, in bytes: that of
// the largest body by default.
const maxKeptBody = defaultMaxBodyBytes + 1

// release lets the memory be used again, but for a body that stays.
func (in *intake) release() {
	room := in.room
	if body := in.message.Body; body != nil && !in.lasting && cap(body) <= maxKeptBody {
		room = body[:0]
	}
	*in = intake{room: room}
	intakes.Put(in)
}

// A forgetful verifier is known to keep nothing of a message, as one must not. If
// one of a service's own does so all the same, it shall at least not see another
// message there.
type forgetful interface{ forgets() bool }

func forgets(v Verifier) bool {
	f, ok := v.(forgetful)
	return ok && f.forgets()
}

func (c *construction) forgets() bool { return true }

func (g *group) forgets() bool {
	for _, v := range g.verifiers {
		if !forgets(v) {
			return false
		}
	}
	return true
}
