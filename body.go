package flyext

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
)

const (
	defaultMaxBodyBytes = 1 << 20
	// maxFirstRead bounds the memory that is allocated for an announced length.
	maxFirstRead = 16 << 10
)

var errBodyConsumed = errors.New("the body is empty although its length was announced: a middleware has read the body")

// readBody reads the whole body, up to a limit, into its own memory.
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
		return nil, tooLarge(larger.Limit) // perhaps the limit of an outer handler
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
