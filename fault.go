package flyext

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"syscall"
)

// A quietError is an error with a constant text. The text of the wrapped error may
// quote the peer, which must not reach the log.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }

// Timeout reports whether the wrapped error is a timeout, for [url.Error].
func (e *quietError) Timeout() bool {
	timeout, ok := errors.AsType[net.Error](e.err)
	return ok && timeout.Timeout()
}

// quiet returns a quietError for an error of a connection.
func quiet(err error) error {
	text := "the connection failed"
	var timeout net.Error
	var errno syscall.Errno
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var protocol textproto.ProtocolError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBodyConsumed):
		return err
	case errors.Is(err, context.Canceled):
		text = context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded):
		text = context.DeadlineExceeded.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		text = "the connection timed out"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		text = io.ErrUnexpectedEOF.Error()
	case errors.As(err, &dns):
		text = "the host name cannot be resolved"
	case errors.As(err, &certificate):
		text = "the certificate is invalid"
	case errors.As(err, &errno):
		text = errno.Error()
	case errors.As(err, &protocol):
		text = "the HTTP message is malformed"
	}
	return &quietError{text, err}
}
