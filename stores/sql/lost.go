package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
)

// isLost reports whether an attempt may be made again: its connection broke or
// could not be made, or the server is about to start or to end.
func isLost(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return !errors.Is(err, context.Canceled)
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn, sql.ErrConnDone} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return isStarting(err)
}

// isStarting knows PostgreSQL's errors of a server that starts or ends, by the
// method that the errors of pgx and of lib/pq have.
func isStarting(err error) bool {
	state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (strings.HasPrefix(state.SQLState(), "08") || // connection exception
		slices.Contains([]string{"57P01", "57P02", "57P03"}, state.SQLState())) // shutdown, crash, cannot connect now
}
