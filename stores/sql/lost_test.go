package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

// A driverError has the methods of net.Error, as the errors of ncruces/go-sqlite3.
type driverError struct{}

func (driverError) Error() string   { return "no such table" }
func (driverError) Timeout() bool   { return false }
func (driverError) Temporary() bool { return false }

func TestIsLost(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"refused", refused, true},
		{"wrapped", fmt.Errorf("connect: %w", refused), true},
		{"no such host", &net.DNSError{Err: "no such host"}, true},
		{"end of the connection", io.ErrUnexpectedEOF, true},
		{"deadline of a connection", os.ErrDeadlineExceeded, true},
		{"deadline of the driver", context.DeadlineExceeded, true},
		{"cancelled", fmt.Errorf("%w: %w", context.Canceled, refused), false},
		{"error of SQLite with the methods of net.Error", driverError{}, false},
		{"another error", errors.New("syntax error"), false},
	} {
		if got := isLost(test.err); got != test.want {
			t.Errorf("%s: got %t, want %t", test.name, got, test.want)
		}
	}
}
