package flyext

import (
	"testing"

	"github.com/flyext/flyext/internal/msgsig"
)

// What is kept of a body's memory is what the next one is likely to need. It does
// not run beside others, which would take the memory away.
func TestKeptBody(t *testing.T) {
	for _, c := range []struct {
		name             string
		room, body, kept int
		lasting          bool
	}{
		{"none came", 10, 0, 10, false},
		{"it had more", 10, 100, 100, false},
		{"it had more, and it stays", 10, 100, 10, true},
		{"the largest that is kept", 10, maxKeptBody, maxKeptBody, false},
		{"one that is larger", 10, maxKeptBody + 1, 10, false},
	} {
		in := &intake{room: make([]byte, 0, c.room), lasting: c.lasting}
		if c.body > 0 {
			in.message.Body = make([]byte, c.body)
		}
		in.message.Method, in.object.next = "POST", 1
		in.release()
		if cap(in.room) != c.kept || len(in.room) != 0 || in.lasting || in.message.Method != "" || in.message.Body != nil || in.object.next != 0 {
			t.Errorf("%s: %d of %d bytes are kept, want %d", c.name, cap(in.room), c.body, c.kept)
		}
	}
}

// What a message signature was verified in forgets the message, and keeps no base
// that a stranger has made large.
func TestSignatureRoomForgets(t *testing.T) {
	t.Parallel()
	for size, kept := range map[int]bool{1: true, maxKeptBase: true, maxKeptBase + 1: false} {
		room := &signatureRoom{wire: msgsig.Message{Method: "POST"}, base: make([]byte, 0, size)}
		room.reset()
		if room.wire.Method != "" || (cap(room.base) == size) != kept {
			t.Errorf("of %d bytes %d are kept, and of the message %+v", size, cap(room.base), room.wire)
		}
	}
}
