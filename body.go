package flyext

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
)

const (
	defaultMaxBodyBytes = 1 << 20
	// maxFirstRead is the most memory that an announced length alone gets.
	maxFirstRead = 16 << 10
)

var errBodyConsumed = errors.New("the body is empty although a length was announced: a middleware has read it")

// readBody reads the body once, whole and bounded, into memory of its own.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), maxFirstRead)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(serverWriter(w), r.Body, limit))
	if larger, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(larger.Limit) // the limit may be that of a handler around this one
	}
	if err == nil && r.ContentLength > 0 && body.Len() == 0 {
		err = errBodyConsumed
	}
	if err != nil {
		return nil, &Error{
			Status: http.StatusBadRequest, Code: CodeIncompleteBody,
			Message: "The body ended before it was complete.", Err: quiet(err),
		}
	}
	return body.Bytes(), nil
}

func tooLarge(limit int64) error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: CodeBodyTooLarge,
		Message: fmt.Sprintf("The body is larger than %d bytes.", limit),
	}
}
