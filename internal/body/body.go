// Package body reads the bodies of requests: whole, and bounded.
package body

import (
	"errors"
	"io"
	"net/http"
)

// ErrTooLarge says that a body is larger than it may be.
var ErrTooLarge = errors.New("body is too large")

// What is allocated before anything was read. The length that a stranger
// announces is no reason to allocate more.
const (
	minRead  = 512
	maxFirst = 16 << 10
)

// Read reads a request's body to its end, and returns nil without one. It takes
// the room that there is, and more where that is not enough. Its error is
// ErrTooLarge where there are more than limit bytes, or the reader's. Of w see
// [http.MaxBytesReader]; it may be nil.
func Read(w http.ResponseWriter, r *http.Request, limit int64, room []byte) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, ErrTooLarge
	}
	source, size := r.Body, int(min(r.ContentLength, maxFirst))
	if r.ContentLength < 0 {
		// Of a body without a length the server must be told that nobody reads
		// it to its end.
		source, size = http.MaxBytesReader(w, r.Body, limit), minRead
	}
	text := room[:0]
	if cap(text) <= size {
		text = make([]byte, 0, size+1) // one more, for the end to show
	}
	for {
		n, err := source.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if int64(len(text)) > limit {
			return nil, ErrTooLarge
		}
		switch {
		case err == io.EOF:
			return text, nil
		case err != nil:
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				err = ErrTooLarge
			}
			return nil, err
		case len(text) == cap(text):
			text = grow(text, r.ContentLength)
		}
	}
}

// grow makes more room. Who has sent so much is believed a little more of the
// length that was announced, if any was: few copies are made then, and no more
// room than is needed.
func grow(text []byte, announced int64) []byte {
	room := 2 * cap(text)
	if announced >= int64(cap(text)) {
		room = int(min(4*int64(cap(text)), announced+1))
	}
	bigger := make([]byte, len(text), room)
	copy(bigger, text)
	return bigger
}
