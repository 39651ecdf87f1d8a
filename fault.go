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

// A quietError is an error in constant words. The error inside may quote text of
// the other side, which the log must not have; [errors.Is] and [errors.As] find it.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }

// quiet names the kind of an error that came from a connection.
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
		text = "the certificate is not valid"
	case errors.As(err, &errno):
		text = errno.Error()
	case errors.As(err, &protocol):
		text = "the HTTP message is malformed"
	}
	return &quietError{text, err}
}
