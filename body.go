package flyext

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

const defaultMaxBodyBytes int64 = 1 << 20

var errBodyConsumed = errors.New("the body is empty although its length was announced: a middleware has read the body")

// readBody reads the whole body, up to a limit, into its own memory.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(serverWriter(w), r.Body, limit))
	if larger, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(larger.Limit) // perhaps the limit of an outer handler
	}
	if err == nil && r.ContentLength > 0 && len(body) == 0 {
		err = errBodyConsumed
	}
	if err != nil {
		return nil, &Error{
			Status: http.StatusBadRequest, Code: CodeIncompleteBody,
			Message: "The body ended before it was complete.", Err: quiet(err),
		}
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: CodeBodyTooLarge,
		Message: fmt.Sprintf("The body is larger than %d bytes.", limit),
	}
}
